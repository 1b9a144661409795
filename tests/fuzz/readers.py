"""Every reader of files from elsewhere, with a small right file for it."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml

from scale_backend.coarse.sheet import CoarseSettings
from scale_backend.decoding.packed_poses import read_packed_pose
from scale_backend.formats.garment_summary import garment_summary
from scale_backend.formats.motions import load_motion
from scale_backend.formats.restricted_pickle import read_pickle
from scale_backend.formats.torch_file import read_torch
from scale_backend.formats.uv_template import read_uv_template
from scale_backend.formats.values_file import opened_values
from scale_backend.formats.window import Window
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import Garment, load_garment, save_garment
from scale_backend.model.torch_file import load_torch
from scale_backend.settling.sweeps import Settling
from tests.making import coarse_skirt, make_garment, write_garment
from training.config import read_recipe
from training.frames.packed_frames import read_packed
from training.frames.raw_frames import RawFrames, read_chunk, write_chunk
from training.geometry.meshes import read_obj

OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"


@dataclass(frozen=True)
class Reader:
    name: str  # of a file that it reads
    read: Callable[[Path], object]
    right: Callable[[], bytes]  # a file as it should be


def _npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def _torch(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@cache
def garment() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = write_garment(Path(folder) / "g.safetensors", unet_width=4, hidden=16)
        return path.read_bytes()


@cache
def moving_garment() -> Garment:
    """One of format 3: it knows of motion, gravity, shapes and two fabrics, has coarse cloth, and settles."""
    window = Window((0.1, 0.4), gravity=True, shape=True, coarse=True)
    settling, seconds = Settling(sweeps=6, smoothed=4), CoarseSettings(seconds=0.4)
    made = make_garment(unet_width=4, hidden=16, inputs=window.channels, codes=2)
    sheet = coarse_skirt(made.carrier_on(load_body("neutral")))
    return replace(made, window=window, fabrics=("cotton", "denim"), settling=(settling, settling), coarse=sheet,
                   coarse_settings=seconds)  # fmt: skip


@cache
def moving() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_garment(Path(folder) / "g.safetensors", moving_garment())
        return (Path(folder) / "g.safetensors").read_bytes()


def garment_without_tensors() -> bytes:
    """The description alone, which is all that a menu reads."""
    data = moving()
    length = struct.unpack("<Q", data[:8])[0]
    text = json.dumps({"__metadata__": json.loads(data[8 : 8 + length])["__metadata__"]}).encode()
    return struct.pack("<Q", len(text)) + text


def chunk() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        zeros = np.zeros(2, np.float32)
        frames = RawFrames(np.zeros((2, 24, 3), np.float32), np.ones((2, 9, 3), np.float32), ("a", "b"), zeros, zeros)
        write_chunk(Path(folder) / "chunk.npz", frames)
        return (Path(folder) / "chunk.npz").read_bytes()


def motion() -> dict[str, np.ndarray]:
    return {
        "poses": np.zeros((4, 72), np.float32), "trans": np.zeros((4, 3), np.float32), "betas": np.zeros(10),
        "mocap_framerate": np.array(30.0), "gender": np.array("neutral"),
    }  # fmt: skip


def body() -> bytes:
    """The smallest of the family: 24 joints, 8 vertices."""
    random = np.random.default_rng(0)
    weights = np.zeros((8, 24), np.float32)
    weights[:, 0] = 1
    regressor = np.full((24, 8), 1 / 8, np.float32)
    tree = np.array([[4294967295, *([0] * 23)], list(range(24))], np.uint32)
    return _npz(
        v_template=random.random((8, 3), np.float32), f=np.array([[0, 1, 2], [3, 4, 5]], np.uint32), weights=weights,
        J_regressor=regressor, kintree_table=tree, shapedirs=np.zeros((8, 3, 10), np.float32),
        vt=random.random((8, 2), np.float32), ft=np.array([[0, 1, 2], [3, 4, 5]], np.uint32),
    )  # fmt: skip


def packed() -> bytes:
    return _npz(
        posmap32=np.zeros((32, 32, 3), np.float32), scan_pc=np.zeros((50, 3), np.float32),
        scan_n=np.ones((50, 3), np.float32), scan_name=np.array("a.00001"), pose=np.zeros((24, 3), np.float32),
        transl=np.zeros(3, np.float32), body_verts=np.zeros((20, 3), np.float32),
    )  # fmt: skip


def _values(path: Path) -> object:
    with opened_values(path, 1 << 26) as found:
        return {key: found[key] for key in found} if hasattr(found, "keys") else found


RECIPE = {"name": "skirt", "data": "frames", "steps": 10, "network": {"hidden": 32}, "loss": {"normal": 0.1}}
READERS = {
    reader.name: reader
    for reader in (
        Reader("summary.safetensors", garment_summary, garment_without_tensors),
        Reader("garment.safetensors", load_garment, garment),
        Reader("moving.safetensors", load_garment, moving),
        Reader("motion.npz", load_motion, lambda: _npz(**motion())),
        Reader("motion.pkl", load_motion, lambda: pickle.dumps(motion(), 2)),
        Reader("motion.npy", load_motion, lambda: _npy(np.zeros((4, 72), np.float32))),
        Reader("motion.pt", load_motion, lambda: _torch({key: torch.as_tensor(value) for key, value in motion().items()
                                                         if value.dtype.kind == "f"})),
        Reader("body.npz", load_body, body),
        Reader("values.npz", _values, lambda: _npz(**motion())),
        Reader("values.pkl", read_pickle, lambda: pickle.dumps({"a": np.zeros((3, 4)), "b": [1, "two", None]}, 2)),
        Reader("values.pt", read_torch, lambda: _torch({"a": torch.zeros(3, 4), "b": [1, "two"]})),
        Reader("weights.pt", load_torch, lambda: _torch({"state": {"w": torch.zeros(3, 4)}, "step": 3})),
        Reader("packed.npz", read_packed, packed),
        Reader("packed-pose.npz", lambda path: read_packed_pose(path, 32), packed),
        Reader("chunk.npz", read_chunk, chunk),
        Reader("template.obj", read_uv_template, lambda: OBJ.encode()),
        Reader("mesh.obj", read_obj, lambda: OBJ.encode()),
        Reader("recipe.yaml", read_recipe, lambda: yaml.safe_dump(RECIPE).encode()),
        Reader("recipe.json.yaml", read_recipe, lambda: json.dumps(RECIPE).encode()),
    )
}  # fmt: skip


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()
