"""Checkpoints: a training's whole state, written beside and renamed, so that a kill at any moment leaves the last."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

NAME = re.compile(r"checkpoint-(\d+)\.pt$")
KEPT = 2


class CheckpointError(ValueError):
    """A checkpoint that cannot be resumed from; the sentence says what to do."""


def checkpoints(folder: str | Path) -> list[Path]:
    """Checkpoints of a run, oldest first, by step number."""
    found = [(int(match[1]), path) for path in Path(folder).glob("*.pt") if (match := NAME.match(path.name))]
    return [path for _, path in sorted(found)]


def save_checkpoint(folder: str | Path, step: int, state: dict) -> Path:
    """Write the state and drop all but the newest. Raises CheckpointError, naming the folder, if that fails."""
    folder = Path(folder)
    path = folder / f"checkpoint-{step:08d}.pt"
    beside = folder / f"{path.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(state, beside)
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        if beside.is_file():
            beside.unlink()
        raise CheckpointError(f"The checkpoint could not be written to {folder} ({error}); earlier ones are whole. "
                              "Free some space, then go on with --resume.") from error  # fmt: skip
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink()
    return path


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict:
    """Raises CheckpointError for a file that is none. Nothing in the file is executed."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise CheckpointError(f"{Path(path).name} cannot be read as a checkpoint; delete it to go on from the one "
                              "before.") from error  # fmt: skip
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(f"{Path(path).name} is no checkpoint of scale-train.")
    return state
