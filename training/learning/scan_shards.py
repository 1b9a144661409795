"""Packed frames as memory-mapped files: what a step needs is read from disk then, so that 50,000 frames of 40,000
points train in a few GiB. Points are in shards; what the network sees of a frame, 60 KB, is ready for use in files
beside them, which are mapped on the CPU and copied to other devices."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scale_backend.formats.strict_json import strict_json
from training.frames.packed_frames import PackedFrame, PackedFrameError, read_packed
from training.learning.dataset import Groundwork, PosedFrames
from training.learning.packed_poses import pose_packed

SHARD_FRAMES = 256
INDEX = "index.json"
FORMAT = 3
POSED = ("rotations", "maps", "base", "frames")


@dataclass(frozen=True)
class ScanPoints:
    """Scan points of a batch."""

    points: Tensor  # [F, n, 3]
    normals: Tensor  # [F, n, 3]
    cloth: Tensor | None = None  # [F, n] bool; None: not known
    colors: Tensor | None = None  # [F, n, 3] in 0..1, NaN where the scanner saw none


@dataclass(frozen=True)
class ScanShards:
    """Scans with points fixed on disk."""

    rows: tuple[np.ndarray, ...]  # a shard each: [rows, 6] points and normals, memory-mapped
    cloth: tuple[np.ndarray, ...] | None  # [rows] bool
    colors: tuple[np.ndarray, ...] | None  # [rows, 3]
    place: np.ndarray  # [F, 3] shard, first row, rows
    device: torch.device

    def scan(self, number: int) -> tuple[Tensor, Tensor]:  # [n, 3] points, [n, 3] normals
        """All of one frame's scan."""
        values = torch.from_numpy(np.array(self._of(self.rows, number))).to(self.device)
        return values[:, :3], values[:, 3:]

    def sample(self, chosen: Tensor, count: int, random: Sequence[torch.Generator]) -> ScanPoints:
        """A generator a frame."""
        picked: dict[str, list[Tensor]] = {"rows": [], "cloth": [], "colors": []}
        for number, generator in zip(chosen.tolist(), random, strict=True):
            pick = torch.randint(int(self.place[number, 2]), (count,), generator=generator).numpy()
            for name, values in picked.items():
                if (shards := getattr(self, name)) is not None:
                    values.append(torch.from_numpy(np.array(self._of(shards, number)[pick])))
        rows = torch.stack(picked["rows"]).to(self.device)
        cloth, colors = (torch.stack(v).to(self.device) if v else None for v in (picked["cloth"], picked["colors"]))
        return ScanPoints(rows[..., :3], rows[..., 3:], cloth, colors)

    def _of(self, shards: tuple[np.ndarray, ...], number: int) -> np.ndarray:
        shard, first, count = self.place[number]
        return shards[shard][first : first + count]


def read_shards(
    paths: Sequence[Path], groundwork: Groundwork, folder: Path
) -> tuple[ScanShards, PosedFrames, tuple[str, ...]]:
    """Shards of packed frames, what the network sees of them, and their names. Written to the folder when it does not
    hold those of these very files. Raises PackedFrameError, also where there is no room for them."""
    key = _key(paths, groundwork)
    if _key_of(folder) != key:
        beside = folder.with_name(f"{folder.name}.part")  # one name: what a kill leaves is overwritten by the next
        shutil.rmtree(beside, ignore_errors=True)
        try:
            _write(paths, groundwork, beside, key)
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
        except OSError as error:
            raise PackedFrameError(f"{folder} could not be written ({error.strerror}), which takes as much room as the "
                                   "packed frames; free some space, or choose another --out.") from error  # fmt: skip
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    content = strict_json((folder / INDEX).read_text())
    device = groundwork.body.template.device

    def mapped(name: str) -> tuple[np.ndarray, ...]:
        return tuple(np.load(folder / f"{name}-{i:04d}.npy", mmap_mode="r") for i in range(content["shards"]))

    # "c": nothing is written back; torch wants arrays that could be written to
    ready = (np.load(folder / f"{name}.npy", mmap_mode="c") for name in POSED)
    posed = PosedFrames(*(torch.from_numpy(values).to(device) for values in ready))
    cloth, colors = (mapped(name) if content[name] else None for name in ("cloth", "colors"))
    place = np.array(content["place"], np.int64).reshape(-1, 3)
    return ScanShards(mapped("rows"), cloth, colors, place, device), posed, tuple(content["names"])


def _key_of(folder: Path) -> str:
    """Of which packed frames a folder holds the shards; empty where they are not whole."""
    try:
        content = strict_json((folder / INDEX).read_text())
        whole = all((folder / name).stat().st_size == size for name, size in content["sizes"].items())
        return content["key"] if whole else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _key(paths: Sequence[Path], groundwork: Groundwork) -> str:
    stats = [(path.name, (s := path.stat()).st_size, s.st_mtime_ns) for path in paths]
    basis = (FORMAT, stats, groundwork.body.digest, groundwork.layout.size, groundwork.mode, groundwork.carrier.kind)
    return hashlib.sha256(repr(basis).encode()).hexdigest()


def _write(paths: Sequence[Path], groundwork: Groundwork, folder: Path, key: str) -> None:
    from tqdm import tqdm

    folder.mkdir(parents=True)
    on_host = groundwork.to("cpu")
    names, place, shards = [], [], 0
    known = {"cloth": True, "colors": True}
    with tqdm(total=len(paths), desc="reading frames", unit="frame") as bar:
        for first in range(0, len(paths), SHARD_FRAMES):
            frames = []
            for path in paths[first : first + SHARD_FRAMES]:
                frames.append(read_packed(path, groundwork.layout.size))
                bar.update()
            ends = np.cumsum([len(frame.points) for frame in frames])
            place += [(shards, int(end) - len(f.points), len(f.points)) for f, end in zip(frames, ends, strict=True)]
            names += [frame.name for frame in frames]
            for name in known:
                known[name] &= all(getattr(frame, name) is not None for frame in frames)
            _write_shard(folder, shards, frames)
            posed = pose_packed(on_host, frames)
            for name in POSED:
                _append(folder / f"{name}.npy", getattr(posed, name).numpy(), len(paths))
            shards += 1
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    content = {"key": key, "shards": shards, "place": place, "names": names, "sizes": sizes} | known
    (folder / INDEX).write_text(json.dumps(content))


def _write_shard(folder: Path, number: int, frames: list[PackedFrame]) -> None:
    arrays = {"rows": np.concatenate([np.concatenate([frame.points, frame.normals], 1) for frame in frames])}
    for name in ("cloth", "colors"):
        values = [getattr(frame, name) for frame in frames]
        if all(value is not None for value in values):
            arrays[name] = np.concatenate(values)
    for name, values in arrays.items():
        _append(folder / f"{name}-{number:04d}.npy", values, len(values))


def _append(path: Path, values: np.ndarray, total: int) -> None:
    """Rows to a .npy file that will hold `total` of them."""
    with open(path, "ab") as file:
        if not file.tell():
            shape = (total, *values.shape[1:])
            descr = np.lib.format.dtype_to_descr(values.dtype)
            np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
        file.write(np.ascontiguousarray(values).data)
