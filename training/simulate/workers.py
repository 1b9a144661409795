"""Worker processes that drape a garment over chunks of poses, each with a Blender of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scale_backend.formats.errors import UserError
from scale_backend.formats.whole_files import write_whole

from ..frames.child_processes import follow_parent
from ..frames.raw_frames import RawFrames, read_garment, write_chunk
from .draping import Drape, drape
from .garment_parts import GarmentMesh
from .garments import find_recipe, make_scene
from .mesh_tools import Array, Mesh
from .skinning import load_skinned_body

MOST_INSIDE = 0.005  # share of the vertices
FASTEST = 4.0e-3  # metres a frame at the end
LONG_STRETCH, MOST_STRETCHED = 2.5, 0.005  # of an edge against its length as cut; share of such edges
LONGEST_STRETCH = 6.0
WAIT = 5.0  # seconds between looks at the workers


class Job(NamedTuple):
    """One chunk of poses."""

    path: Path
    names: tuple[str, ...]
    poses: Array  # [F, J, 3]


def drape_jobs(folder: Path, jobs: list[Job], report_path: Path, processes: int, body: Path) -> None:
    """Drape the folder's garment over all jobs; raises RuntimeError if a process fails."""
    from tqdm import tqdm

    context = multiprocessing.get_context("spawn")
    todo, done = context.Queue(), context.Queue()
    for job in jobs:
        todo.put(job)
    for _ in range(processes):
        todo.put(None)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers inherit it: cores are shared by processes, not by threads
    workers = [context.Process(target=_worker, args=(folder, body, todo, done), daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before
    reasons = Counter(json.loads(report_path.read_text()) if report_path.exists() else {})
    total = sum(len(names) for _, names, _ in jobs)
    try:
        with tqdm(total=total, desc=f"{folder.name} {report_path.stem.removesuffix('-report')}", unit="pose") as bar:
            while bar.n < total:
                name, reason = _next(done, workers)
                reasons[reason] += 1
                bar.update()
                if reason != "kept":
                    bar.write(f"{name} left out: {reason}")
                write_whole(report_path, json.dumps(reasons, indent=1).encode())
    finally:
        for worker in workers:
            worker.join(timeout=5)
            if worker.is_alive():
                worker.terminate()


def _next(done: multiprocessing.Queue, workers: list) -> tuple[str, str]:
    """What the workers report next; raises RuntimeError when one has failed."""
    while True:
        try:
            result = done.get(timeout=WAIT)
        except queue.Empty:
            dead = [worker for worker in workers if worker.exitcode not in (None, 0)]
            if dead:
                raise UserError(
                    f"A simulation process ended with code {dead[0].exitcode}: run the command again, "
                    "and it resumes where it stopped."
                ) from None
            continue
        if isinstance(result, str):
            raise UserError(
                f"A simulation process failed ({result}): run the command again, and it resumes where it stopped."
            )
        return result


def _worker(folder: Path, body_path: Path, todo: multiprocessing.Queue, done: multiprocessing.Queue) -> None:
    """Take chunks until there are none; report each pose, or the error that ends the process."""
    follow_parent()
    try:
        body = load_skinned_body(body_path)
        garment = GarmentMesh.from_raw(read_garment(folder))
        scene = make_scene(garment.name, body, garment)
        most_frames = find_recipe(garment.name).most_frames
        while (job := todo.get()) is not None:
            path, names, poses = job
            kept = []
            for number, (name, pose) in enumerate(zip(names, poses, strict=True), 1):
                result = drape(scene, pose, most_frames)
                reason = judge(result, garment.mesh)
                if reason == "kept":
                    kept.append((pose, result.vertices, name, result.inside, 1e3 * result.speed))
                if number < len(names):
                    done.put((name, reason))
            if kept:
                pose, vertices, name, inside, speed = zip(*kept, strict=True)
                write_chunk(
                    path,
                    RawFrames(
                        np.stack(pose), np.stack(vertices).astype(np.float32), name, np.array(inside), np.array(speed)
                    ),
                )
            done.put((names[-1], reason))  # last of all: the chunk is written
        scene.close()
    except Exception as error:  # whatever it is, the parent reports it
        done.put(f"{type(error).__name__}: {error}")


def judge(result: Drape, rest: Mesh) -> str:
    """'kept', or the reason why a result is left out."""
    if not np.isfinite(result.vertices).all():
        return "not finite"
    corners = rest.triangles, np.roll(rest.triangles, -1, 1)
    now, cut = (
        np.linalg.norm(points[corners[0]] - points[corners[1]], axis=-1) for points in (result.vertices, rest.vertices)
    )
    stretch = now / np.maximum(cut, 0.5 * cut.mean())
    if stretch.max() > LONGEST_STRETCH or (stretch > LONG_STRETCH).mean() > MOST_STRETCHED:
        return "torn: edges are stretched"
    if result.inside > MOST_INSIDE:
        return "inside the body"
    if result.speed > FASTEST:
        return "still moving"
    return "kept"
