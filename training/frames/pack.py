"""`scale-train pack`: simulated frames, or pairs of scan and body, to packed frames in SCALE's format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from scale_backend.formats.errors import UserError
from scale_backend.formats.frame_files import write_whole
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.geometry.body import Body, load_body, pose_vertices
from scale_backend.geometry.positional_map import UVLayout, positional_map, rasterise
from scale_backend.model.network import MAP_SIZES
from training.frames.child_processes import compute_alone
from training.frames.clothed_body import ClothedBody, clothed_body, sample_scan
from training.frames.packed_frames import PackedFrame, map_size_of, write_packed
from training.frames.pairs import PairPacker, find_pairs, pack_pair
from training.frames.raw_frames import SPLITS, RawFramesError, RawGarment, read_garment, read_split
from training.geometry.visibility import visible_skin


@dataclass(frozen=True)
class PackSettings:
    """Pack frames: positional map, body, and points of the visible surface.

    RAW is a folder of `scale-train simulate`; or a folder of pairs NAME_clothed.obj (the scan) and NAME_minimal.obj
    (the body fitted to it), sorted into train, val and test where folders have these names; or one clothed file.
    Global orientation and place are taken off pairs and kept in the frame, so that `test` can put them back. Writes
    OUT/<split>/<name>.npz; frames that are there already are left alone.
    """

    raw: Annotated[Path, tyro.conf.arg(metavar="RAW"), tyro.conf.Positional]
    """What to pack."""
    out: Path
    points: int = 40_000
    """Scan points a frame."""
    map_size: int = 32
    """Side of the positional map, pixels: 32, 64, 128 or 256."""
    splits: tuple[str, ...] = ("train", "val", "test")
    """Pack these alone."""
    limit: int | None = None
    """At most this many frames a split."""
    body: str = "neutral"
    """The body of the frames, by name or path."""
    minimal: Path | None = None
    """The body of a single clothed file, if it is not beside it as NAME_minimal.obj."""
    split: str = "train"
    """Split of pairs that lie in no folder of that name."""
    processes: int = 1
    """Pairs packed at the same time."""


@dataclass(frozen=True)
class Packer:
    """What all frames share."""

    body: Body
    layout: UVLayout
    surface: ClothedBody
    raw: RawGarment
    points: int


def run(settings: PackSettings) -> int:
    """Pack; the number of frames written. Raises UserError with one sentence for whatever the user can mend."""
    from tqdm import tqdm

    unknown = set(settings.splits) - set(SPLITS)
    if unknown:
        raise RawFramesError(f"There is no split '{unknown.pop()}'; there are {', '.join(SPLITS)}.")
    if settings.map_size not in MAP_SIZES or settings.points < 1:
        raise RawFramesError(f"A frame has a map of {', '.join(map(str, MAP_SIZES))} pixels and at least one point; "
                             f"{settings.map_size} pixels and {settings.points} points cannot be.")  # fmt: skip
    check_out(settings.out, settings.map_size)
    if not (settings.raw / "garment.npz").is_file():
        return pack_pairs(settings)
    packer = make_packer(load_body(settings.body), read_garment(settings.raw), settings.points, settings.map_size)
    written, found = 0, False
    for split in settings.splits:
        if not list(settings.raw.glob(f"{split}-*.npz")):
            tqdm.write(f"{settings.raw} has no frames of the split '{split}'")
            continue
        found = True
        frames = read_split(settings.raw, split, settings.limit)
        for i in tqdm(range(len(frames)), desc=split):
            path = settings.out / split / f"{frames.names[i]}.npz"
            if not path.exists():
                write_packed(path, pack_frame(packer, frames.pose[i], frames.vertices[i], frames.names[i], seed=i))
                written += 1
    if not found:
        raise RawFramesError(f"{settings.raw} has no frames of the splits {', '.join(settings.splits)}; make them with "
                             "scale-train simulate, or name others with --splits.")  # fmt: skip
    return written


def check_out(out: Path, map_size: int) -> None:
    """Raises UserError where frames with maps of another size lie, which would be left alone."""
    for split in SPLITS:
        there = next(iter((out / split).glob("*.npz")), None)
        if there is not None and (size := map_size_of(there)) != map_size:
            raise RawFramesError(f"{out} holds frames with maps of {size} pixels; choose another --out for those of "
                                 f"{map_size}, or delete them.")  # fmt: skip


def pack_pairs(settings: PackSettings) -> int:
    """Pack pairs of meshes, with OUT/pack-report.json: what was rejected, and why."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from functools import partial
    from multiprocessing import get_context

    from tqdm import tqdm

    if not settings.raw.exists():
        raise RawFramesError(f"There is no {settings.raw}; name a folder or a clothed file.")
    pairs, rejected = find_pairs(settings.raw, settings.minimal, settings.split)
    by_split = ([pair for pair in pairs if pair.split == split] for split in settings.splits)
    pairs = [pair for some in by_split for pair in some[: settings.limit]]
    if not pairs and not rejected:
        raise RawFramesError(f"{settings.raw} holds neither frames of scale-train simulate nor pairs NAME_clothed.obj, "
                             f"NAME_minimal.obj of the splits {', '.join(settings.splits)}; add some, or name "
                             "another folder.")  # fmt: skip
    new = [pair for pair in pairs if not (settings.out / pair.split / f"{pair.name}.npz").exists()]
    body = load_body(settings.body)
    if body.uv is None or body.uv_triangles is None:
        raise RawFramesError(f"The body '{body.name}' has no UVs; import it with its UV template.")
    layout = rasterise(body.uv, body.uv_triangles, settings.map_size)
    work = partial(pack_pair, PairPacker(body, layout, settings.points, settings.out))
    # one thread each, in a single process too: a fit is thousands of small steps, and threads wait for each other
    with ProcessPoolExecutor(max(1, settings.processes), get_context("spawn"), compute_alone) as pool:
        try:
            reasons = list(tqdm(pool.map(work, new), total=len(new), desc="pairs", unit="pair"))
        except BrokenProcessPool as error:
            raise UserError("A packing process was killed, perhaps because memory ran out; try again "
                               "with fewer --processes: what is packed is kept.") from error  # fmt: skip
    rejected |= {pair.name: reason for pair, reason in zip(new, reasons, strict=True) if reason}
    written = len(new) - sum(map(bool, reasons))
    report = {"packed": written, "there already": len(pairs) - len(new), "rejected": rejected}
    write_whole(settings.out / "pack-report.json", json.dumps(report, indent=1).encode())
    for name, reason in rejected.items():
        print(f"rejected {name}: {reason}")
    print(f"{written} pairs packed, {len(rejected)} rejected: {settings.out / 'pack-report.json'}")
    if rejected and not written and len(pairs) == len(new):
        raise RawFramesError(f"None of the {len(rejected)} pairs in {settings.raw} could be packed; the reasons are "
                             "above.")  # fmt: skip
    return written


def make_packer(body: Body, raw: RawGarment, points: int = 40_000, map_size: int = 32) -> Packer:
    """Raises RawFramesError where the frames belong to another body."""
    if raw.body_digest != body.digest:
        raise RawFramesError(f"The frames were simulated on the body '{raw.body_name}', not on '{body.name}'; name "
                             "that body with --body.")  # fmt: skip
    if body.uv is None or body.uv_triangles is None:
        raise RawFramesError(f"The body '{body.name}' has no UVs; import it with its UV template.")
    faces = torch.from_numpy(raw.triangles.astype(np.int64))
    surface = clothed_body(faces, len(raw.vertices), body.triangles, len(body.template))
    return Packer(body, rasterise(body.uv, body.uv_triangles, map_size), surface, raw, points)


def pack_frame(packer: Packer, pose: np.ndarray, cloth: np.ndarray, name: str, seed: int = 0) -> PackedFrame:
    """One frame: pose [J, 3], cloth [C, 3] in normalised space."""
    body = packer.body
    rotations = torch.from_numpy(matrices_from_axis_angle(pose).astype(np.float32))[None]
    skin = pose_vertices(body, rotations, -body.mean_joints[:1])
    visible = visible_skin(skin[0].numpy(), body.triangles.numpy(), cloth, packer.raw.triangles)
    points, normals, is_cloth = sample_scan(
        packer.surface, torch.from_numpy(cloth)[None], skin, torch.from_numpy(visible)[None], packer.points,
        [torch.Generator().manual_seed(seed)],
    )  # fmt: skip
    maps = positional_map(skin, body.triangles, packer.layout)[0].permute(1, 2, 0)
    return PackedFrame(maps.numpy(), skin[0].numpy(), points[0].numpy(), normals[0].numpy(), name,
                       is_cloth[0].numpy(), pose)  # fmt: skip
