"""Meshes from users' files: vertices in the file's own order, UVs, colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import quoted
from scale_backend.formats.whole_files import file_error_sentence
from training.geometry.surface_distance import vertex_normals

SUFFIXES = (".obj", ".ply", ".off", ".stl", ".glb")


class MeshError(UserError):
    """A file that cannot be used as a mesh; the sentence says what to do."""


@dataclass(frozen=True)
class Mesh:
    vertices: np.ndarray  # [V, 3]
    triangles: np.ndarray  # [T, 3]
    uv: np.ndarray | None = None  # [U, 2]
    uv_triangles: np.ndarray | None = None  # [T, 3]
    colors: np.ndarray | None = None  # [V, 3] in 0..1, NaN where the scanner saw none

    def normals(self) -> np.ndarray:  # [V, 3] unit; smooth also across vertices that a seam has doubled
        _, same = np.unique(self.vertices, axis=0, return_inverse=True)
        same = same.reshape(-1)
        welded = np.empty((same.max() + 1, 3))
        welded[same] = self.vertices
        return vertex_normals(welded, same[self.triangles])[same]


def read_obj(path: Path) -> Mesh:
    """An .obj as it is: `v` (with colours, if there are), `vt` and `f` lines; polygons become fans.

    Raises MeshError.
    """
    rows, uv, corners, uv_corners, number = [], [], [], [], 0
    try:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):  # noqa: B007 -- an error names it
            kind, *values = line.split() or [""]
            if kind == "v":
                rows.append(_numbers(values, 3, 7))
            elif kind == "vt":
                uv.append(_numbers(values[:2], 2, 2))
            elif kind == "f":
                indices = [value.split("/") for value in values]
                for k in range(1, len(indices) - 1):
                    fan = (indices[0], indices[k], indices[k + 1])
                    corners.append([_index(corner[0], len(rows)) for corner in fan])
                    if all(len(corner) > 1 and corner[1] for corner in fan):
                        uv_corners.append([_index(corner[1], len(uv)) for corner in fan])
        number = 0
        vertices = np.array([row[:3] for row in rows], np.float64).reshape(-1, 3)
        for found, count, what in ((corners, len(rows), "vertices"), (uv_corners, len(uv), "UVs")):
            triangles = np.array(found, np.int64).reshape(-1, 3)
            if len(triangles) and not 0 <= triangles.min() <= triangles.max() < count:
                raise ValueError(f"its faces point outside its {what}")
    except OSError as error:
        raise MeshError(file_error_sentence(error)) from error
    except (ValueError, IndexError, OverflowError) as error:
        where = f", line {number}" if number else ""
        raise MeshError(f"{path.name} cannot be read as an .obj ({quoted(error)}{where}); export it again.") from error
    mapped = len(uv_corners) == len(corners) > 0
    colored = bool(rows) and all(len(row) >= 6 for row in rows)
    return Mesh(
        vertices, np.array(corners, np.int64).reshape(-1, 3), np.array(uv) if mapped else None,
        np.array(uv_corners, np.int64) if mapped else None,
        np.clip(np.array([row[3:6] for row in rows]), 0, 1) if colored else None,
    )  # fmt: skip


def _numbers(values: list[str], least: int, most: int) -> list[float]:
    """Raises ValueError for too few or too many, and for what is not finite."""
    numbers = [float(value) for value in values]
    if not least <= len(numbers) <= most or not all(map(math.isfinite, numbers)):
        raise ValueError(f"a line of {len(numbers)} numbers, or of some that are not finite")
    return numbers


def _index(text: str, count: int) -> int:
    number = int(text)
    if number == 0:
        raise ValueError("a face with the number 0")
    return number - 1 if number > 0 else count + number  # negative ones count from the last


def read_mesh(path: Path) -> Mesh:
    """Any kind of mesh, with the colours of its vertices or of its texture. Transparent: no colour.

    Raises MeshError.
    """
    import trimesh

    if path.suffix == ".obj":
        mesh = read_obj(path)
        if mesh.uv is None or mesh.colors is not None:
            return mesh
    try:
        loaded: Any = trimesh.load(path, process=False, force="mesh")
        vertices, triangles = np.asarray(loaded.vertices, np.float64), np.asarray(loaded.faces, np.int64)
    except Exception as error:  # trimesh raises many kinds
        raise MeshError(f"{path.name} cannot be read as a mesh ({quoted(error)}); export it again.") from error
    return Mesh(vertices.reshape(-1, 3), triangles.reshape(-1, 3), colors=_colors(loaded))


def _colors(loaded: Any) -> np.ndarray | None:  # a trimesh.Trimesh -> [V, 3]
    visual = loaded.visual
    if visual.kind == "texture" and getattr(visual.material, "image", None) is None:
        return None
    if visual.kind not in ("vertex", "face", "texture"):
        return None
    rgba = np.asarray((visual.to_color() if visual.kind == "texture" else visual).vertex_colors, np.float64) / 255
    return np.where(rgba[:, 3:] > 0, rgba[:, :3], np.nan)
