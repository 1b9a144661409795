"""`scale-train simulate`: drape a garment over many poses and write raw frames.

Frames are written in chunks; chunks that exist are skipped, so a run that was stopped goes on where it stopped. Worker
processes take chunks by turns. Frames that went wrong are left out, and counted by reason in `<split>-report.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np

from scale_backend.formats.assets import find_body
from scale_backend.formats.errors import UserError

from ..frames.raw_frames import SPLITS, RawFramesError, chunk_path, read_garment, write_garment
from .garments import find_recipe, make_garment
from .mesh_tools import Array
from .poses import random_poses
from .skinning import SkinnedBody, load_skinned_body, pose_positions, whole_pose
from .workers import Job, drape_jobs


@dataclass(frozen=True)
class SimulateSettings:
    """Drape a garment over many poses of the body with Blender's cloth simulation: the frames to train it from.

    Writes OUT/garment.npz (the rest mesh), OUT/SPLIT-NUMBER.npz (the frames) and OUT/SPLIT-report.json (how many were
    left out, and why). If a run is stopped, run the same command again to resume.
    """

    garment: str = "dress"
    """dress or tee-trousers."""
    body: str = "neutral"
    """Body, by name or path: any file in SMPL's format, with 24, 52 or 55 joints. Fingers and face rest. Garments are
    cut on the one that ships, and laid onto any other."""
    out: Path | None = None
    """Raw folder, of one garment with all its splits; data/raw/GARMENT if not given."""
    split: str = "train"
    """train, val, test or path. Give each split a seed of its own."""
    count: int = 1000
    """How many poses (with a motion: frames evenly spaced over it)."""
    seed: int = 1
    """Of the random poses, within the joints' limits: any prefix of a seed's poses is a balanced sample."""
    motion: Path | None = None
    """Take the poses from a motion file in AMASS's format (.npz) instead; the root's rotation is removed."""
    chunk: int = 20
    """Frames a file; what is lost when a run is stopped."""
    processes: int = 1
    """Poses simulated at the same time; one for each core is the most that helps."""
    path_test: int = 0
    """Instead of frames, test how far the path to a pose matters, on so many poses."""


def run(settings: SimulateSettings) -> None:
    """Raises RawFramesError for settings that cannot be used and RuntimeError if a worker fails."""
    find_recipe(settings.garment)
    check_blender()
    if settings.split not in SPLITS:
        raise RawFramesError(f"There is no split '{settings.split}': choose one of {', '.join(SPLITS)}.")
    if settings.count < 1 or settings.chunk < 1 or settings.processes < 1:
        raise RawFramesError("The numbers of poses, frames a file and processes have to be at least 1.")
    out = settings.out or Path("data/raw") / settings.garment
    if settings.path_test:
        _run_path_test(settings, out)
        return
    if settings.motion is not None:
        simulate_motion(
            settings.garment, settings.motion, settings.count, out, settings.processes, settings.split, settings.body
        )
        return
    body = load_skinned_body(find_body(settings.body))
    named = islice(random_poses(settings.seed, partial(pose_positions, body)), settings.count)
    kinds, poses = zip(*named, strict=True)
    names = [f"{settings.seed}-{number:04d}-{kind}" for number, kind in enumerate(kinds)]
    simulate_poses(
        settings.garment, poses, names, out, settings.split, settings.processes, settings.chunk, settings.body
    )


def simulate_motion(
    garment_name: str,
    motion_path: Path,
    frame_count: int,
    out_folder: Path,
    processes: int = 1,
    split: str = "test",
    body: str = "neutral",
) -> None:
    """Simulate frames evenly spaced over a motion, the root removed, into a raw folder."""
    from scale_backend.formats.motions import load_motion

    check_blender()
    motion = load_motion(Path(motion_path))
    rotations = np.zeros((len(motion.rotations), 24, 3))
    shared = min(22, motion.rotations.shape[1])  # hands touch no cloth
    rotations[:, 1:shared] = motion.rotations[:, 1:shared]
    chosen = np.linspace(0, len(rotations) - 1, frame_count).round().astype(int)
    names = [f"{Path(motion_path).stem}-{frame:04d}" for frame in chosen]
    simulate_poses(garment_name, rotations[chosen], names, out_folder, split, processes, 10, body)


def simulate_poses(
    garment_name: str,
    poses: Sequence[Array],
    names: Sequence[str],
    folder: Path,
    split: str,
    processes: int = 1,
    chunk: int = 20,
    body: str = "neutral",
) -> None:
    """Drape the garment over poses [24, 3] and write them as chunks of a split; existing chunks stay.

    What is written has the body's joints. Raises ForeignFileError for a body that cannot be used.
    """
    folder, wearer = Path(folder), load_skinned_body(find_body(body))
    _prepare(folder, garment_name, wearer)
    poses = [whole_pose(wearer, pose) for pose in poses]
    numbers = range((len(poses) + chunk - 1) // chunk)
    missing = [number for number in numbers if not chunk_path(folder, split, number).exists()]
    jobs = []
    for number in missing:
        part = slice(number * chunk, (number + 1) * chunk)
        jobs.append(Job(chunk_path(folder, split, number), tuple(names[part]), np.stack(poses[part])))
    if jobs:
        drape_jobs(folder, jobs, folder / f"{split}-report.json", min(processes, len(jobs)), find_body(body))


def check_blender() -> None:
    """Before anything is written. Raises RuntimeError."""
    if find_spec("bpy") is None:
        raise UserError("Cloth is simulated by Blender's Python module, which this Python lacks; with Python 3.11 "
                           "install it by pip install 'bpy==4.5.15' 'numpy<2'.")  # fmt: skip


def _prepare(folder: Path, garment_name: str, body: SkinnedBody) -> None:
    """Write the rest mesh, or see that the folder's is this garment made in this way."""
    recipe = json.dumps(
        {
            "edge_length": find_recipe(garment_name).edge_length,
            **asdict(find_recipe(garment_name).cloth),
            "most_frames": find_recipe(garment_name).most_frames,
        }
    )
    if (folder / "garment.npz").exists():
        there = read_garment(folder)
        if (there.name, there.settings) != (garment_name, recipe):
            raise RawFramesError(
                f"{folder} holds '{there.name}' simulated with other settings: choose another "
                "folder, or delete this one."
            )
        if there.body_digest != body.digest():
            raise RawFramesError(f"{folder} was simulated on the body '{there.body_name}', not on '{body.name}': "
                                 "choose another folder, or delete this one.")  # fmt: skip
        return
    write_garment(folder, make_garment(garment_name, body).raw(body, recipe))


def _run_path_test(settings: SimulateSettings, out: Path) -> None:
    from tqdm import tqdm

    from .path_test import path_test, table, write_table

    rows = path_test(
        settings.garment, settings.seed, settings.path_test, progress=tqdm,
        body=load_skinned_body(find_body(settings.body)),
    )  # fmt: skip
    print(table(rows))
    print(f"Written to {write_table(out, settings.garment, rows)}")
