"""What all files from elsewhere have in common: they may be anything."""

from __future__ import annotations

from pathlib import Path


class ForeignFileError(ValueError):
    """A file of another program that cannot be used. The sentence names it and says what to do."""


def check_size(path: Path, largest: int) -> None:  # bytes
    """Before it is read into memory. Raises ForeignFileError, OSError."""
    size = path.stat().st_size
    if size > largest:
        raise ForeignFileError(f"{path.name} has {size >> 20} MiB, over {largest >> 20}; choose the right file.")
