"""Files of arrays that claim, hide or run more than they hold: refused in a moment, without taking memory."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import torch

from scale_backend.formats.arrays_file import ArraysFile, read_array, read_arrays
from scale_backend.formats.foreign_file import ForeignFileError, quoted
from scale_backend.formats.motions import load_motion
from scale_backend.formats.pickled_values import as_array, plain
from scale_backend.formats.restricted_pickle import read_pickle
from scale_backend.formats.torch_file import read_torch
from scale_backend.formats.values_file import opened_values
from scale_backend.model.torch_file import load_torch
from tests.backend.test_motion_files import FILES, dance

MOST = 200 << 20  # bytes
SECONDS = 2.0


def npy(array: np.ndarray, **changed: object) -> bytes:
    """An .npy whose header says something else."""
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | changed
    text = repr(header).encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + array.tobytes()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def shared_lists(depth: int) -> bytes:
    """[[[..] twice] twice] twice: 2 to the power of the depth numbers in a few bytes."""
    return b"\x80\x02}U\x05poses](K\x01K\x02e" + b"".join(
        b"q" + bytes([n]) + b"](h" + bytes([n]) + b"h" + bytes([n]) + b"e" for n in range(depth)
    ) + b"s."  # fmt: skip


def array_many_times(count: int) -> bytes:
    """A list of one array of a megabyte, over and over."""
    array = pickle.dumps(np.zeros(1 << 17), 2)[2:-1]
    return b"\x80\x02}U\x05poses](" + array + b"q\xff" + b"h\xff" * count + b"es."


def torch_with(change) -> bytes:
    stream = io.BytesIO()
    torch.save({"poses": torch.zeros(2, 72)}, stream)
    with zipfile.ZipFile(stream) as archive:
        return zipped({name: change(name, archive.read(name)) for name in archive.namelist()}, zipfile.ZIP_STORED)


def stride_zero(name: str, data: bytes) -> bytes:
    """A tensor of a billion numbers that are all the same one."""
    return data.replace(b"K\x02KH\x86", b"J\x00\x00\x00\x40K\x48\x86", 1) if name.endswith("data.pkl") else data


BOMBS = {
    "an .npy that claims 4 TiB.npy": npy(np.zeros(3), shape=(1 << 39,)),
    "an .npy with a long header.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31) + b"{" * 99,
    "an .npy without a shape.npy": npy(np.zeros(3), shape=(-3,)),
    "an .npy of records.npy": npy(np.zeros(3), descr=[("a", "<f8")]),
    "an archive of zeros.npz": zipped({"poses.npy": npy(np.zeros(40 << 20))}),
    "an archive in the archive's header.npz": zipped({"poses.npy": npy(np.zeros(9), shape=(1 << 60,))}),
    "an archive in bz2.npz": zipped({"poses.npy": npy(np.zeros((2, 72)))}, zipfile.ZIP_BZIP2),
    "an archive of no arrays.npz": zipped({"poses.npy": b"poses"}),
    "half an archive.npz": zipped({"poses.npy": npy(np.zeros(999))})[:-40],
    "a memo of gigabytes.pkl": b"\x80\x02}r\xff\xff\xff\x7f.",
    "bytes that are not there.pkl": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "text that is not there.pkl": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b".",
    "a frame that is not there.pkl": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b".",
    "shared lists.pkl": shared_lists(60),
    "one array over and over.pkl": array_many_times(30_000),
    "a list in itself.pkl": b"\x80\x02}U\x05poses]q\x01h\x01as.",
    "lists of nothing.pkl": b"\x80\x02" + b"](" * 50_000 + b"e" * 50_000 + b".",
    "sets.pkl": b"\x80\x04" + b"\x8f" * 500_000 + b".",
    "an array of another size.pkl": pickle.dumps({"poses": np.zeros(72)}, 2).replace(b"KH\x85", b"MH\x10\x85", 1),
    "a pickle packed a thousandfold.pkl": zlib.compress(pickle.dumps({"poses": b"\x00" * (400 << 20)}), 9),
    "a number of a million digits.pkl": b"I" + b"9" * 1_000_000 + b"\n.",
    "nothing.pkl": b"",
    "half a pickle.pkl": pickle.dumps({"poses": np.zeros((9, 72))})[:-900],
    "a tensor of stride 0.pt": torch_with(stride_zero),
    "a tensor without its numbers.pt": torch_with(lambda name, data: data[:9] if "/data/" in name else data),
}


@pytest.fixture(scope="module", autouse=True)
def _warm():
    """What is loaded once is nothing that a file takes."""
    torch.zeros(1)


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_at_once(tmp_path, bomb):
    path = tmp_path / bomb
    path.write_bytes(BOMBS[bomb])
    tracemalloc.start()
    started = time.process_time()  # others may be busy
    with pytest.raises(ForeignFileError) as refused:
        load_motion(path)
    seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(refused.value).count("\n") == 0 and bomb[:8] in str(refused.value)
    assert len(str(refused.value)) < 400
    assert peak < MOST + len(BOMBS[bomb]) and seconds < 3 * SECONDS  # tracing takes most of it


def test_tensors_that_share_their_numbers_share_them(tmp_path):
    base = torch.arange(72.0).repeat(100, 1)
    torch.save({"all": [base[n:] for n in range(100)], "half": base[0].bfloat16(), "turned": base.T}, tmp_path / "t.pt")
    values = plain(read_torch(tmp_path / "t.pt"))
    assert all(np.shares_memory(values["all"][0], view) for view in values["all"])
    assert np.array_equal(values["half"], np.arange(72.0)) and np.array_equal(values["turned"], base.T.numpy())


class Call:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("kind", ["pkl", "npz", "npy", "pt"])
def test_nothing_is_run(tmp_path, kind):
    marker, path = tmp_path / "ran", tmp_path / f"evil.{kind}"
    evil = {"poses": Call(os.system, f"touch {marker}")}
    if kind == "npz":
        np.savez(path, poses=np.array(evil["poses"], dtype=object))
    elif kind == "npy":
        np.save(path, evil, allow_pickle=True)
    elif kind == "pt":
        torch.save(evil, path)
    else:
        path.write_bytes(pickle.dumps(evil))
    with pytest.raises(ForeignFileError, match=r"evil.*(posix|nt)\.system"):
        load_motion(path)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_values_arrive_as_they_were(tmp_path, protocol):
    content = {
        "a": np.arange(6.0).reshape(2, 3).T, "b": [np.float32(2), "text"], "c": np.array(["x", "yz"]), 3: (1, None),
        "d": np.array([{"e": np.arange(3, dtype=">i2")}, None], dtype=object), "f": b"bytes", "g": np.zeros((0, 3)),
    }  # fmt: skip
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(content, protocol))
    with opened_values(tmp_path / "v.pkl", 1 << 20) as values:
        pass
    assert np.array_equal(values["a"], content["a"]) and values["b"][1] == "text" and values[3] == [1, None]
    assert values["b"][0] == 2 and values["c"].tolist() == ["x", "yz"] and values["g"].shape == (0, 3)
    assert values["d"][0]["e"].tolist() == [0, 1, 2] and values["f"] in (b"bytes", "bytes")


def test_arrays_of_an_archive(tmp_path):
    arrays = {"a": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "b": np.array("word"), "c": np.zeros((0, 2), "i4")}
    np.savez(tmp_path / "a.npz", **arrays)
    read = read_arrays(tmp_path / "a.npz")
    assert all(np.array_equal(read[name], arrays[name]) and read[name].dtype == arrays[name].dtype for name in arrays)
    read["a"][0, 0] = 7  # they can be written to
    np.savez(tmp_path / "o.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ForeignFileError, match=r"'a' in o\.npz could not be read \(it holds Python objects"):
        read_arrays(tmp_path / "o.npz")
    with ArraysFile(tmp_path / "a.npz") as file, pytest.raises(KeyError):
        file["z"]
    np.save(tmp_path / "one.npy", arrays["a"])
    assert np.array_equal(read_array(tmp_path / "one.npy"), arrays["a"])
    with pytest.raises(ForeignFileError, match="over the 0 that are read"):
        read_array(tmp_path / "one.npy", largest=10)
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")


def test_sparse_matrices_are_written_out_within_bounds(tmp_path):
    from scipy import sparse

    regressor = sparse.random(24, 500, 0.1, random_state=0)
    for kind in (sparse.csc_matrix, sparse.csr_matrix):
        (tmp_path / "s.pkl").write_bytes(pickle.dumps({"m": kind(regressor)}))
        np.testing.assert_array_equal(as_array(read_pickle(tmp_path / "s.pkl")["m"]), regressor.toarray())
    huge = sparse.csc_matrix(([1.0], ([0], [0])), shape=(1 << 20, 1 << 20))
    (tmp_path / "s.pkl").write_bytes(pickle.dumps({"m": huge}))
    with pytest.raises(ValueError, match="too large"):
        as_array(read_pickle(tmp_path / "s.pkl")["m"])


def test_what_files_say_is_quoted_shortly():
    assert quoted("a\nb\x00" + "c" * 200) == "a b?" + "c" * 75 + "…"
    nested: list = []
    for _ in range(60):
        nested = [nested, nested]
    assert quoted(nested) == "list" and quoted(ValueError(nested)) == "ValueError"


def test_a_checkpoint_takes_no_more_than_its_file(tmp_path):
    weights = {"a": torch.zeros(3), "b": [torch.ones(2)]}
    torch.save(weights, tmp_path / "m.pt")
    assert torch.equal(load_torch(tmp_path / "m.pt")["b"][0], torch.ones(2))
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(load_torch(tmp_path / "old.pt")["a"], torch.zeros(3))
    torch.save({"a": torch.zeros(1).expand(1 << 30)}, tmp_path / "m.pt")
    with pytest.raises(ForeignFileError, match="larger than its numbers"):
        load_torch(tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "old.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"")
    with pytest.raises(ForeignFileError, match="another way than torch packs"):
        load_torch(tmp_path / "old.pt")


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "CAPE"])
def test_damaged_motions_are_read_or_refused(tmp_path, kind):
    """Bytes that are changed, lost and doubled: a right file's own error, or a motion of finite numbers."""
    write, name, up, *_ = FILES[kind]
    write(tmp_path / name, *dance(up))
    whole, random = (tmp_path / name).read_bytes(), np.random.default_rng(len(kind))
    for _ in range(25):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), random.integers(1, 5)):
            change, length = random.integers(3), int(random.integers(1, 40))
            if change == 0:
                damaged[place % len(damaged)] = random.integers(256)
            elif change == 1:
                del damaged[place : place + length]
            else:
                damaged[place:place] = damaged[place : place + length]
        (tmp_path / name).write_bytes(damaged)
        try:
            motion = load_motion(tmp_path / name)
        except ForeignFileError as error:
            assert len(str(error)) < 500 and "\n" not in str(error)
        else:
            assert np.isfinite(motion.rotations).all() and np.isfinite(motion.translation).all()
