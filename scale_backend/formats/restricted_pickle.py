"""Read the values of a pickle without running anything that stands in it. numpy only: Blender reads motions with this.

Official SMPL files are pickles of numpy, scipy and chumpy objects; results of video-to-pose programs are pickles of
numpy arrays and torch tensors, often written by joblib. Each class they may name has a plain stand-in here that only
keeps what it is given; any other name is refused. Neither numpy's, torch's nor chumpy's own unpickling runs.
"""

from __future__ import annotations

import io
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from scale_backend.formats.foreign_file import ForeignFileError, check_size, quoted
from scale_backend.formats.pickled_values import Array, Dtype, JoblibArray, Kept, Storage, size_of, tensor

LARGEST_FILE = 2 << 30  # bytes; SMPL-X with all its shape components has 0.6 GB
MOST_UNPACKED = 64 << 20, 20  # bytes of a compressed pickle: so many, or so many times the file's size
PIECE = 1 << 18  # bytes
MOST_OPERATIONS = 20_000_000  # of the pickle's machine; a million take a second
TORCH_KINDS = {
    "Float": "f4", "Double": "f8", "Half": "f2", "Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1", "Byte": "u1",
    "Bool": "b1", "BFloat16": "bf2",
}  # fmt: skip


def read_pickle(path: str | Path, largest: int = LARGEST_FILE) -> object:
    """The value of a pickle, joblib's and those that zlib or gzip has packed too. Arrays are stand-ins: `as_array` and
    `plain` make them of it. Raises ForeignFileError, OSError."""
    path = Path(path)
    check_size(path, largest)
    return load_bytes(path.read_bytes(), path.name)


def load_bytes(data: bytes, name: str) -> object:
    """The value of a pickle in memory; `name` is the file's, for the error. Raises ForeignFileError."""
    try:
        return RestrictedUnpickler(io.BytesIO(_unpacked(data, name))).load()
    except ForeignFileError:
        raise
    except pickle.UnpicklingError as error:
        raise ForeignFileError(f"{name} was not opened: {error}; get the file from its publisher again.") from None
    except Exception as error:  # unpickling damaged bytes raises nearly anything
        raise ForeignFileError(f"{name} could not be read as a pickle ({quoted(error)}); copy it again.") from error


def _unpacked(data: bytes, name: str) -> bytes:
    """Raises ForeignFileError, zlib.error."""
    if data[:2] not in (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"\x1f\x8b"):
        if data[:3] == b"BZh" or data[:6] == b"\xfd7zXZ\x00" or data[:4] == b"\x04\x22\x4d\x18" or data[:1] == b"\x5d":
            raise ForeignFileError(f"{name} is packed in a way that is not read here; save it again unpacked, with "
                                   "compress=0 in joblib.dump.")  # fmt: skip
        return data
    most = max(MOST_UNPACKED[0], MOST_UNPACKED[1] * len(data))
    unpacker, unpacked = zlib.decompressobj(wbits=47), io.BytesIO()  # zlib or gzip
    for start in range(0, len(data), PIECE):
        piece = data[start : start + PIECE]
        while piece and not unpacker.eof:
            unpacked.write(unpacker.decompress(piece, PIECE))
            piece = unpacker.unconsumed_tail
            if unpacked.tell() > most:
                raise ForeignFileError(f"{name} unpacks to over {most >> 20} MiB; choose another file.")
    unpacked.write(unpacker.flush())
    return unpacked.getvalue()


def _from_buffer(data: object, dtype: object, shape: object, order: object = "C") -> Array:
    array = Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: Dtype, data: bytes | str = b"") -> Array:
    return _from_buffer(data.encode("latin-1") if isinstance(data, str) else data, dtype, ())


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError("an encoding that numpy does not use")
    return text.encode("latin-1")


def _storage_of_torch(data: bytes) -> Storage:
    """A storage as torch pickles it alone: five pickles, then its numbers. Raises ValueError."""
    stream, kinds = io.BytesIO(data), []

    def declare(_: str, kind: str, *__: object) -> Storage:
        kinds.append(kind)
        return Storage(kind, b"")

    for _ in range(5):  # magic number, version, machine, the storage, its keys
        RestrictedUnpickler(stream, declare).load()
    count, numbers = int.from_bytes(stream.read(8), "little"), stream.read()
    if len(kinds) != 1 or Storage.size(kinds[0], count) != len(numbers):
        raise ValueError("holds a tensor whose numbers are not of its size")
    return Storage(kinds[0], numbers)


def _kind_of(name: str) -> str | None:
    """numpy's name for the numbers of torch's `FloatStorage` and its like."""
    return TORCH_KINDS.get(name.removesuffix("Storage")) if name.endswith("Storage") else None


PLAIN: dict[tuple[str, str], Callable] = {
    ("multiarray", "_reconstruct"): lambda *_: Array(),
    ("multiarray", "scalar"): _scalar,
    ("numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
    ("_codecs", "encode"): _encode,
    ("copy_reg", "_reconstructor"): lambda kind, *_: kind(),
    ("copyreg", "_reconstructor"): lambda kind, *_: kind(),
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
    ("__builtin__", "bytes"): lambda: b"",  # of old protocols, where there are none
    ("builtins", "bytes"): lambda: b"",
    ("collections", "OrderedDict"): lambda *_: {},
    ("collections", "defaultdict"): lambda *_: {},
    ("builtins", "list"): lambda *_: [],
    ("builtins", "dict"): lambda *_: {},
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): JoblibArray,
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch.storage", "_load_from_bytes"): _storage_of_torch,
}
NUMPY_PARTS = {f"numpy.{core}.{part}": part for core in ("core", "_core") for part in ("multiarray", "numeric")}
REFUSED = (pickle.EMPTY_SET, pickle.FROZENSET, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER)


class RestrictedUnpickler(pickle._Unpickler):  # in Python: its memo grows with the file, not with what the file says
    """Loads one pickle of a stream; nothing is ever imported for it."""

    def __init__(self, stream: io.BytesIO, storage: Callable[..., Storage] | None = None):
        super().__init__(stream, encoding="latin-1")
        self._stream, self._storage, self._left = stream, storage, MOST_OPERATIONS

    def load(self) -> object:
        self._unframer = pickle._Unframer(self._stream.read, self._stream.readline)  # type: ignore[attr-defined]  # Python's own
        self.read, self.readinto, self.readline = self._unframer.read, self._unframer.readinto, self._unframer.readline
        self.metastack: list[list] = []
        self.stack: list[Any] = []
        self.proto = 0
        self.append = self.stack.append
        steps: dict[int, Callable] = self.dispatch
        try:
            while self._left:
                self._left -= 1
                key = self.read(1)
                if not key:
                    raise EOFError("the file ends too early")
                if key in REFUSED:
                    raise pickle.UnpicklingError("it holds more than dictionaries, lists and arrays")
                steps[key[0]](self)
        except pickle._Stop as stopped:  # type: ignore[attr-defined]  # Python's own
            return stopped.value
        raise pickle.UnpicklingError("it is longer than a file of arrays has reason to be")

    def find_class(self, module: str, name: str) -> object:
        """A stand-in for what the pickle names."""
        known = PLAIN.get((NUMPY_PARTS.get(module, module), name))
        if known is not None:  # functions anew each time: a pickle may set attributes of what it is given
            return known if isinstance(known, type) else lambda *given: known(*given)
        library = module.split(".")[0]
        if library == "chumpy" or (module.startswith("scipy.sparse") and name in ("csc_matrix", "csr_matrix")):
            return type(name, (Kept,), {"name": name})
        if module == "torch" and _kind_of(name) is not None:
            return _kind_of(name)
        raise pickle.UnpicklingError(
            f"it names '{quoted(f'{module}.{name}')}', which no file of arrays needs and which could run a program"
        )

    def persistent_load(self, pid: object) -> Storage:
        if self._storage is None or not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("it refers to data outside of it")
        if not isinstance(pid[1], str):
            raise pickle.UnpicklingError("it holds a tensor of unknown numbers")
        return self._storage(*pid)

    def load_build(self) -> None:
        super().load_build()  # type: ignore[misc]  # Python's own
        if isinstance(self.stack[-1], JoblibArray):
            self.stack[-1] = self._joblib_array(self.stack[-1].state)

    def _joblib_array(self, state: dict) -> object:
        """The array that stands in the stream, not in the pickle. Raises ValueError."""
        dtype, shape = state.get("dtype"), state.get("shape")
        if not isinstance(dtype, Dtype):
            raise ValueError("holds an array of unknown numbers")
        if dtype.name in ("O8", "O"):
            return RestrictedUnpickler(self._stream, self._storage).load()
        size = size_of(shape) * dtype.numpy().itemsize
        if state.get("numpy_array_alignment_bytes") is not None:
            self._stream.read(self._stream.read(1)[0])
        return _from_buffer(self._stream.read(size), dtype, shape, state.get("order"))

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        data = self.read(size)  # before memory is taken for it
        if len(data) != size:
            raise EOFError("the file ends too early")
        self.append(bytearray(data))

    dispatch: ClassVar[dict[int, Callable]] = pickle._Unpickler.dispatch | {
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }
