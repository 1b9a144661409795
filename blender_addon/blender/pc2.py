"""PC2 point caches: a header of 32 bytes, then float32 positions frame after frame. numpy only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..messages import AddonError

if TYPE_CHECKING:
    from bpy.types import MeshCacheModifier

MAGIC = b"POINTCACHE2\0"
VERSION = 1
HEADER = struct.Struct("<12siiffi")  # magic, version, points, start frame, frames a sample, samples


@dataclass(frozen=True)
class Header:
    points: int
    start: float
    frames: int
    interval: float = 1.0  # frames from one sample to the next

    @property
    def frame_bytes(self) -> int:
        return self.points * 12

    @property
    def file_bytes(self) -> int:
        return HEADER.size + self.frames * self.frame_bytes

    def pack(self) -> bytes:
        return HEADER.pack(MAGIC, VERSION, self.points, self.start, self.interval, self.frames)


def write_frames(file: BinaryIO, points: np.ndarray) -> None:  # [F, M, 3]
    file.write(np.ascontiguousarray(points, "<f4").data)


def play(modifier: MeshCacheModifier, path: str | Path, first: float, scale: float) -> None:
    """Have a modifier play a cache in its object's own axes: in frame f, sample f * scale - first."""
    modifier.cache_format = "PC2"
    modifier.filepath = str(path)
    modifier.frame_start, modifier.frame_scale = first, scale
    modifier.interpolation = "LINEAR"
    modifier.forward_axis, modifier.up_axis = "POS_Y", "POS_Z"


def read_header(path: str | Path) -> Header:
    """Raises AddonError for what is no PC2 file or is shorter than its header says."""
    path = Path(path)
    with open(path, "rb") as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size or not head.startswith(MAGIC[:11]):
        raise AddonError(f"{path.name} is no PC2 file.")
    _, version, points, start, interval, frames = HEADER.unpack(head)
    header = Header(points, start, frames, interval)
    if version != VERSION or points < 0 or frames < 0 or path.stat().st_size < header.file_bytes:
        raise AddonError(f"{path.name} is cut short or of another version; bake it again.")
    return header


def read_frames(path: str | Path) -> np.ndarray:  # [F, M, 3] float32
    """All frames, mapped into memory."""
    header = read_header(path)
    shape = (header.frames, header.points, 3)
    return np.memmap(path, "<f4", "r", HEADER.size, shape)
