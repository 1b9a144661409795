"""The books of a training: curves, held-out errors, checkpoints, the garment file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch

from scale_backend.body import pose_vertices
from scale_backend.engine import Decoder
from scale_backend.garment import Garment, save_garment
from scale_backend.network import ScaleNetwork
from training.checkpoints import save_checkpoint
from training.config import Recipe
from training.dataset import Groundwork, spread
from training.measures import Judge, Measures
from training.raw_frames import RawFramesError, read_garment, read_split

DECODED_AT_ONCE = 4


class Run:
    """One training's output folder: checkpoints, TensorBoard curves, NAME.safetensors, held-out.json."""

    def __init__(self, recipe: Recipe, groundwork: Groundwork, out: Path):
        self.recipe, self.groundwork, self.out = recipe, groundwork, Path(out)
        self.held_out: dict = {}
        self.writer = None
        self.mean_loss: float | None = None

    def begin(self, trainer) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / "recipe.json").write_text(json.dumps(self.recipe.as_dict(), indent=1))
        self.writer = SummaryWriter(str(self.out / "curves"))

    def log(self, trainer, terms: dict[str, float], bar) -> None:
        loss = terms["loss"]
        self.mean_loss = loss if self.mean_loss is None else 0.98 * self.mean_loss + 0.02 * loss
        if trainer.step % 10 == 0:
            for name, value in terms.items():
                self.writer.add_scalar(f"train/{name}", value, trainer.step)
            self.writer.add_scalar("train/learning_rate", trainer.learning_rate(), trainer.step)
        figures = {"loss": f"{self.mean_loss:.4f}"}
        if "all" in self.held_out:
            figures["held-out"] = f"{self.held_out['all']['to_truth_mean']:.2f} mm"
        bar.set_postfix(figures, refresh=False)

    def validate(self, trainer, bar=None) -> Garment:
        """Measure the averaged network on the held-out split, and write the garment as it is now."""
        network = trainer.finished_network()
        cloth = trainer.data.cloth_flags(network)
        garment = self.garment(network, cloth, trainer)
        table = validation_table(garment, self.recipe, self.groundwork)
        if table:
            self.held_out = table
            for region, row in table.items():
                for name, value in row.items():
                    self.writer.add_scalar(f"held-out {region}/{name}", value, trainer.step)
            all_regions = ", ".join(f"{k} {v['to_truth_mean']:.2f}" for k, v in table.items())
            line = (f"{time.strftime('%H:%M:%S')} step {trainer.step}, {trainer.seconds / 60:.1f} min, loss "
                    f"{self.mean_loss or 0:.4f}; held-out mm: {all_regions}; from truth "
                    f"{table['all']['from_truth_mean']:.2f}, p90 {table['all']['to_truth_p90']:.2f}, normals "
                    f"{table['all']['normal_angle']:.1f}°")  # fmt: skip
            (bar.write if bar is not None else print)(line)
            with open(self.out / "held-out.jsonl", "a") as file:
                file.write(json.dumps({"step": trainer.step, "seconds": trainer.seconds, "table": table}) + "\n")
        save_garment(self.path, self.garment(network, cloth, trainer))  # with the figures just measured
        self.writer.flush()
        return garment

    def save(self, trainer) -> None:
        save_checkpoint(self.out, trainer.step, trainer.state())

    def finish(self, trainer) -> Path:
        self.validate(trainer)
        self.writer.close()
        return self.path

    @property
    def path(self) -> Path:
        return self.out / f"{self.recipe.name}.safetensors"

    def garment(self, network: ScaleNetwork, cloth: torch.Tensor | None, trainer) -> Garment:
        recipe, body = self.recipe, self.groundwork.body
        summary = {
            "data": Path(recipe.data).name,
            "frames": len(trainer.data),
            "steps": trainer.step,
            "minutes": round(trainer.seconds / 60, 1),
            "supervision": recipe.supervision_kind,
            "held_out": {region: {k: round(v, 3) for k, v in row.items()} for region, row in self.held_out.items()},
        }
        on_host = self.groundwork.to("cpu")
        return Garment(
            name=recipe.name, network=network.to("cpu"), layout=on_host.layout, mode=self.groundwork.mode,
            body_name=body.name, body_vertices=len(body.template), body_digest=on_host.body.digest,
            carrier=on_host.carrier if on_host.carrier.kind == "garment" else None, cloth=cloth,
            title=recipe.title, description=recipe.description, licence=recipe.licence, author=recipe.author,
            training=summary,
        )  # fmt: skip


def validation_table(garment: Garment, recipe: Recipe, groundwork: Groundwork) -> dict[str, dict[str, float]]:
    """The `val` split through the real decoder; empty where the folder has no such split."""
    folder = Path(recipe.data)
    try:
        raw, frames = read_garment(folder), read_split(folder, "val")
    except RawFramesError:
        return {}
    frames = spread(frames, recipe.validation_frames)
    body = groundwork.to("cpu").body
    judge = Judge(raw.vertices, raw.triangles, raw.region, body.triangles.numpy())
    measures = Measures()
    measure_frames(garment, body, frames.pose, frames.vertices, judge, measures, with_body=False)
    return measures.table(raw.region_names)


def measure_frames(
    garment: Garment,
    body,
    axis_angle: np.ndarray,  # [F, J, 3]
    truth: np.ndarray,  # [F, V, 3]
    judge: Judge,
    measures: Measures,
    with_body: bool = True,
) -> None:
    """Decode poses as a user would and add each frame's figures."""
    from scale_backend.motion import matrices_from_axis_angle

    decoder = Decoder(garment, body)
    surface = "mesh" if garment.carrier is not None else "points"
    rotations = torch.from_numpy(matrices_from_axis_angle(axis_angle).astype(np.float32))
    to_pelvis = -body.mean_joints[:1]
    for first in range(0, len(rotations), DECODED_AT_ONCE):
        some = rotations[first : first + DECODED_AT_ONCE]
        translation = to_pelvis.expand(len(some), 3)
        points, normals = decoder.decode(some, translation, None, surface, "clothes")
        skin = pose_vertices(body, some, translation).numpy() if with_body else [None] * len(some)
        for k in range(len(some)):
            if surface == "mesh":
                judge.add_mesh(measures, points[k].numpy(), truth[first + k], skin[k])
            else:
                judge.add_points(measures, points[k].numpy(), normals[k].numpy(), truth[first + k], skin[k])
