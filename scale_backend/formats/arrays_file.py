"""The one way in which files of arrays from elsewhere are opened: .npz and .npy, with what they declare held against a
limit before memory is taken. numpy only: Blender imports this."""

from __future__ import annotations

import ast
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from scale_backend.formats.foreign_file import ForeignFileError, quoted
from scale_backend.formats.pickled_values import plain
from scale_backend.formats.restricted_pickle import load_bytes

LARGEST = 2 << 30  # bytes of all arrays of a file
COMPRESSED = 64 << 20, 20  # bytes that a compressed file may hold: so many, or so many times its own size
LARGEST_HEADER = 10_000  # letters
MOST_ARRAYS = 20_000
CHUNK = 1 << 20  # bytes
MAGIC = b"\x93NUMPY"


class ArraysFile(Mapping[str, np.ndarray]):
    """The arrays of an .npz, each read when it is asked for.

    Opening and reading raise ForeignFileError that names the file, and OSError. Arrays of Python objects are refused,
    unless `objects` is set: then they are read by the restricted pickle reader, as lists and dictionaries.
    """

    def __init__(self, path: str | Path, largest: int = LARGEST, objects: bool = False):
        self.path, self._objects = Path(path), objects
        self._stream = open(self.path, "rb")  # noqa: SIM115 -- closed by close()
        try:
            self._archive = zipfile.ZipFile(self._stream)
            entries = self._archive.infolist()
            if len(entries) > MOST_ARRAYS:
                raise ValueError(f"it holds {len(entries)} arrays")
            self._entries = {entry.filename.removesuffix(".npy"): entry for entry in entries}
            self._check_sizes(entries, largest)
        except Exception as error:
            self._stream.close()
            raise self._refused(error) from error

    def _check_sizes(self, entries: list[zipfile.ZipInfo], largest: int) -> None:
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
            raise ValueError("it is packed in another way than numpy packs")
        declared, packed = sum(entry.file_size for entry in entries), self.path.stat().st_size
        most = min(largest, max(COMPRESSED[0], COMPRESSED[1] * packed))
        if declared > most:
            raise ValueError(f"it unpacks to {declared / 2**20:,.0f} MiB, over the {most >> 20} that are read")

    def __enter__(self) -> ArraysFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._archive.close()
        self._stream.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self._entries[name]
        try:
            with self._archive.open(entry) as member:
                return read_npy(member, entry.file_size, self._objects, f"'{quoted(name)}' in {self.path.name}")
        except ForeignFileError:
            raise
        except Exception as error:
            raise self._refused(error, name) from error

    def _refused(self, error: Exception, name: str = "") -> ForeignFileError:
        where = f"'{quoted(name)}' in {self.path.name}" if name else self.path.name
        if isinstance(error, zipfile.BadZipFile) and not name:
            return ForeignFileError(f"{where} could not be read: it is no .npz file, or a damaged one; copy it again.")
        return ForeignFileError(f"{where} could not be read ({quoted(error)}); copy it again or choose another file.")


def read_arrays(path: str | Path, largest: int = LARGEST) -> dict[str, np.ndarray]:
    """All arrays of an .npz. Raises ForeignFileError, OSError."""
    with ArraysFile(path, largest) as file:
        return dict(file)


def read_array(path: str | Path, largest: int = LARGEST, objects: bool = False) -> np.ndarray:
    """The array of an .npy file. Raises ForeignFileError, OSError."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            if size > largest:
                raise ValueError(f"it has {size >> 20} MiB, over the {largest >> 20} that are read")
            return read_npy(file, size, objects, path.name)
    except (ForeignFileError, OSError):
        raise
    except Exception as error:
        raise ForeignFileError(f"{path.name} could not be read as an .npy file ({quoted(error)}); copy it again or "
                               "choose another.") from error  # fmt: skip


def read_npy(file: IO[bytes], size: int, objects: bool, name: str) -> np.ndarray:
    """An array in numpy's format whose header and data have `size` bytes together.

    Raises ValueError, and ForeignFileError from pickled objects; `name` is for its sentence.
    """
    header, length = _header(file)
    shape, fortran, dtype = header["shape"], header["fortran_order"], header["descr"]
    if dtype.hasobject:
        if not objects:
            raise ValueError("it holds Python objects instead of numbers")
        return plain(load_bytes(file.read(size - length), name))
    declared = math.prod(shape) * dtype.itemsize
    if declared != size - length:
        raise ValueError(f"its header declares {declared} bytes, {size - length} are there")
    if not declared:
        return np.zeros(shape, dtype)
    values = np.empty(declared, np.uint8)
    for start in range(0, declared, CHUNK):
        chunk = file.read(min(CHUNK, declared - start))
        if start + len(chunk) != min(start + CHUNK, declared):
            raise ValueError("it ends too early")
        values[start : start + len(chunk)] = np.frombuffer(chunk, np.uint8)
    return values.view(dtype).reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[dict, int]:
    """The header of an .npy, and its length in bytes. Raises ValueError."""
    start = file.read(8)
    if start[:6] != MAGIC or len(start) != 8:
        raise ValueError("it is not in numpy's format")
    wide = start[6] > 1  # versions 2 and 3 have a longer length
    count = file.read(4 if wide else 2)
    length = int.from_bytes(count, "little")
    if length > LARGEST_HEADER:
        raise ValueError(f"its header has {length} letters")
    text = file.read(length).decode("utf-8" if start[6] > 2 else "latin-1")
    header = ast.literal_eval(text.strip())
    if not isinstance(header, dict) or header.keys() != {"shape", "fortran_order", "descr"}:
        raise ValueError("its header is damaged")
    shape = header["shape"]
    if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("its header has no shape")
    if not isinstance(header["descr"], str) or type(header["fortran_order"]) is not bool:
        raise ValueError("its values are no plain numbers")
    header["descr"] = np.dtype(header["descr"])
    return header, 8 + len(count) + length
