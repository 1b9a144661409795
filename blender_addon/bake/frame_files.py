"""One frame of clothes as the content of a .ply or .obj file."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from bpy.types import Object

from scale_backend.formats.frame_files import ply_bytes

from ..blender.meshes import values_of
from ..blender.objects import mesh_of
from ..messages import AddonError


@dataclass(frozen=True)
class Faces:
    """How vertices hang together; most clothes keep it from frame to frame."""

    triangles: np.ndarray  # [T, 3]; none for points
    patch: np.ndarray  # [M]
    uv: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))  # [U, 2]
    uv_triangles: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))  # [T, 3] rows of uv


def faces_of(obj: Object) -> Faces:
    """Raises AddonError for clothes that were edited."""
    mesh = mesh_of(obj)
    corners = len(mesh.loops)
    if corners != 3 * len(mesh.polygons):
        raise AddonError(f"'{obj.name}' was edited; generate it again.")
    triangles = np.empty(corners, np.int32)
    mesh.loops.foreach_get("vertex_index", triangles)
    patch = np.zeros(len(mesh.vertices), np.int32)
    if "patch" in mesh.attributes:
        values_of(mesh, "patch").foreach_get("value", patch)
    uv, rows = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
    if corners and mesh.uv_layers.active is not None:
        values = np.empty((corners, 2), np.float32)
        mesh.uv_layers.active.uv.foreach_get("vector", values.ravel())
        uv, rows = np.unique(values, axis=0, return_inverse=True)
    return Faces(triangles.reshape(-1, 3), patch, uv, rows.reshape(-1, 3))


def content(
    suffix: str,
    points: np.ndarray,  # [M, 3] Blender's axes
    normals: np.ndarray,  # [M, 3]
    faces: Faces,
) -> bytes:
    """Raises ValueError for a format that is not written frame by frame."""
    if suffix == ".ply":
        return ply_bytes(points, normals, faces.triangles, faces.patch)
    if suffix == ".obj":
        return obj_bytes(points, normals, faces)
    raise ValueError(f"no frames are written as {suffix}")


def obj_bytes(points: np.ndarray, normals: np.ndarray, faces: Faces) -> bytes:
    """Y up, as is usual for .obj files and as Blender reads them."""
    lines = ["# scale_clothing; metres"]
    lines += ["v {:.7g} {:.7g} {:.7g}".format(*row) for row in _y_up(points)]
    lines += ["vt {:.7g} {:.7g}".format(*row) for row in faces.uv.tolist()]
    lines += ["vn {:.5f} {:.5f} {:.5f}".format(*row) for row in _y_up(normals)]
    corner = "{}/{}/{}" if len(faces.uv) else "{}//{}"
    face = f"f {corner} {corner} {corner}"
    if len(faces.triangles):
        vertex = faces.triangles + 1
        columns = [vertex, faces.uv_triangles + 1, vertex] if len(faces.uv) else [vertex, vertex]
        lines += [face.format(*row) for row in np.stack(columns, -1).reshape(len(vertex), -1).tolist()]
    return "\n".join([*lines, ""]).encode()


def _y_up(vectors: np.ndarray) -> list[list[float]]:  # [M, 3]
    return np.stack([vectors[:, 0], vectors[:, 2], -vectors[:, 1]], 1).tolist()
