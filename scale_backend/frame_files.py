"""Frames of a decoded motion on disk: one .ply or .npz file for each, written whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import numpy as np

FORMATS = ("ply", "npz")


def frame_path(folder: Path, name: str, frame: int, file_format: str) -> Path:
    return folder / f"{name}_{frame:05d}.{file_format}"


def write_frame(
    path: Path,
    points: np.ndarray,  # [M, 3] metres
    normals: np.ndarray,  # [M, 3]
    topology: dict[str, np.ndarray],  # triangles [T, 3], uv [3 T, 2], patch [M], region [M]
) -> None:
    """Write beside, then rename: what stands under the name is complete. The format is the suffix."""
    if path.suffix == ".ply":
        data = ply_bytes(points, normals, topology["triangles"], topology["patch"])
    else:
        buffer = io.BytesIO()
        np.savez(buffer, points=points, normals=normals, **topology)
        data = buffer.getvalue()
    beside = path.with_name(path.name + ".part")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def ply_bytes(
    points: np.ndarray,  # [M, 3]
    normals: np.ndarray,  # [M, 3]
    triangles: np.ndarray,  # [T, 3]; none for a point cloud
    patch: np.ndarray,  # [M]
) -> bytes:
    """A binary little-endian PLY with normals and each point's patch."""
    names = ("x", "y", "z", "nx", "ny", "nz")
    vertices = np.empty(len(points), [(n, "<f4") for n in names] + [("patch", "<i4")])
    for axis, name in enumerate("xyz"):
        vertices[name], vertices["n" + name] = points[:, axis], normals[:, axis]
    vertices["patch"] = patch
    header = ["ply", "format binary_little_endian 1.0", "comment scale_clothing; metres"]
    header += [f"element vertex {len(points)}"] + [f"property float {name}" for name in names] + ["property int patch"]
    faces = b""
    if len(triangles):
        listed = np.empty(len(triangles), [("count", "u1"), ("corners", "<i4", 3)])
        listed["count"], listed["corners"] = 3, triangles
        faces = listed.tobytes()
        header += [f"element face {len(triangles)}", "property list uchar int vertex_indices"]
    return "\n".join([*header, "end_header", ""]).encode() + vertices.tobytes() + faces
