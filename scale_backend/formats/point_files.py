"""Points with normals and colours as binary .ply, under the names that SCALE's users know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scale_backend.formats.errors import UserError
from scale_backend.formats.frame_files import color_bytes, ply_bytes, write_whole

NORMAL_SUFFIX, PATCH_SUFFIX, TEXTURE_SUFFIX = "_pred.ply", "_pred_patchcolor.ply", "_pred_texture.ply"
COORDINATES = ("x", "y", "z", "nx", "ny", "nz")
CHANNELS = ("red", "green", "blue")
NO_TRIANGLES = np.zeros((0, 3), np.int32)
TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
LARGEST_HEADER = 1 << 16  # bytes


class PointFileError(UserError):
    """A .ply file that cannot be used; the sentence says what to do."""


@dataclass(frozen=True)
class PointFile:
    points: np.ndarray  # [M, 3]
    normals: np.ndarray | None  # [M, 3]
    colors: np.ndarray | None  # [M, 3] uint8


def normal_colors(normals: np.ndarray) -> np.ndarray:  # [M, 3] unit -> [M, 3] uint8
    return np.clip(normals * 127.5 + 128, 0, 255).astype(np.uint8)


def patch_colors(patch: np.ndarray) -> np.ndarray:  # [M] -> [M, 3] uint8
    """One colour a patch, random but always the same."""
    palette = np.random.default_rng(0).integers(0, 256, (int(patch.max()) + 1, 3), np.uint8)
    return palette[patch]


def write_points(path: Path, points: np.ndarray, normals: np.ndarray, colors: np.ndarray) -> None:
    """Points [M, 3] with normals and colours [M, 3] uint8. The folder is made, the file written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, ply_bytes(points, normals, NO_TRIANGLES, None, colors))


def write_results(
    folder: Path,
    name: str,
    points: np.ndarray,  # [M, 3]
    normals: np.ndarray,  # [M, 3]
    patch: np.ndarray,  # [M]
    colors: np.ndarray | None = None,  # [M, 3] in 0..1
) -> None:
    """The files of one frame: coloured by normals, by patch, and by the given colours."""
    write_points(folder / f"{name}{NORMAL_SUFFIX}", points, normals, normal_colors(normals))
    write_points(folder / f"{name}{PATCH_SUFFIX}", points, normals, patch_colors(patch))
    if colors is not None:
        write_points(folder / f"{name}{TEXTURE_SUFFIX}", points, normals, color_bytes(colors))


def read_points(path: Path) -> PointFile:
    """The vertices of a .ply file, binary or text, ours or another program's. Raises PointFileError."""
    try:
        data = path.read_bytes()
        end = data.index(b"end_header", 0, LARGEST_HEADER)
        lines = [line.split() for line in data[:end].decode("ascii").splitlines()]
        body = data[data.index(b"\n", end) + 1 :]
        kind = next(line[1] for line in lines if line[:1] == ["format"])
        first = next(i for i, line in enumerate(lines) if line[:1] == ["element"])
        if lines[first][1] != "vertex":
            raise ValueError("its first element is not the vertices")
        count, fields = int(lines[first][2]), []
        for line in lines[first + 1 :]:
            if line[0] == "element":
                break
            if line[0] == "property":
                fields.append((line[2], TYPES[line[1]]))
        if kind == "ascii":
            rows = np.array([line.split()[: len(fields)] for line in body.decode("ascii").splitlines()[:count]], float)
            columns = {name: rows[:, i] for i, (name, _) in enumerate(fields)}
        else:
            order = "<" if kind == "binary_little_endian" else ">"
            vertices = np.frombuffer(body, [(name, order + code) for name, code in fields], count)
            columns = {name: vertices[name] for name, _ in fields}
        points = np.stack([columns[n] for n in "xyz"], 1).astype(np.float32)
    except (OSError, ValueError, KeyError, IndexError, StopIteration) as error:
        raise PointFileError(f"{path.name} cannot be read as a .ply with points ({error}); write it again.") from error

    def triple(names: tuple[str, ...], dtype: type) -> np.ndarray | None:
        return np.stack([columns[n] for n in names], 1).astype(dtype) if all(n in columns for n in names) else None

    return PointFile(points, triple(COORDINATES[3:], np.float32), triple(CHANNELS, np.uint8))
