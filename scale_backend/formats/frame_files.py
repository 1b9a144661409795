"""Frames of a decoded motion on disk: one .ply or .npz file for each, written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from scale_backend.formats.topology import Topology
from scale_backend.formats.whole_files import write_whole

FORMATS = ("ply", "npz")


def frame_path(folder: Path, name: str, frame: int, file_format: str) -> Path:
    return folder / f"{name}_{frame:05d}.{file_format}"


def write_frame(
    path: Path,
    points: np.ndarray,  # [M, 3] metres
    normals: np.ndarray,  # [M, 3]
    topology: Topology,
    colors: np.ndarray | None = None,  # [M, 3] in 0..1
) -> None:
    """The format is the suffix."""
    if path.suffix == ".ply":
        shades = None if colors is None else color_bytes(colors)
        data = ply_bytes(points, normals, topology.triangles, topology.patch, shades)
    else:
        buffer = io.BytesIO()
        colored = {} if colors is None else {"colors": colors}
        np.savez(buffer, points=points, normals=normals, **colored, **topology.arrays())
        data = buffer.getvalue()
    write_whole(path, data)


def color_bytes(colors: np.ndarray) -> np.ndarray:  # [M, 3] in 0..1 -> [M, 3] uint8
    return np.clip(colors * 255 + 0.5, 0, 255).astype(np.uint8)


def ply_bytes(
    points: np.ndarray,  # [M, 3]
    normals: np.ndarray,  # [M, 3]
    triangles: np.ndarray,  # [T, 3]; none for a point cloud
    patch: np.ndarray | None,  # [M]
    colors: np.ndarray | None = None,  # [M, 3] uint8
) -> bytes:
    """A binary little-endian PLY with normals and, where they are given, each point's patch and colour."""
    columns = {name: ("float", "<f4", points[:, axis]) for axis, name in enumerate("xyz")}
    columns |= {f"n{name}": ("float", "<f4", normals[:, axis]) for axis, name in enumerate("xyz")}
    if patch is not None:
        columns["patch"] = ("int", "<i4", patch)
    if colors is not None:
        columns |= {name: ("uchar", "u1", colors[:, axis]) for axis, name in enumerate(("red", "green", "blue"))}
    vertices = np.empty(len(points), [(name, kind) for name, (_, kind, _) in columns.items()])
    for name, (_, _, values) in columns.items():
        vertices[name] = values
    header = ["ply", "format binary_little_endian 1.0", "comment scale_clothing; metres"]
    header += [f"element vertex {len(points)}", *(f"property {kind} {name}" for name, (kind, _, _) in columns.items())]
    faces = b""
    if len(triangles):
        listed = np.empty(len(triangles), [("count", "u1"), ("corners", "<i4", 3)])
        listed["count"], listed["corners"] = 3, triangles
        faces = listed.tobytes()
        header += [f"element face {len(triangles)}", "property list uchar int vertex_indices"]
    return "\n".join([*header, "end_header", ""]).encode() + vertices.tobytes() + faces
