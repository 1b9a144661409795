"""`scale-train train`: from a recipe and frames to a garment file."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from scale_backend.formats.errors import UserError
from scale_backend.formats.whole_files import FULL
from training.config import ConfigError, Recipe, read_recipe

if TYPE_CHECKING:
    import torch

    from training.learning.dataset import Groundwork
    from training.learning.distributed import Observer
    from training.learning.progress import Run
    from training.learning.supervision import Supervision
    from training.learning.trainer import Trainer


@dataclass(frozen=True)
class TrainSettings:
    """Train a garment. Its file is written at each validation and at the end. Ctrl-C saves and stops; continue with
    --resume."""

    recipe: Annotated[Path, tyro.conf.arg(metavar="RECIPE"), tyro.conf.Positional]
    """The recipe: a YAML file, or the name of one that ships (scale-train recipe)."""
    out: Path | None = None
    """Folder for checkpoints, curves and the garment; runs/NAME if not given."""
    data: str = ""
    """Take frames from this folder in place of the recipe's."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    resume: bool = False
    """Resume from the newest checkpoint in the output folder. The data folder is read again: frames that were
    added since are used."""
    steps: int | None = None
    """In place of the recipe's steps."""
    minutes: float | None = None
    """Train at most this many minutes in all (earlier parts of a resumed training included); the learning rate's
    schedule is fitted to it."""
    threads: int = 0
    """CPU threads; 0: torch's choice."""


def run(settings: TrainSettings) -> Path:
    """Train; the path of the garment file. Raises UserError with one sentence for whatever the user can mend."""
    import torch

    from training.learning.checkpoints import checkpoints, newest_state
    from training.learning.dataset import read_groundwork
    from training.learning.distributed import Observer, team
    from training.learning.progress import Run
    from training.learning.supervision import read_supervision
    from training.learning.trainer import Trainer
    from training.recipes import find_recipe

    recipe = read_recipe(find_recipe(settings.recipe), **({"data": settings.data} if settings.data else {}))
    if settings.minutes is not None:
        recipe = replace(recipe, minutes=settings.minutes)
    if settings.steps is not None:
        recipe = replace(recipe, steps=settings.steps, epochs=None)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    out = settings.out or Path("runs") / recipe.name
    if recipe.task == "test":
        raise ConfigError(f"{settings.recipe.name} has mode: test; run scale-train test --config {settings.recipe}, or "
                          "set mode: train.")  # fmt: skip
    resume = settings.resume or recipe.task == "resume"
    if checkpoints(out) and not resume:
        raise ConfigError(f"{out} holds a training already; continue it with --resume, or choose another --out.")
    check_data(recipe)
    state = newest_state(out, device) if resume else None

    with team(device) as (processes, device):
        with processes.in_turn():
            groundwork = read_groundwork(recipe).to(device)
            data = read_supervision(groundwork, recipe, out)
            groundwork = with_correction(groundwork, data, recipe, out)
        recipe = with_colors(recipe, data)
        trainer = Trainer(recipe, data, device, processes)
        if state is not None:
            trainer.restore(state)
        books = Run(recipe, groundwork, out) if processes.leads else Observer(out / f"{recipe.name}.safetensors")
        try:
            return train(trainer, books)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise UserError(f"{error.filename or out} could not be written ({error.strerror}); free some space and "
                               "continue with --resume.") from error  # fmt: skip


def with_correction(groundwork: Groundwork, data: Supervision, recipe: Recipe, out: Path) -> Groundwork:
    """Where there is coarse cloth it learns first what it lacks; `data` then have it corrected."""
    from training.learning.coarse_correction import kept_correction
    from training.learning.moving import MovingFrames
    from training.learning.supervision import CorrespondingVertices

    if groundwork.coarse is None or not recipe.coarse_steps or not isinstance(data, CorrespondingVertices):
        return groundwork
    frames = data.frames
    assert isinstance(frames, MovingFrames)
    learned = kept_correction(out / "coarse-correction.safetensors", frames, recipe.coarse_steps, recipe.seed)
    groundwork = replace(groundwork, coarse=replace(groundwork.coarse, correction=learned))
    data.frames = frames.corrected(groundwork)
    return groundwork


def check_data(recipe: Recipe) -> None:
    """Raises ConfigError for a folder that cannot hold what the recipe asks for."""
    folder = Path(recipe.data)
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {folder} with frames; make it with scale-train simulate or pack, or "
                          "name another with --data.")  # fmt: skip
    if (folder / "garment.npz").is_file():
        return
    if not any(folder.glob("*.npz")) and not any(folder.glob("*/*.npz")):
        raise ConfigError(f"{folder} holds no frames; make them with scale-train simulate or pack, or name another "
                          "folder with --data.")  # fmt: skip
    if recipe.carrier == "garment":
        raise ConfigError(f"{folder} holds packed frames, which do not hold a garment's own surface; set carrier: "
                          "body in the recipe, or name a folder of scale-train simulate.")  # fmt: skip


def with_colors(recipe: Recipe, data: Supervision) -> Recipe:
    """Scans with colours teach them. Raises ConfigError where the recipe wants colours of scans that have none."""
    if getattr(data, "colored", False):
        return replace(recipe, network=replace(recipe.network, colors=True))
    if recipe.network.colors:
        raise ConfigError(f"The frames in {recipe.data} have no colours (scan_color); leave out network.colors, or "
                          "pack coloured scans.")  # fmt: skip
    return recipe


def train(trainer: Trainer, run: Run | Observer) -> Path:
    """The loop. `run` keeps the books (training/learning/progress.py)."""
    from tqdm import tqdm

    recipe, stop, team = trainer.recipe, StopSignal(), trainer.team
    run.begin(trainer)
    shown: dict[str, Any] = {"desc": recipe.name, "smoothing": 0.02, "disable": not team.leads}
    with stop, tqdm(total=trainer.steps, initial=trainer.step, **shown) as bar:
        last_save = time.monotonic()
        validate_every = trainer.every(recipe.validate_every, recipe.validate_epochs)
        checkpoint_every = trainer.every(recipe.checkpoint_every, recipe.checkpoint_epochs)
        while trainer.progress < 1 and team.all_say(not (stop.asked or run.exhausted(trainer)), trainer.device):
            terms = trainer.train_step()
            bar.update(1)
            run.log(trainer, terms, bar)
            if trainer.step % validate_every == 0 and trainer.progress < 1:
                run.validate(trainer, bar)
            if trainer.step % checkpoint_every == 0 or time.monotonic() - last_save > 300:
                run.save(trainer)
                last_save = time.monotonic()
    run.save(trainer)
    return run.finish(trainer)


class StopSignal:
    """Ctrl-C and a polite kill end the loop after the current step; a second one interrupts at once."""

    def __init__(self) -> None:
        self.asked = False
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        import threading

        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _ask(self, *_: object) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous.clear()


def choose_device(name: str) -> torch.device:
    """auto: cuda, then mps, then cpu. Raises ConfigError for one that is not there."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available.get(name.split(":")[0], False):
        there = ", ".join(device for device, is_there in available.items() if is_there)
        raise ConfigError(f"The device '{name}' is not available here; there are: {there}.")
    return torch.device(name)
