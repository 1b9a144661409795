"""Read the arrays of a pickle without running anything that stands in it.

Official SMPL files are pickles of numpy, scipy and chumpy objects. Each class they may name has a plain stand-in here
that only keeps what it is given; any other name is refused. Neither numpy's nor chumpy's own unpickling runs.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from scale_backend.formats.foreign_file import ForeignFileError, check_size

LARGEST_FILE = 2 << 30  # bytes; SMPL-X with all its shape components has 0.6 GB
LARGEST_ARRAY = 1 << 30  # bytes, of a sparse matrix written out
DEEPEST = 8  # chumpy objects inside each other


class Dtype:
    """A number's format: numpy's short name and byte order."""

    def __init__(self, name: str = "", *_: object):
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        if self.name not in ("b1", *(kind + size for kind in "iu" for size in "1248"), "f2", "f4", "f8"):
            raise ValueError(f"holds values of the kind '{self.name}' where numbers belong")
        return np.dtype(self.name).newbyteorder({"<": "<", ">": ">"}.get(self.order, "="))


class Array:
    """A numpy array as it was pickled."""

    def __init__(self, *_: object):
        self.shape, self.dtype, self.fortran, self.data = (), Dtype("f8"), False, b""

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def numpy(self) -> np.ndarray:
        data = self.data.encode("latin-1") if isinstance(self.data, str) else self.data  # Python 2's str
        dtype = self.dtype.numpy()
        if not isinstance(data, bytes | bytearray) or math.prod(self.shape) * dtype.itemsize != len(data):
            raise ValueError("holds an array whose data are not of its size")
        return np.frombuffer(data, dtype).reshape(self.shape, order="F" if self.fortran else "C")


class Kept:
    """The attributes of an object of a known library: a sparse matrix, or something of chumpy's."""

    name = ""
    state: Mapping[str, object] = MappingProxyType({})

    def __init__(self, *_: object):
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}


def read_pickle(path: str | Path) -> dict[str, object]:
    """A pickled dictionary. `as_array` makes arrays of its values. Raises ForeignFileError, OSError."""
    path = Path(path)
    check_size(path, LARGEST_FILE)
    try:
        content = _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin-1").load()
    except pickle.UnpicklingError as error:
        raise ForeignFileError(f"{path.name} was not opened: {error}; get the file from its publisher again.") from None
    except Exception as error:  # unpickling damaged bytes raises nearly anything
        raise ForeignFileError(f"{path.name} could not be read as a pickle ({error}); copy it again.") from error
    if not isinstance(content, dict):
        raise ForeignFileError(f"{path.name} holds no dictionary of arrays; choose a body model's file.")
    return {str(key): value for key, value in content.items()}


def as_array(value: object, depth: int = 0) -> np.ndarray:
    """The numbers of a pickled array, sparse matrix or chumpy object. Raises ValueError."""
    if isinstance(value, np.ndarray | np.generic | int | float | list | tuple):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ValueError("holds something else than numbers")
        return array
    if isinstance(value, Array):
        return value.numpy()
    if not isinstance(value, Kept) or depth > DEEPEST:
        raise ValueError(f"is a {type(value).__name__}, not an array")
    state = value.state
    if value.name in ("csc_matrix", "csr_matrix"):
        return _dense(value.name, *(state.get(key) for key in ("data", "indices", "indptr", "_shape")))
    if value.name == "Select":  # elements of another object
        chosen = as_array(state.get("a"), depth + 1).ravel()[as_array(state.get("idxs"), depth + 1)]
        return chosen.reshape(tuple(int(n) for n in as_array(state["preferred_shape"]).ravel()))
    if "x" in state:
        return as_array(state["x"], depth + 1)
    raise ValueError(f"is a chumpy object of the kind '{value.name}', which cannot be read without chumpy")


def _dense(kind: str, data: object, indices: object, starts: object, shape: object) -> np.ndarray:
    from scipy import sparse

    shape = tuple(int(n) for n in as_array(shape).ravel())
    if math.prod(shape) * 8 > LARGEST_ARRAY:
        raise ValueError("holds a sparse matrix that is too large")
    matrix = getattr(sparse, kind)((as_array(data), as_array(indices), as_array(starts)), shape=shape)
    matrix.check_format(full_check=True)
    return matrix.toarray()


def _from_buffer(data: bytes, dtype: Dtype, shape: tuple, order: str) -> Array:
    array = Array()
    array.__setstate__((1, shape, dtype, order == "F", bytes(data)))
    return array


def _scalar(dtype: Dtype, data: bytes | str) -> Array:
    return _from_buffer(data.encode("latin-1") if isinstance(data, str) else data, dtype, (), "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"the encoding {encoding}")
    return text.encode("latin-1")


def _reconstruct(*_: object) -> Array:
    return Array()


def _new(kind: type, *_: object) -> object:
    return kind()


PLAIN = {
    ("multiarray", "_reconstruct"): _reconstruct,
    ("multiarray", "scalar"): _scalar,
    ("numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
    ("_codecs", "encode"): _encode,
    ("copy_reg", "_reconstructor"): _new,
    ("copyreg", "_reconstructor"): _new,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
}
NUMPY_PARTS = {f"numpy.{core}.{part}": part for core in ("core", "_core") for part in ("multiarray", "numeric")}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        """A stand-in for what the pickle names; nothing is ever imported for it."""
        known = PLAIN.get((NUMPY_PARTS.get(module, module), name))
        if known is not None:  # functions anew each time: a pickle may set attributes of what it is given
            return known if isinstance(known, type) else lambda *given: known(*given)
        library = module.split(".")[0]
        if library == "chumpy" or (module.startswith("scipy.sparse") and name in ("csc_matrix", "csr_matrix")):
            return type(name, (Kept,), {"name": name})
        raise pickle.UnpicklingError(
            f"it names '{module}.{name}', which no body model needs and which could run a program"
        )
