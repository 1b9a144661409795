"""`scale-train evaluate`: a garment's errors on held-out frames, by region, as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from scale_backend.formats.assets import find_garment, find_motion
from scale_backend.formats.frame_files import write_whole
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.geometry.body import Body, joint_transforms, load_body, pose_vertices, skin
from scale_backend.geometry.carrier import pose_carrier
from scale_backend.model.garment import Garment, load_garment
from training.frames.raw_frames import RawFrames, RawFramesError, RawGarment, read_garment, read_split
from training.learning.dataset import spread
from training.learning.validation import measure_frames
from training.measuring.measures import Judge, Measures


@dataclass(frozen=True)
class EvaluateSettings:
    """Measure a garment against simulated frames it was not trained on: distances between surfaces in both
    directions, normals, share inside the body; beside them the same for the carrier when it is only skinned."""

    garment: Annotated[str, tyro.conf.arg(metavar="GARMENT"), tyro.conf.Positional]
    """Garment: a name of those that ship, or a .safetensors file."""
    raw: Path | None = None
    """Raw folder with the frames; data/raw/GARMENT if not given. Where it lacks the split `test`, the held-out dance
    is simulated into it."""
    split: str = "test"
    """train, val or test."""
    limit: int | None = None
    """At most this many frames, spread evenly."""
    body: str = "neutral"
    """Body, by name or path."""
    json: Path | None = None
    """Where to write the figures as JSON; GARMENT-SPLIT.json in the current folder if not given."""
    threads: int = 0
    """CPU threads; 0: torch's choice."""


HELD_OUT_FRAMES = 30  # of the dance, evenly spaced

COLUMNS = {
    "to_truth_mean": "to truth", "to_truth_p90": "90 %", "from_truth_mean": "from truth", "from_truth_p90": "90 %",
    "normal_angle": "normals", "inside_percent": "inside",
}  # fmt: skip


def run(settings: EvaluateSettings) -> dict:
    """Measure, print and write. Raises UserError with one sentence for whatever the user can mend."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    garment = load_garment(find_garment(settings.garment))
    body = load_body(settings.body)
    garment.carrier_on(body)
    raw, frames = held_out_frames(settings, garment)
    frames = spread(frames, settings.limit)
    tables = evaluate(garment, body, raw, frames)
    print(f"{garment.title or garment.name}: {len(frames)} frames of the split '{settings.split}'; distances between "
          "surfaces in mm, normals in degrees, inside the body in percent of the cloth")  # fmt: skip
    for title, table in tables.items():
        print(f"\n{format_table(title, table)}")
    path = settings.json or Path(f"{garment.name}-{settings.split}.json")
    figures = {"garment": garment.name, "frames": len(frames), "split": settings.split} | tables
    write_whole(path, json.dumps(figures, indent=1).encode())
    print(f"\nfigures: {path}")
    return tables


def evaluate(garment: Garment, body: Body, raw: RawGarment, frames: RawFrames) -> dict[str, dict]:
    """Tables: decoded, only skinned, and the truth itself for the share inside the body."""
    if garment.carrier is not None and len(garment.carrier.template) != frames.vertices.shape[1]:
        raise RawFramesError(f"The frames have {frames.vertices.shape[1]} vertices, '{garment.name}' "
                             f"{len(garment.carrier.template)}: they are of another garment.")  # fmt: skip
    judge = Judge(raw.vertices, raw.triangles, raw.region, body.triangles.numpy())
    decoded, skinned = Measures(), Measures()
    measure_frames(garment, body, frames.pose, frames.vertices, judge, decoded)
    posed, skins = skinned_cloth(garment, body, raw, frames.pose)
    truth_inside = Measures()
    for cloth, truth, skin_vertices in zip(posed, frames.vertices, skins, strict=True):
        judge.add_mesh(skinned, cloth, truth, skin_vertices)
        judge.add_mesh(truth_inside, truth, truth, skin_vertices)
    names = raw.region_names
    truth_table = {k: {"inside_percent": v["inside_percent"]} for k, v in truth_inside.table(names).items()}
    return {"decoded": decoded.table(names), "skinned": skinned.table(names), "truth": truth_table}


def skinned_cloth(
    garment: Garment, body: Body, raw: RawGarment, axis_angle: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # cloth [F, V, 3], body [F, B, 3]
    """The garment only skinned: by its carrier, or for a body carrier by the weights it was simulated with."""
    rotations = torch.from_numpy(matrices_from_axis_angle(axis_angle).astype(np.float32))
    translation = -body.mean_joints[:1].expand(len(rotations), 3)
    if garment.carrier is not None:
        cloth = pose_carrier(garment.carrier, body, rotations, translation)
    else:
        weights = torch.from_numpy(raw.blend_weights)
        rest = torch.from_numpy(raw.vertices)[None]
        cloth = skin(rest, weights, joint_transforms(body, rotations, translation))
    return cloth.numpy(), pose_vertices(body, rotations, translation).numpy()


def held_out_frames(settings: EvaluateSettings, garment: Garment) -> tuple[RawGarment, RawFrames]:
    """Frames of the folder; the dance is simulated now, by the training's own protocol, if it is not there."""
    name = garment.training.get("data", garment.name)  # a dress on the body carrier learned from the dress
    folder = settings.raw or Path("data/raw") / name
    if settings.split == "test" and not list(folder.glob("test-*.npz")):
        from training.simulate.run import simulate_motion

        print(f"{folder} has no held-out frames: simulating {HELD_OUT_FRAMES} frames of the dance")
        simulate_motion(name, find_motion("dance"), HELD_OUT_FRAMES, folder, split="test", body=settings.body)
    return read_garment(folder), read_split(folder, settings.split)


def format_table(title: str, table: dict[str, dict[str, float]]) -> str:
    """Plain text, a region a line."""
    columns = [c for c in COLUMNS if any(c in row for row in table.values())]
    width = max(len(title), *(len(name) for name in table))
    lines = [title.ljust(width) + "".join(COLUMNS[c].rjust(12) for c in columns)]
    for name, row in table.items():
        lines.append(name.ljust(width) + "".join(f"{row[c]:12.2f}" if c in row else " " * 12 for c in columns))
    return "\n".join(lines)
