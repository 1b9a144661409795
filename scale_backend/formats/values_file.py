"""The values of a file of whatever kind that programs of the field write: .npz, .npy, .pkl or .pt, known by content.

numpy only: Blender imports this."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from scale_backend.formats.arrays_file import MAGIC, ArraysFile, read_array
from scale_backend.formats.foreign_file import ForeignFileError, quoted
from scale_backend.formats.pickled_values import plain
from scale_backend.formats.restricted_pickle import read_pickle
from scale_backend.formats.torch_file import read_torch

SUFFIXES = (".npz", ".npy", ".pkl", ".pickle", ".pt", ".pth")
OLD_TORCH = 0x1950A86A20F9469CFC6C  # with which those files begin
ZIP = b"PK\x03\x04"


@contextmanager
def opened_values(path: str | Path, largest: int) -> Iterator[object]:
    """What a file holds, as dictionaries, lists, texts, numbers and arrays: those of an .npz are read when they are
    asked for, as long as it is open. largest: bytes of the file, and of what it unpacks to.

    Raises ForeignFileError, OSError.
    """
    path = Path(path)
    with open(path, "rb") as file:
        start = file.read(8)
    if not start:
        raise ForeignFileError(f"{path.name} is empty; copy it again or choose another file.")
    if start[:4] == ZIP and not _is_torch(path):
        with ArraysFile(path, largest, objects=True) as arrays:
            yield arrays
    elif start[:4] == ZIP:
        yield plain(read_torch(path, largest))
    elif start[: len(MAGIC)] == MAGIC:
        yield read_array(path, largest, objects=True)
    elif path.suffix.lower() == ".npz":
        raise ForeignFileError(f"{path.name} could not be read: it is no .npz file, or a damaged one; copy it again.")
    else:
        value = read_pickle(path, largest)
        if value == OLD_TORCH:
            raise ForeignFileError(f"{path.name} is a file of torch before 1.6; save it again with a newer torch.")
        yield plain(value)


def _is_torch(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def told_keys(values: object, most: int = 8) -> str:
    """What a file holds, for a sentence: the names of its first values."""
    if isinstance(values, np.ndarray):
        return f"an array of {' x '.join(map(str, values.shape)) or 'one value'}"
    if not isinstance(values, Mapping):
        return f"one value of the kind {type(values).__name__}"
    names = [quoted(name, 30) for name in list(values)[:most]]
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return (", ".join(names) or "nothing") + more
