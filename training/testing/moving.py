"""`scale-train measure`: a garment in motions that it was not trained on, against simulated cloth."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.assets import find_garment
from scale_backend.formats.frame_files import write_whole
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.formats.window import moments
from scale_backend.geometry.articulation import vertex_normals, vertex_rings
from scale_backend.geometry.body import Body, joint_transforms, load_body, pose_vertices
from scale_backend.geometry.carrier import pose_carrier
from scale_backend.model.garment import Garment, load_garment
from training.frames.raw_frames import RawFramesError
from training.frames.sequences import Sequence, read_sequence
from training.measuring.cloth_motion import MotionFigures, Sheet, motion_figures, sheet_of
from training.simulate.held_out import HELD, HELD_OUT

STILL = 10  # last frames of a held pose, which are measured
AT_ONCE = 8  # frames that are decoded together
COMMON_PAST = 45  # frames after the first until two pasts differ by more than a second ago


@dataclass(frozen=True)
class MeasureSettings:
    """Measure a garment on held-out sequences: distance of corresponding vertices, swing, folds, length, flicker, skin
    that shows; beside it the carrier only skinned, another garment, and how far two simulations with the same last
    second and different pasts lie apart."""

    garment: Annotated[str, tyro.conf.arg(metavar="GARMENT"), tyro.conf.Positional]
    """Garment: a name of those that ship, or a .safetensors file."""
    data: Path
    """Folder of the garment's sequences, with held-out and, for the limit, two-pasts."""
    beside: tuple[str, ...] = ()
    """Other garments of the same mesh, such as one that knows the pose alone."""
    fabrics: tuple[str, ...] = ("cotton",)
    """Which sequences."""
    json: Path | None = None
    """Where to write the figures as JSON; GARMENT-motion.json in the current folder if not given."""
    threads: int = 0
    """CPU threads; 0: torch's choice."""


def run(settings: MeasureSettings) -> dict:
    """Measure, print and write. Raises ValueError with one sentence for whatever the user can mend."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    garments = {name: load_garment(find_garment(name)) for name in (settings.garment, *settings.beside)}
    body = load_body(garments[settings.garment].body_name)
    tables = {}
    for fabric in settings.fabrics:
        tables[fabric] = measure(garments, body, settings.data, fabric)
        print(f"\n{fabric}, {settings.data}\n{format_table(tables[fabric])}")
    path = settings.json or Path(f"{garments[settings.garment].name}-motion.json")
    write_whole(path, json.dumps(tables, indent=1).encode())
    print(f"\nfigures: {path}")
    return tables


def measure(garments: dict[str, Garment], body: Body, folder: Path, fabric: str) -> dict[str, dict[str, dict]]:
    """Figures by way of making the cloth and by motion; `all` is the mean over the motions of `HELD_OUT`. Of a pose
    that is held its last frames count alone."""
    paths = sorted((folder / "held-out").glob(f"*-{fabric}.npz"))
    if not paths:
        raise RawFramesError(f"{folder / 'held-out'} has no sequences of {fabric}: make some with scale-train record.")
    first = next(iter(garments.values()))
    carrier = first.carrier_on(body)
    flat = sheet_of(carrier.template.numpy(), carrier.triangles.numpy())
    decoders = {name: Decoder(garment, body) for name, garment in garments.items()}
    ways: dict[str, dict[str, dict]] = {name: {} for name in (*garments, "unsettled", "skinned", "limit")}
    for path in paths:
        name, sequence = path.stem.removesuffix(f"-{fabric}"), read_sequence(path)
        truth, pelvis, skin = sequence.vertices[sequence.first :], *wearer(body, sequence)
        kept = slice(-STILL, None) if name == HELD else slice(None)
        graded = carrier.template + carrier.shape_components @ torch.from_numpy(sequence.betas)
        sheet = replace(flat, rest=graded.numpy())
        made = {key: decoded(decoder, sequence, DecodeOptions()) for key, decoder in decoders.items()}
        made["unsettled"] = decoded(next(iter(decoders.values())), sequence, DecodeOptions(settle=False))
        made["skinned"] = skinned(first, body, sequence)
        for key, cloth in made.items():
            parts = cloth[kept], truth[kept], pelvis[kept], sheet, sequence.fps, (skin[0][kept], skin[1][kept])
            ways[key][name] = asdict(motion_figures(*parts))
        other = folder / "two-pasts" / path.name
        if other.is_file():
            start = len(truth) - STILL if name == HELD else COMMON_PAST
            ways["limit"][name] = asdict(_limit(sequence, read_sequence(other), pelvis, sheet, skin, start))
    return {way: {**rows, "all": _mean([rows[name] for name in HELD_OUT if name in rows] or list(rows.values()))}
            for way, rows in ways.items() if rows}  # fmt: skip


def poses_of(sequence: Sequence) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rotations [F, J, 3, 3], translation [F, 3], shape [S]."""
    rotations = matrices_from_axis_angle(sequence.pose).astype(np.float32)
    return torch.from_numpy(rotations), torch.from_numpy(sequence.translation), torch.from_numpy(sequence.betas)


def window_of(garment: Garment, sequence: Sequence) -> Poses:
    """The frames that are measured, each with its window."""
    rotations, translation, shape = (part.numpy() for part in poses_of(sequence))
    times = np.arange(len(sequence)) / sequence.fps
    asked = np.arange(sequence.first, len(sequence))
    past = moments(rotations, translation, times, garment.window.lags, asked) if garment.window.lags else ()
    return Poses(rotations[asked], translation[asked], shape, *past)


def decoded(decoder: Decoder, sequence: Sequence, options: DecodeOptions) -> np.ndarray:  # [F - first, V, 3]
    """As a user gets it, in the sequence's fabric where the garment knows it."""
    garment = decoder.model.garment
    fabrics = tuple(float(name == sequence.fabric) for name in garment.fabrics)
    options = replace(options, fabrics=fabrics if any(fabrics) else ())
    poses = window_of(garment, sequence)
    parts = [decoder.decode(poses[k : k + AT_ONCE], options)[0] for k in range(0, len(poses), AT_ONCE)]
    return torch.cat(parts).numpy()


def skinned(garment: Garment, body: Body, sequence: Sequence) -> np.ndarray:  # [F - first, V, 3]
    rotations, translation, shape = poses_of(sequence)
    shapes = shape.expand(len(rotations), -1)
    posed = pose_carrier(garment.carrier_on(body), body, rotations, translation, shapes)
    return posed[sequence.first :].numpy()


def wearer(body: Body, sequence: Sequence) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The pelvis [F - first, 3], and the skin's vertices and normals [F - first, B, 3]."""
    rotations, translation, shape = (x[sequence.first :] if len(x) == len(sequence) else x for x in poses_of(sequence))
    shapes = shape.expand(len(rotations), -1)
    transforms = joint_transforms(body, rotations, translation, shapes)
    skin = pose_vertices(body, rotations, translation, shapes, transforms)
    rings = vertex_rings(body.triangles, len(body.template))
    pelvis = body.rest_joints(shapes)[:, 0] + translation
    return pelvis.numpy(), (skin.numpy(), vertex_normals(skin, rings).numpy())


def _limit(
    one: Sequence,
    other: Sequence,
    pelvis: np.ndarray,
    sheet: Sheet,
    skin: tuple[np.ndarray, np.ndarray],
    start: int,  # frame from which their pasts have been the same for a second
) -> MotionFigures:
    """Of two simulations."""
    theirs = other.vertices[other.first + start :]
    count = min(len(one) - one.first - start, len(theirs))
    chosen = slice(start, start + count)
    truth = one.vertices[one.first :][chosen]
    return motion_figures(theirs[:count], truth, pelvis[chosen], sheet, one.fps, (skin[0][chosen], skin[1][chosen]))


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}


COLUMNS = {
    "distance": "mm", "distance_90": "90 %", "correlation": "swing", "amplitude": "x", "folds": "folds",
    "true_folds": "true", "edges": "edges", "true_edges": "true", "edges_10": "10 %", "true_edges_10": "true",
    "flicker": "flicker", "inside": "inside %",
}  # fmt: skip


def format_table(ways: dict[str, dict[str, dict[str, float]]]) -> str:
    """Plain text: a line for each way of making the cloth and each motion."""
    names = [f"{Path(way).stem} {motion}" for way, rows in ways.items() for motion in rows]
    width = max(map(len, names))
    lines = [" " * width + "".join(title.rjust(9) for title in COLUMNS.values())]
    rows = [row for rows in ways.values() for row in rows.values()]
    for name, row in zip(names, rows, strict=True):
        lines.append(name.ljust(width) + "".join(f"{row[column]:9.3f}" for column in COLUMNS))
    return "\n".join(lines)
