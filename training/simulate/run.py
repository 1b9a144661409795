"""`scale-train simulate`: drape a garment over many poses and write raw frames.

Frames are written in chunks; chunks that exist are skipped, so a run that was stopped goes on where it stopped. Worker
processes take chunks by turns. Frames that went wrong are left out, and counted by reason in `<split>-report.json`.
"""
from __future__ import annotations

import json
import multiprocessing
import os
import queue
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from ..poses import random_poses
from ..raw_frames import SPLITS, RawFrames, RawFramesError, chunk_path, read_garment, write_chunk, write_garment
from .garments import find_recipe, make_garment, make_scene
from .mesh_tools import Array, Mesh
from .protocol import Drape, drape
from .skinning import load_skinned_body

MOST_INSIDE = 0.005  # share of the vertices
FASTEST = 4.0e-3  # metres a frame at the end
LONGEST_STRETCH = 2.5  # of an edge, against its length as cut
WAIT = 5.0  # seconds between looks at the workers


@dataclass(frozen=True)
class SimulateSettings:
    """Settings of `scale-train simulate`."""

    garment: str = "dress"
    out: Path = Path("data/raw/dress")
    split: str = "train"
    """train, val, test or path."""
    count: int = 1000
    """How many poses (with a motion: frames evenly spaced over it)."""
    seed: int = 1
    """Of the random poses: any prefix of a seed's poses is a balanced sample."""
    motion: Path | None = None
    """Take the poses from a motion file instead (root rotation removed)."""
    chunk: int = 20
    """Frames a file."""
    processes: int = 1
    path_test: int = 0
    """Instead of frames, test how far the path to a pose matters, on so many poses."""


def run(settings: SimulateSettings) -> None:
    """Raises RawFramesError for settings that cannot be used and RuntimeError if a worker fails."""
    find_recipe(settings.garment)
    if settings.split not in SPLITS:
        raise RawFramesError(f"There is no split '{settings.split}': choose one of {', '.join(SPLITS)}.")
    if settings.count < 1 or settings.chunk < 1 or settings.processes < 1:
        raise RawFramesError("The numbers of poses, frames a file and processes have to be at least 1.")
    if settings.path_test:
        _run_path_test(settings)
        return
    if settings.motion is not None:
        simulate_motion(settings.garment, settings.motion, settings.count, settings.out, settings.processes,
                        settings.split)
        return
    body = load_skinned_body()
    named = islice(random_poses(settings.seed, body.joints, body.parents), settings.count)
    kinds, poses = zip(*named, strict=True)
    names = [f"{settings.seed}-{number:04d}-{kind}" for number, kind in enumerate(kinds)]
    simulate_poses(settings.garment, poses, names, settings.out, settings.split, settings.processes, settings.chunk)


def simulate_motion(garment_name: str, motion_path: Path, frame_count: int, out_folder: Path, processes: int = 1,
                    split: str = "test") -> None:
    """Simulate frames evenly spaced over a motion, the root removed, into a raw folder."""
    from scale_backend.motion import load_motion

    motion = load_motion(Path(motion_path))
    rotations = np.zeros((len(motion.rotations), 24, 3))
    shared = min(22, motion.rotations.shape[1])  # hands touch no cloth
    rotations[:, 1:shared] = motion.rotations[:, 1:shared]
    chosen = np.linspace(0, len(rotations) - 1, frame_count).round().astype(int)
    names = [f"{Path(motion_path).stem}-{frame:04d}" for frame in chosen]
    simulate_poses(garment_name, rotations[chosen], names, out_folder, split, processes, chunk=10)


def simulate_poses(garment_name: str, poses: Sequence[Array], names: Sequence[str], folder: Path, split: str,
                   processes: int = 1, chunk: int = 20) -> None:
    """Drape the garment over poses [J, 3] and write them as chunks of a split; existing chunks stay."""
    folder = Path(folder)
    _prepare(folder, garment_name)
    numbers = range((len(poses) + chunk - 1) // chunk)
    missing = [number for number in numbers if not chunk_path(folder, split, number).exists()]
    jobs = [(chunk_path(folder, split, number), names[number * chunk:(number + 1) * chunk],
             np.stack(poses[number * chunk:(number + 1) * chunk])) for number in missing]
    if jobs:
        _work(garment_name, jobs, folder / f"{split}-report.json", min(processes, len(jobs)))


def _prepare(folder: Path, garment_name: str) -> None:
    """Write the rest mesh, or see that the folder's is this garment made in this way."""
    recipe = json.dumps({"edge_length": find_recipe(garment_name).edge_length,
                         **asdict(find_recipe(garment_name).cloth),
                         "most_frames": find_recipe(garment_name).most_frames})
    if (folder / "garment.npz").exists():
        there = read_garment(folder)
        if (there.name, there.settings) != (garment_name, recipe):
            raise RawFramesError(f"{folder} holds '{there.name}' simulated with other settings: choose another "
                                 "folder, or delete this one.")
        return
    body = load_skinned_body()
    write_garment(folder, make_garment(garment_name, body).raw(body, recipe))


def _work(garment_name: str, jobs: list, report_path: Path, processes: int) -> None:
    from tqdm import tqdm

    context = multiprocessing.get_context("spawn")
    todo, done = context.Queue(), context.Queue()
    for job in jobs:
        todo.put(job)
    for _ in range(processes):
        todo.put(None)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # the workers inherit it: cores are shared by processes, not by threads
    workers = [context.Process(target=_worker, args=(garment_name, todo, done), daemon=True)
               for _ in range(processes)]
    for worker in workers:
        worker.start()
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before
    reasons = Counter(json.loads(report_path.read_text()) if report_path.exists() else {})
    total = sum(len(names) for _, names, _ in jobs)
    try:
        with tqdm(total=total, desc=f"{garment_name} {report_path.stem}", unit="pose") as bar:
            while bar.n < total:
                for name, reason in _next(done, workers):
                    reasons[reason] += 1
                    bar.update()
                    if reason != "kept":
                        bar.write(f"{name} left out: {reason}")
                report_path.write_text(json.dumps(reasons, indent=1))
    finally:
        for worker in workers:
            worker.join(timeout=5)
            if worker.is_alive():
                worker.terminate()


def _next(done: multiprocessing.Queue, workers: list) -> list[tuple[str, str]]:
    """What the workers report next; raises RuntimeError when one has failed."""
    while True:
        try:
            result = done.get(timeout=WAIT)
        except queue.Empty:
            dead = [worker for worker in workers if worker.exitcode not in (None, 0)]
            if dead:
                raise RuntimeError(f"A simulation process ended with code {dead[0].exitcode}: run the command again, "
                                   "it goes on where it stopped.") from None
            continue
        if isinstance(result, str):
            raise RuntimeError(f"A simulation process failed ({result}): run the command again, it goes on where it "
                               "stopped.")
        return [result]


def _worker(garment_name: str, todo: multiprocessing.Queue, done: multiprocessing.Queue) -> None:
    """Take chunks until there are none; report each pose, or the error that ends the process."""
    try:
        _import_blender_single_threaded()
        body = load_skinned_body()
        garment = make_garment(garment_name, body)
        scene = make_scene(garment_name, body, garment)
        most_frames = find_recipe(garment_name).most_frames
        while (job := todo.get()) is not None:
            path, names, poses = job
            kept = []
            for name, pose in zip(names, poses, strict=True):
                result = drape(scene, pose, most_frames)
                reason = judge(result, garment.mesh)
                done.put((name, reason))
                if reason == "kept":
                    kept.append((pose, result.vertices, name, result.inside, 1e3 * result.speed))
            if kept:
                pose, vertices, name, inside, speed = zip(*kept, strict=True)
                write_chunk(path, RawFrames(np.stack(pose), np.stack(vertices).astype(np.float32), name,
                                            np.array(inside), np.array(speed)))
        scene.close()
    except Exception as error:  # whatever it is, the parent reports it
        done.put(f"{type(error).__name__}: {error}")


def _import_blender_single_threaded() -> None:
    """Blender starts as many threads as it may use cores: with several processes that many would be in each
    other's way."""
    if not hasattr(os, "sched_setaffinity"):  # Linux only
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    import bpy  # noqa: F401

    os.sched_setaffinity(0, cores)


def judge(result: Drape, rest: Mesh) -> str:
    """'kept', or the reason why a result is left out."""
    if not np.isfinite(result.vertices).all():
        return "not finite"
    corners = rest.triangles, np.roll(rest.triangles, -1, 1)
    now, cut = (np.linalg.norm(points[corners[0]] - points[corners[1]], axis=-1)
                for points in (result.vertices, rest.vertices))
    if (now > LONGEST_STRETCH * np.maximum(cut, 0.5 * cut.mean())).any():
        return "torn: an edge is stretched"
    if result.inside > MOST_INSIDE:
        return "inside the body"
    if result.speed > FASTEST:
        return "still moving"
    return "kept"


def _run_path_test(settings: SimulateSettings) -> None:
    from tqdm import tqdm

    from .path_test import path_test, table, write_table

    rows = path_test(settings.garment, settings.seed, settings.path_test, progress=tqdm)
    print(table(rows))
    print(f"Written to {write_table(settings.out, settings.garment, rows)}")
