"""Checkpoints: a training's whole state, written beside and renamed, so that a kill at any moment leaves the last."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path

import torch

from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.whole_files import opened_own
from scale_backend.model.torch_file import load_torch

NAME = re.compile(r"checkpoint-(\d+)\.pt$")
KEPT = 2


class CheckpointError(UserError):
    """A checkpoint that cannot be resumed from; the sentence says what to do."""


def checkpoints(folder: str | Path) -> list[Path]:
    """Checkpoints of a run, oldest first, by step number."""
    found = [(int(match[1]), path) for path in Path(folder).glob("*.pt") if (match := NAME.match(path.name))]
    return [path for _, path in sorted(found)]


def save_checkpoint(folder: str | Path, step: int, state: dict) -> Path:
    """Write the state and drop all but the newest. Raises CheckpointError, naming the folder, if that fails."""
    folder = Path(folder)
    path = folder / f"checkpoint-{step:08d}.pt"
    beside = folder / "checkpoint.part"  # one name: what a kill leaves is overwritten by the next
    memory = io.BytesIO()  # torch's own writer ends the process on a full disk
    torch.save(state, memory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with opened_own(beside) as file:
            file.truncate()
            file.write(memory.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        if beside.is_file():
            beside.unlink()
        raise CheckpointError(f"The checkpoint could not be written to {folder} ({error.strerror}); earlier ones are "
                              "complete: free some space, then continue with --resume.") from error  # fmt: skip
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict:
    """Raises CheckpointError for a file that is none. Nothing in the file is executed."""
    try:
        state = load_torch(path, device)
    except (ForeignFileError, OSError) as error:
        raise CheckpointError(f"{Path(path).name} cannot be read as a checkpoint; delete it to resume from the one "
                              "before.") from error  # fmt: skip
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(f"{Path(path).name} is no checkpoint of scale-train.")
    return state


def newest_state(folder: str | Path, device: str | torch.device = "cpu") -> dict:
    """The newest checkpoint that can be read; a damaged one after it is told of and passed over.

    Raises CheckpointError where there is none.
    """
    damaged = None
    for path in reversed(checkpoints(folder)):
        try:
            state = load_checkpoint(path, device)
        except CheckpointError as error:
            damaged = damaged or error
            continue
        if damaged:
            print(f"{damaged} Resuming from {path.name}.", file=sys.stderr)
        return state
    raise damaged or CheckpointError(f"There is no checkpoint in {folder} to resume from; leave out --resume, or name "
                                     "the folder.")  # fmt: skip
