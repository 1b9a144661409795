"""The books of a training: curves, held-out errors, checkpoints, the garment file."""

from __future__ import annotations

import copy
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from scale_backend.formats.frame_files import write_whole
from scale_backend.formats.whole_files import append_line
from scale_backend.model.garment import Garment, save_garment
from scale_backend.model.network import ScaleNetwork
from scale_backend.settling.sweeps import Settling
from training.config import ConfigError, Recipe
from training.frames.sequences import read_garment, read_simulation
from training.learning.checkpoints import save_checkpoint
from training.learning.dataset import Groundwork
from training.learning.model_card import model_card
from training.learning.moving import coarse_settings
from training.learning.validation import read_held_out
from training.pictures.splatter import png

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

    from training.learning.trainer import Trainer

CURVES = {"model_to_scan": "m2s", "scan_to_model": "s2m", "residual": "rgl", "loss": "total"}  # SCALE's names


class Run:
    """One training's output folder: checkpoints, TensorBoard curves, NAME.safetensors, held-out.json."""

    def __init__(self, recipe: Recipe, groundwork: Groundwork, out: Path):
        self.recipe, self.groundwork, self.out = recipe, groundwork, Path(out)
        self.held_out = read_held_out(recipe, groundwork, self.out)
        if self.held_out is None:
            if recipe.patience is not None:
                raise ConfigError(f"patience: {recipe.patience} goes by frames of the split 'val', and {recipe.data} "
                                  "has none; make some, or leave out patience.")  # fmt: skip
            print(f"{recipe.data} has no frames of the split 'val': nothing is measured while training.")
        self.table: dict = {}
        self.picture: np.ndarray | None = None
        self._writer: SummaryWriter | None = None
        self.mean_loss: float | None = None
        self.validated: int | None = None  # the last step that was

    @property
    def writer(self) -> SummaryWriter:
        """The curves; there once it has begun."""
        assert self._writer is not None
        return self._writer

    def begin(self, trainer: Trainer) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.out.mkdir(parents=True, exist_ok=True)
        write_whole(self.out / "recipe.json", json.dumps(self.recipe.as_dict(), indent=1).encode())
        threading.excepthook = told_once
        self._writer = SummaryWriter(str(self.out / "curves"), purge_step=trainer.step or None)

    def log(self, trainer: Trainer, terms: dict[str, float], bar: tqdm) -> None:
        loss = terms["loss"]
        self.mean_loss = loss if self.mean_loss is None else 0.98 * self.mean_loss + 0.02 * loss
        if trainer.step <= 10 or trainer.step % 10 == 0:
            self.curves("train", terms, trainer.step)
            self.writer.add_scalar("train/learning_rate", trainer.learning_rate(), trainer.step)
        figures = {"loss": f"{self.mean_loss:.4f}"}
        if "all" in self.table:
            figures["held-out"] = f"{self.table['all']['to_truth_mean']:.2f} mm"
        bar.set_postfix(figures, refresh=False)

    def curves(self, split: str, terms: dict[str, float], step: int) -> None:
        """Under the release's six names where it has the term: m2s, s2m, normal, rgl, latent, total."""
        for name, value in terms.items():
            self.writer.add_scalar(f"{split}/{CURVES.get(name, name)}", value, step)

    def validate(self, trainer: Trainer, bar: tqdm | None = None) -> Garment:
        """Measure the averaged network on the held-out split, and write the garment as it is now; with early stopping
        only if it is better than all before."""
        self.validated = trainer.step
        network = trainer.finished_network()
        cloth = trainer.data.cloth_flags(network)
        garment = self.garment(network, cloth, trainer)
        better = True
        if self.held_out is not None:
            self.table = self.held_out.table(garment, network)
            better = trainer.judge(self.table["all"]["to_truth_mean"])
            self.keep_figures(trainer, network, bar)
        if better or self.recipe.patience is None or not self.path.is_file():
            save_garment(self.path, self.garment(network, cloth, trainer))  # with the figures just measured
        self.writer.flush()
        return garment

    def keep_figures(self, trainer: Trainer, network: ScaleNetwork, bar: tqdm | None) -> None:
        assert self.held_out is not None
        terms = self.held_out.losses(network)
        terms["loss"] = sum(getattr(trainer.weights(), name) * value for name, value in terms.items())
        self.curves("val", terms, trainer.step)
        for region, row in self.table.items():
            for name, value in row.items():
                self.writer.add_scalar(f"held-out {region}/{name}", value, trainer.step)
        row = self.table["all"]
        p90 = f", p90 {row['to_truth_p90']:.2f}" if "to_truth_p90" in row else ""
        regions = ", ".join(f"{name} {figures['to_truth_mean']:.2f}" for name, figures in self.table.items())
        line = (f"{time.strftime('%H:%M:%S')} step {trainer.step}, {trainer.seconds / 60:.1f} min, loss "
                f"{self.mean_loss or 0:.4f}; held-out mm: {regions}; from truth "
                f"{row['from_truth_mean']:.2f}{p90}, normals {row['normal_angle']:.1f}°")  # fmt: skip
        (bar.write if bar is not None else print)(line)
        record = {"step": trainer.step, "seconds": trainer.seconds, "table": self.table}
        append_line(self.out / "held-out.jsonl", json.dumps(record))
        if self.recipe.samples:
            folder = self.out / "samples" / f"step-{trainer.step:08d}"
            self.picture = self.held_out.write_samples(network, self.recipe.name, folder)
            self.writer.add_image("val/samples", self.picture, trainer.step, dataformats="HWC")

    def save(self, trainer: Trainer) -> None:
        save_checkpoint(self.out, trainer.step, trainer.state())

    def exhausted(self, trainer: Trainer) -> bool:
        """Whether as many validations as the recipe's patience have passed without progress."""
        return self.recipe.patience is not None and trainer.stale >= self.recipe.patience

    def finish(self, trainer: Trainer) -> Path:
        if self.exhausted(trainer):
            print(f"Stopped early at step {trainer.step}: {trainer.stale} validations in a row without progress. The "
                  f"garment is that of step {trainer.best_step}, held-out {trainer.best:.2f} mm.")  # fmt: skip
        elif self.validated != trainer.step:
            self.validate(trainer)
        self.writer.close()
        return self.path

    @property
    def path(self) -> Path:
        return self.out / f"{self.recipe.name}.safetensors"

    def garment(self, network: ScaleNetwork, cloth: torch.Tensor | None, trainer: Trainer) -> Garment:
        recipe, body = self.recipe, self.groundwork.body
        summary = {
            "data": Path(recipe.data).name,
            "frames": len(trainer.data),
            "steps": trainer.step,
            "minutes": round(trainer.seconds / 60, 1),
            "supervision": recipe.supervision_kind,
            "held_out": {region: {k: round(v, 3) for k, v in row.items()} for region, row in self.table.items()},
        }
        pins = None
        if recipe.fabrics:
            pins = torch.from_numpy(read_garment(Path(recipe.data) / "garment.npz").pins)
            summary["simulation"] = read_simulation(Path(recipe.data))
        on_host = self.groundwork.to("cpu")
        weights = sum(value.numel() for value in network.parameters())
        summary["card"] = model_card(recipe, summary, int(on_host.layout.mask.sum()), weights)
        return Garment(
            name=recipe.name, network=copy.deepcopy(network).to("cpu"), layout=on_host.layout,
            mode=self.groundwork.mode, body_name=body.name, body_vertices=len(body.template),
            body_digest=on_host.body.digest, carrier=on_host.carrier if on_host.carrier.kind == "garment" else None,
            cloth=cloth, title=recipe.title, description=recipe.description, licence=recipe.licence,
            author=recipe.author, training=summary, preview=self.preview(), window=recipe.window,
            fabrics=recipe.fabrics, settling=(Settling(),) * len(recipe.fabrics), pins=pins,
            coarse=on_host.coarse, coarse_settings=coarse_settings(recipe.window),
        )  # fmt: skip

    def preview(self) -> bytes:
        """The first sample, small."""
        if self.picture is None:
            return b""
        half = self.picture.shape[0] // 2
        return png(self.picture[:half:2, :half:2])


def told_once(failure: threading.ExceptHookArgs) -> None:
    """For errors of threads: TensorBoard's writes curves, and raises what fails there (a full disk) with the next curve
    too."""
    if not type(failure.thread).__module__.startswith("tensorboard."):
        threading.__excepthook__(failure)
