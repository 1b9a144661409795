"""`make device-check`: everything that runs on a GPU, against the same on the CPU. At most 8 minutes, no network.

A part that fails is told with its error, and the others go on. The results are a table and a JSON file.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from torch import Tensor

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.assets import find_garment, find_motion
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.motions import load_motion
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.inference.precision import fast_precisions
from scale_backend.model.garment import load_garment
from tests.benchmarks import gpu, training_step
from tests.benchmarks.decoding import random_poses, standard_garment
from tests.benchmarks.report import ROOT, Row, machine, seconds, show, write

GARMENTS = ("dress", "tee-trousers", "dress-body")
BATCHES = (1, 4, 16, 64, 256)
CLOSE, CLOSEST = 0.2, 1.0  # millimetres: for 99.9 % of the points, and for all


@dataclass(frozen=True)
class Settings:
    """Check a GPU: equal to the CPU, how fast, a training step, a short training."""

    device: str = "cuda"
    """Where; `cpu` tries the script itself."""
    minutes: float = 8.0
    """No part begins after this time."""
    training_seconds: float = 45.0
    """Of the short training."""
    garments: tuple[str, ...] = GARMENTS
    """Those that are compared."""
    batches: tuple[int, ...] = BATCHES
    """Frames at once, for the throughput."""
    out: Path = ROOT / "out" / "device-check.json"


def main() -> int:
    settings = tyro.cli(Settings)
    begun, rows, failed = time.monotonic(), [], 0
    for part in (equality, speed, ceilings, step, training):
        if time.monotonic() - begun > 60 * settings.minutes:
            rows.append(Row(f"{part.__name__}: not begun", 0, "", note=f"{settings.minutes:g} minutes were over"))
            failed += 1
            continue
        print(f"{part.__name__} ...", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            rows += part(settings)
            rows.append(Row(f"{part.__name__}: took", time.monotonic() - began, "s"))
        except Exception as error:  # whatever a device does: the other parts are measured all the same
            traceback.print_exc()
            rows.append(Row(f"{part.__name__}: failed", 0, "", note=f"{type(error).__name__}: {error}".split("\n")[0]))
            failed += 1
        write(settings.out, machine(), rows)
    print(show(machine(), rows))
    print(f"\n{settings.out}")
    far = [row for row in rows if row.unit == "mm" and row.bar and row.value > float(row.bar)]
    return int(bool(failed or far))


def equality(settings: Settings) -> list[Row]:
    """Each garment that ships on each of its surfaces, in each precision of the device, against float32 on the CPU."""
    motion = load_motion(find_motion("dance"))
    chosen = slice(40, 200, 80)
    poses = Poses(matrices_from_axis_angle(motion.rotations[chosen]).astype("float32"), motion.translation[chosen])
    rows = []
    for name in settings.garments:
        garment = load_garment(find_garment(name))
        body = load_body(garment.body_name)
        exact = Decoder(garment, body)
        decoders = [Decoder(garment, body, settings.device, each) for each in fast_precisions(settings.device)]
        for surface in (each for each in garment.metadata()["surfaces"] if each != "poisson"):
            options = DecodeOptions(surface, garment.metadata()["parts"][0])
            expected = exact.decode(poses, options)
            for decoder in decoders:
                rows += differences(f"{name}, {surface}, {decoder.precision}", decoder, poses, options, expected)
    return rows


def differences(
    what: str, decoder: Decoder, poses: Poses, options: DecodeOptions, expected: tuple[Tensor, Tensor]
) -> list[Row]:
    for _ in range(3):  # plainly, recorded, replayed
        points, normals = decoder.decode(poses, options)
    away = 1e3 * (points - expected[0]).norm(dim=-1).flatten()
    angle = (normals * expected[1]).sum(-1).clamp(-1, 1).acos().rad2deg().mean()
    near = float(away.kthvalue(max(1, int(0.999 * len(away)))).values)
    return [
        Row(f"{what}: 99.9 % within", near, "mm", str(CLOSE), f"normals {angle:.3f} degrees"),
        Row(f"{what}: largest", float(away.max()), "mm", str(CLOSEST)),
    ]


def speed(settings: Settings) -> list[Row]:
    """The paper's network, 12,768 points, from host to host; and the dress's mesh."""
    rows = []
    dress = load_garment(find_garment("dress"))
    kinds = {"standard network": (standard_garment(), DecodeOptions("points", "whole body", push_out=False)),
             "dress": (dress, DecodeOptions("mesh"))}  # fmt: skip
    for name, (garment, options) in kinds.items():
        for precision in fast_precisions(settings.device):
            decoder = Decoder(garment, load_body(garment.body_name), settings.device, precision)
            for count in settings.batches:
                poses = Poses(random_poses(count))
                time_of_one = seconds(lambda d=decoder, p=poses, o=options: d.decode(p, o), 12, 3)
                rows.append(Row(f"{name}, {precision}, batch of {count}: a frame", 1e3 * time_of_one / count, "ms",
                                note=f"{count / time_of_one:.0f} frames a second"))  # fmt: skip
    return rows


def ceilings(settings: Settings) -> list[Row]:
    """What the hardware's arithmetic and memory would allow, and how near a bake comes."""
    return gpu.rows(6) if settings.device == "cuda" else []


def step(settings: Settings) -> list[Row]:
    """A training step against a plain one."""
    load = training_step.Load() if settings.device == "cuda" else training_step.Load(2, 2000, 4)
    return training_step.rows(8, load, settings.device)


def training(settings: Settings) -> list[Row]:
    """A short training from frames that are made here: the scans must come nearer."""
    from training.config import recipe_from_dict
    from training.learning.dataset import read_groundwork
    from training.learning.scans import read_scans
    from training.learning.trainer import Trainer

    device = torch.device(settings.device)
    with tempfile.TemporaryDirectory(prefix="scale-check-") as folder:
        recipe = recipe_from_dict({"name": "check", "data_root": folder, "batch_size": 8, "scan_npoints": 8000,
                                   "precision": "bfloat16"})  # fmt: skip
        recipe = replace(recipe, steps=100_000)
        training_step.write_frames(Path(folder), recipe, 16)
        groundwork = read_groundwork(recipe).to(device)
        trainer = Trainer(recipe, read_scans(groundwork, recipe, Path(folder)), device)
        losses: list[float] = []
        began = time.monotonic()
        while time.monotonic() - began < settings.training_seconds or len(losses) < 4:
            losses.append(trainer.train_step()["scan_to_model"])
    third = max(1, len(losses) // 3)
    first, last = sum(losses[:third]) / third, sum(losses[-third:]) / third
    if not last < first:
        raise ArithmeticError(
            f"The distance of scan to model went from {first:.4g} to {last:.4g} in {len(losses)} steps."
        )
    return [
        Row("training: steps", len(losses), "", note=f"in {settings.training_seconds:g} s on {device}"),
        Row("training: distance of scan to model, last third against the first", last / first, "x", "1"),
    ]


if __name__ == "__main__":
    sys.exit(main())
