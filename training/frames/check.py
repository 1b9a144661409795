"""`scale-train check`: whether a folder of frames can be trained on, and what is wrong if not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from training.frames.packed_frames import PackedFrame, PackedFrameError, map_size_of, read_packed
from training.frames.raw_frames import SPLITS, RawFramesError, read_garment, read_split

FAR_PELVIS = 0.25  # metres: the middle of a normalised body is nearer to the origin
SMALLEST, LARGEST = 0.4, 3.0  # metres a body spans
FAR_MAP = 0.02  # metres between a pixel and the nearest body vertex, median
NAMED = 5  # faults of a kind that are told by name


@dataclass(frozen=True)
class CheckSettings:
    """Read every frame of a folder, raw or packed, and name what is wrong. Ends with status 1 if anything is."""

    folder: Annotated[Path, tyro.conf.arg(metavar="FOLDER"), tyro.conf.Positional]
    """Folder of scale-train simulate or pack."""


def run(settings: CheckSettings) -> dict[str, int]:
    """Frames by split. Raises UserError that counts the faults; they are printed before."""
    folder = settings.folder
    if (folder / "garment.npz").is_file():
        frames, faults = check_raw(folder)
    else:
        paths = {split: sorted((folder / split).glob("*.npz")) for split in SPLITS if (folder / split).is_dir()}
        frames = {split: len(found) for split, found in paths.items()}
        if not sum(frames.values()):
            raise PackedFrameError(f"{folder} holds neither raw frames (garment.npz) nor packed ones (train/*.npz); "
                                   "make them with scale-train simulate or pack.")  # fmt: skip
        faults = check_packed([path for found in paths.values() for path in found])
    faults += [f"there are no frames of the split '{split}'" for split in ("train", "val") if not frames.get(split)]
    print(", ".join(f"{count} frames in '{split}'" for split, count in frames.items()))
    for fault in faults:
        print(f"fault: {fault}")
    if faults:
        count = "1 fault; it is" if len(faults) == 1 else f"{len(faults)} faults; they are"
        raise PackedFrameError(f"{folder} has {count} above. Pack or simulate those frames again, or delete them.")
    print("no faults")
    return frames


def check_raw(folder: Path) -> tuple[dict[str, int], list[str]]:
    garment, names = read_garment(folder), Counter[str]()
    frames: dict[str, int] = {}
    faults: list[str] = []
    for split in SPLITS:
        if not list(folder.glob(f"{split}-*.npz")):
            continue
        try:
            read = read_split(folder, split)
        except RawFramesError as error:
            faults.append(str(error))
            continue
        frames[split] = len(read)
        names.update(read.names)
        if read.vertices.shape[1] != len(garment.vertices):
            faults.append(f"'{split}' has {read.vertices.shape[1]} vertices, garment.npz {len(garment.vertices)}")
        if not (np.isfinite(read.vertices).all() and np.isfinite(read.pose).all()):
            faults.append(f"'{split}' holds numbers that are not finite")
    return frames, faults + _repeated(names)


def check_packed(paths: list[Path]) -> list[str]:
    from tqdm import tqdm

    faults: list[str] = []
    sizes, bodies, names = Counter[int](), Counter[int](), Counter[str]()
    for path in tqdm(paths, desc="checking", unit="frame"):
        try:
            size = map_size_of(path)
            frame = read_packed(path, size)
        except PackedFrameError as error:
            faults.append(str(error))
            continue
        sizes[size] += 1
        bodies[len(frame.body_vertices)] += 1
        names[frame.name] += 1
        faults += [f"{path.parent.name}/{path.name}: {fault}" for fault in frame_faults(frame)]
    for what, found in (("positional maps of", sizes), ("bodies of", bodies)):
        if len(found) > 1:
            kinds = ", ".join(f"{size} ({count} frames)" for size, count in sorted(found.items()))
            faults.append(f"{what} different sizes: {kinds}")
    return faults + _repeated(names)


def frame_faults(frame: PackedFrame) -> list[str]:
    from scipy.spatial import cKDTree

    faults, body = [], frame.body_vertices
    lengths = np.linalg.norm(frame.normals, axis=1)
    if np.abs(lengths - 1).max() > 0.05:
        faults.append(f"normals of length {lengths.min():.2f} to {lengths.max():.2f}; they should be 1")
    span = float(np.ptp(body, 0).max())
    if not SMALLEST < span < LARGEST:
        faults.append(f"the body spans {span:.3g} m; is it in metres?")
    elif np.linalg.norm(body.mean(0)) > FAR_PELVIS + 0.25 * span:
        faults.append("the body is not at the origin; it is not normalised")
    covered = np.abs(frame.positional_map).sum(-1) > 0
    if not covered.any():
        return [*faults, "an empty positional map"]
    tree = cKDTree(body)
    if np.median(tree.query(frame.positional_map[covered])[0]) > FAR_MAP:
        faults.append("the positional map does not lie on the body")
    apart = float(np.median(tree.query(frame.points[:: max(1, len(frame.points) // 2000)])[0]))
    if apart > 0.15:
        faults.append(f"scan and body lie {apart:.2f} m apart")
    return faults


def _repeated(names: Counter) -> list[str]:
    twice = [name for name, count in names.items() if count > 1]
    more = "" if len(twice) <= NAMED else f" and {len(twice) - NAMED} more"
    return [f"names that occur twice: {', '.join(twice[:NAMED])}{more}"] if twice else []
