"""What modifiers make of a body's mesh at rest: its other half, and the smooth surface of a subdivision.

Computed from the mesh as it was modelled: an evaluated one is in the pose of the moment, and of another shape in each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from bpy.types import MirrorModifier, Object, SubsurfModifier

from scale_backend.formats.joints import BODY

from ..blender.objects import mesh_of

# that change a body's shape in ways that are not read
UNREAD = {"CAST", "DISPLACE", "LATTICE", "MESH_DEFORM", "MULTIRES", "NODES", "REMESH", "SCREW", "SHRINKWRAP",
          "SIMPLE_DEFORM", "SKIN", "SOLIDIFY", "SURFACE_DEFORM", "WARP"}  # fmt: skip
SIDES = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Half:
    """A reflection, in the mesh's own space."""

    matrix: np.ndarray  # [4, 4]
    swaps: bool  # vertex groups of left and right too


def smoothed(mesh: Object, points: np.ndarray) -> np.ndarray:  # [V, 3] -> [V, 3]
    """The vertices on the surface that a subdivision of the mesh goes to.

    Halstead, Kass and DeRose 1993: the limit of Catmull and Clark's scheme, exact where all faces are quads.
    """
    if not any(isinstance(m, SubsurfModifier) and m.show_viewport and m.levels > 0
               and m.subdivision_type == "CATMULL_CLARK" for m in mesh.modifiers):  # fmt: skip
        return points
    data, count = mesh_of(mesh), len(points)
    starts, sizes = np.empty(len(data.polygons), np.int32), np.empty(len(data.polygons), np.int32)
    data.polygons.foreach_get("loop_start", starts)
    data.polygons.foreach_get("loop_total", sizes)
    corners, edges = np.empty(len(data.loops), np.int32), np.empty((len(data.edges), 2), np.int32)
    data.loops.foreach_get("vertex_index", corners)
    data.edges.foreach_get("vertices", edges.ravel())
    of_edge = np.empty(len(data.loops), np.int32)
    data.loops.foreach_get("edge_index", of_edge)
    faces_of_edge = np.bincount(of_edge, minlength=len(edges))
    middles = np.add.reduceat(points[corners], starts) / sizes[:, None]
    faces, face_sum = _summed(corners, np.repeat(middles, sizes, 0), count)
    around, edge_sum = _summed(edges.ravel(), points[edges[:, ::-1].ravel()], count)
    border = edges[faces_of_edge == 1]
    beside, border_sum = _summed(border.ravel(), points[border[:, ::-1].ravel()], count)
    inner = ((faces - 1)[:, None] * points + 2 * edge_sum / np.maximum(around, 1)[:, None]
             + 4 * face_sum / np.maximum(faces, 1)[:, None]) / (faces + 5)[:, None]  # fmt: skip
    along = (4 * points + border_sum) / 6
    loose = (faces == 0) | (beside > 2)
    return np.where(loose[:, None], points, np.where((beside == 2)[:, None], along, inner)).astype(points.dtype)


def _summed(rows: np.ndarray, values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """How many values each row has [count], and their sum [count, 3]."""
    sums = np.stack([np.bincount(rows, values[:, k], count) for k in range(3)], 1)
    return np.bincount(rows, minlength=count), sums


def halves(mesh: Object) -> list[Half]:
    """The reflections of a mesh by its mirror modifiers, those of reflections too."""
    found: list[Half] = []
    for modifier in mesh.modifiers:
        if not isinstance(modifier, MirrorModifier) or not modifier.show_viewport:
            continue
        about = np.eye(4)
        if modifier.mirror_object is not None:
            about = np.array(mesh.matrix_world.inverted_safe() @ modifier.mirror_object.matrix_world)
        for axis in np.flatnonzero(list(modifier.use_axis)):
            flip = np.eye(4)
            flip[axis, axis] = -1
            matrix, swaps = about @ flip @ np.linalg.inv(about), modifier.use_mirror_vertex_groups
            found += [Half(matrix, swaps), *(Half(matrix @ half.matrix, swaps != half.swaps) for half in found)]
    return found


def _other_side() -> np.ndarray:  # [22]
    """The joint of the other side, of each."""
    words = (name.split("_") for name in BODY)
    return np.array([BODY.index("_".join(SIDES.get(word, word) for word in name)) for name in words])


def with_halves(found: list[Half], weights: np.ndarray) -> np.ndarray:  # [V, 22] -> [V (1 + halves), 22]
    """Weights of a mesh and of its reflections."""
    return np.concatenate([weights, *(weights[:, _other_side()] if half.swaps else weights for half in found)])


def unread(mesh: Object) -> tuple[str, ...]:
    """Names of modifiers that change the shape and are left out."""
    return tuple(m.name for m in mesh.modifiers if m.type in UNREAD and m.show_viewport)
