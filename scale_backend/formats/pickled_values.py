"""What a pickle's arrays, tensors and sparse matrices are while it is read, and the numpy arrays they become.

Nothing of numpy's, scipy's, torch's or chumpy's own takes part: each stand-in only keeps what it is given. numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from scale_backend.formats.foreign_file import quoted

LARGEST_SPARSE = 64 << 20  # bytes, of a sparse matrix written out; SMPL-X's joint regressor has 5 MB
MOST_NUMBERS = 4_000_000  # in lists, whose sharing can hide any number of them
DEEPEST = 8  # chumpy objects inside each other; four times as many lists
NUMBERS = ("b1", *(kind + size for kind in "iu" for size in "1248"), "f2", "f4", "f8")


class Dtype:
    """A number's format: numpy's short name and byte order."""

    def __init__(self, name: object = "", *_: object):
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        """Raises ValueError for what are no numbers and no texts."""
        name = self.name.decode("latin-1") if isinstance(self.name, bytes) else self.name
        if not isinstance(name, str) or not (name in NUMBERS or (name[:1] in "SU" and name[1:].isdecimal())):
            raise ValueError(f"holds values of the kind '{quoted(name)}' where numbers belong")
        return np.dtype(name).newbyteorder("<" if self.order == "<" else ">" if self.order == ">" else "=")


class Array:
    """A numpy array as it was pickled."""

    def __init__(self, *_: object):
        self.shape, self.dtype, self.fortran, self.data = (), Dtype("f8"), False, b""

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    @property
    def of_objects(self) -> bool:
        return isinstance(self.dtype, Dtype) and self.dtype.name in ("O8", "O4", "O") and isinstance(self.data, list)

    def numpy(self) -> np.ndarray:
        """Raises ValueError."""
        if not isinstance(self.dtype, Dtype):
            raise ValueError("holds an array of unknown numbers")
        data = self.data.encode("latin-1") if isinstance(self.data, str) else self.data  # Python 2's str
        dtype = self.dtype.numpy()
        count = size_of(self.shape)
        if not isinstance(data, bytes | bytearray) or count * dtype.itemsize != len(data):
            raise ValueError("holds an array whose data are not of its size")
        if not dtype.itemsize:
            return np.zeros(self.shape, dtype)
        return np.frombuffer(data, dtype).reshape(self.shape, order="F" if self.fortran else "C")


class Kept:
    """The attributes of an object of a known library: a sparse matrix, or something of chumpy's."""

    name = ""
    state: Mapping[str, object] = MappingProxyType({})

    def __init__(self, *_: object):
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}


class JoblibArray:
    """Stands where joblib has written an array's numbers into the middle of the pickle."""

    def __init__(self, *_: object):
        self.state: dict = {}

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}


class Storage:
    """The numbers that torch tensors share."""

    def __init__(self, kind: str, data: bytes):
        self.kind = kind
        if kind == "bf2":  # the upper half of a float32
            self.numbers = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            self.numbers = np.frombuffer(data, np.dtype(kind).newbyteorder("<"))

    @staticmethod
    def size(kind: str, count: object) -> int:
        """Bytes of so many numbers. Raises ValueError."""
        if type(count) is not int or count < 0:
            raise ValueError("holds a tensor without a size")
        return count * (2 if kind == "bf2" else np.dtype(kind).itemsize)


def tensor(storage: object, offset: int, size: object, strides: object, *_: object) -> np.ndarray:
    """A torch tensor, a view of a storage: nothing is copied, however many share it. Raises ValueError."""
    if (
        not isinstance(storage, Storage)
        or not isinstance(strides, tuple)
        or not isinstance(size, tuple)
        or type(offset) is not int
    ):
        raise ValueError("holds a tensor without numbers")
    numbers, count = storage.numbers, size_of(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, strides, strict=True)) if count else 0
    if count > len(numbers) or min((offset, *strides)) < 0 or (count and last >= len(numbers)):
        raise ValueError("holds a tensor that reaches beyond its numbers")
    start = numbers[offset:] if count else numbers
    return np.lib.stride_tricks.as_strided(start, size, [step * numbers.itemsize for step in strides])


def as_array(value: object, depth: int = 0) -> np.ndarray:
    """The numbers of a pickled array, tensor, sparse matrix or chumpy object. Raises ValueError."""
    if isinstance(value, np.ndarray | np.generic | int | float | list | tuple):
        if isinstance(value, list | tuple):
            items = plain(value)
            _count(items, MOST_NUMBERS)
            value = items
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ValueError("holds something else than numbers")
        return array
    if isinstance(value, Array):
        return value.numpy()
    if not isinstance(value, Kept) or depth > DEEPEST:
        raise ValueError(f"is a '{quoted(type(value).__name__)}', not an array")
    state = value.state
    if value.name in ("csc_matrix", "csr_matrix"):
        return _dense(value.name == "csc_matrix", *(state.get(key) for key in ("data", "indices", "indptr", "_shape")))
    if value.name == "Select":  # elements of another object
        chosen = as_array(state.get("a"), depth + 1).ravel()[as_array(state.get("idxs"), depth + 1)]
        return chosen.reshape(tuple(int(n) for n in as_array(state.get("preferred_shape")).ravel()))
    if "x" in state:
        return as_array(state["x"], depth + 1)
    raise ValueError(f"is a chumpy object of the kind '{quoted(value.name)}', which cannot be read without chumpy")


def plain(value: object, made: dict[int, object] | None = None, depth: int = 0) -> Any:
    """Dictionaries, lists, texts, numbers and numpy arrays in place of the stand-ins; what is no such thing is None.

    What a pickle shares stays shared, so that this takes no longer than the file is large.
    """
    made = {} if made is None else made
    if id(value) in made:
        return made[id(value)]
    result: Any = None
    if isinstance(value, str | bytes | int | float | bool | np.ndarray | np.generic) or value is None:
        return value
    if depth > 4 * DEEPEST:
        return None
    if isinstance(value, dict):
        result = {}
        made[id(value)] = result
        for key, item in value.items():
            if isinstance(key, str | bytes | int | float):
                result[key] = plain(item, made, depth + 1)
            elif isinstance(key, Array) and not key.of_objects and size_of(key.shape) == 1:  # numpy's numbers as keys
                result[key.numpy().item()] = plain(item, made, depth + 1)
    elif isinstance(value, list | tuple) or (isinstance(value, Array) and value.of_objects):
        items = value.data if isinstance(value, Array) else value
        result = []
        made[id(value)] = result
        result.extend(plain(item, made, depth + 1) for item in items)
        if isinstance(value, Array) and not value.shape and len(result) == 1:  # an array around one object
            result = result[0]
    elif isinstance(value, Array | Kept):
        try:
            result = as_array(value)
        except ValueError:
            result = None
    made[id(value)] = result
    return result


def _count(values: list, left: int, depth: int = 0) -> int:
    """What is left of a number of values after those of nested lists. Raises ValueError when none is."""
    for item in values:
        left -= item.size if isinstance(item, np.ndarray) else 1
        if left < 0 or depth > 4 * DEEPEST:
            raise ValueError("holds too many numbers in lists")
        if isinstance(item, list):
            left = _count(item, left, depth + 1)
    return left


def size_of(shape: object) -> int:
    """The number of values of an array. Raises ValueError."""
    if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("holds an array without a size")
    return math.prod(shape)


def _dense(by_columns: bool, data: object, indices: object, starts: object, shape: object) -> np.ndarray:
    """A compressed sparse matrix written out. Raises ValueError."""
    size = tuple(int(n) for n in as_array(shape).ravel())
    data, indices, starts = as_array(data).ravel(), as_array(indices).ravel(), as_array(starts).ravel()
    if len(size) != 2 or min(size) < 0 or math.prod(size) * 8 > LARGEST_SPARSE:
        raise ValueError("holds a sparse matrix that is too large")
    lines, length = (size[1], size[0]) if by_columns else size
    if (
        len(starts) != lines + 1 or starts[0] != 0 or starts[-1] != len(indices) or len(indices) != len(data)
        or (np.diff(starts) < 0).any() or (len(indices) and not 0 <= indices.min() <= indices.max() < length)
    ):  # fmt: skip
        raise ValueError("holds a damaged sparse matrix")
    dense = np.zeros((lines, length), data.dtype)
    np.add.at(dense, (np.repeat(np.arange(lines), np.diff(starts)), indices.astype(np.int64)), data)
    return dense.T if by_columns else dense
