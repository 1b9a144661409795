"""Meshes from arrays and arrays into meshes, the fast way."""

from __future__ import annotations

from typing import Any, Literal

import bpy
import numpy as np
from bpy.types import Mesh, ShapeKey
from mathutils import Matrix

MOST_PIECES = 8  # of a garment; a surface in more, as one of patches, is not told apart
CUSTOM_NORMAL = "custom_normal"
# from then on normals may be an attribute of the vertices, which nodes can write as well; before, each corner has its
# own, relative to the faces round it
FREE_NORMALS = bpy.app.version >= (4, 5, 0)

Kind = Literal["FLOAT_VECTOR", "FLOAT_COLOR", "INT"]  # of an attribute's values
FIELDS: dict[Kind, str] = {"FLOAT_VECTOR": "vector", "FLOAT_COLOR": "color", "INT": "value"}


def make_mesh(name: str, points: np.ndarray, triangles: np.ndarray) -> Mesh:
    """A smooth mesh; without triangles, loose vertices. points [V, 3] float32, triangles [T, 3]."""
    mesh = bpy.data.meshes.new(name)
    fill_mesh(mesh, points, triangles)
    return mesh


def fill_mesh(mesh: Mesh, points: np.ndarray, triangles: np.ndarray) -> None:
    """Give a mesh a new topology; materials stay."""
    mesh.clear_geometry()
    mesh.vertices.add(len(points))
    if len(triangles):
        corners = len(triangles) * 3
        mesh.loops.add(corners)
        mesh.loops.foreach_set("vertex_index", np.ascontiguousarray(triangles, np.int32).ravel())
        mesh.polygons.add(len(triangles))
        mesh.polygons.foreach_set("loop_start", np.arange(0, corners, 3, dtype=np.int32))
        mesh.polygons.foreach_set("use_smooth", np.ones(len(triangles), bool))
    set_positions(mesh, points)
    mesh.update(calc_edges=True)


def set_positions(
    mesh: Mesh,
    points: np.ndarray,  # [V, 3] float32, contiguous
    normals: np.ndarray | None = None,  # [V, 3] unit: to be shaded with in place of those of the faces
) -> None:
    """Move all vertices.

    Writing the attribute is a hundred times faster than `vertices`, but leaves the normals and the bounding box of
    the old positions in their caches; an identity transform drops those.
    """
    if normals is not None and FREE_NORMALS:
        set_attribute(mesh, CUSTOM_NORMAL, "FLOAT_VECTOR", normals)
    values_of(mesh, "position").foreach_set("vector", points.ravel())
    mesh.transform(Matrix.Identity(4))
    mesh.update_tag()
    if normals is not None and not FREE_NORMALS:
        mesh.normals_split_custom_set_from_vertices(normals)


def drop_normals(mesh: Mesh) -> None:
    """Shade a mesh with the normals of its faces again."""
    if CUSTOM_NORMAL in mesh.attributes:
        mesh.attributes.remove(mesh.attributes[CUSTOM_NORMAL])
        mesh.update_tag()
    elif mesh.has_custom_normals:  # before Blender 4.5, where zeros stand for those of the faces
        mesh.normals_split_custom_set_from_vertices(np.zeros((len(mesh.vertices), 3), np.float32))


def get_positions(mesh: Mesh) -> np.ndarray:  # [V, 3] float32
    points = np.empty((len(mesh.vertices), 3), np.float32)
    values_of(mesh, "position").foreach_get("vector", points.ravel())
    return points


def key_positions(block: ShapeKey) -> np.ndarray:  # [V, 3] float32
    points = np.empty((len(block.data), 3), np.float32)
    block.data.foreach_get("co", points.ravel())
    return points


def values_of(mesh: Mesh, name: str) -> Any:
    """The values of an attribute that is there. Blender's types have them for each kind of attribute alone."""
    return mesh.attributes[name].data  # type: ignore[attr-defined]


def set_attribute(
    mesh: Mesh, name: str, kind: Kind, values: np.ndarray, domain: Literal["POINT", "CORNER"] = "POINT"
) -> None:
    """A value for each vertex or corner."""
    attribute = mesh.attributes.get(name)
    if attribute is None or (attribute.data_type, attribute.domain) != (kind, domain):
        if attribute is not None:
            mesh.attributes.remove(attribute)
        mesh.attributes.new(name, kind, domain)
    dtype = np.int32 if kind == "INT" else np.float32
    values_of(mesh, name).foreach_set(FIELDS[kind], np.ascontiguousarray(values, dtype).ravel())


def set_material_indices(mesh: Mesh, indices: np.ndarray) -> None:  # [T] int
    mesh.polygons.foreach_set("material_index", np.ascontiguousarray(indices, np.int32))


def pieces(triangles: np.ndarray, vertex_count: int) -> np.ndarray:  # [T, 3] -> [T]
    """The number of the connected piece that each triangle belongs to, in the order of their first vertices; all 0
    where the surface is in more than MOST_PIECES: those are no pieces of clothes."""
    label = np.arange(vertex_count)
    while True:  # the smallest number spreads along edges, and jumps to where that one points
        smallest = label[triangles].min(1)
        before = label.copy()
        np.minimum.at(label, triangles, smallest[:, None])
        label = label[label]
        if (label == before).all():
            break
    labels, number = np.unique(label[triangles[:, 0]], return_inverse=True)
    return number if len(labels) <= MOST_PIECES else np.zeros(len(triangles), int)


def set_uv(mesh: Mesh, uv: np.ndarray) -> None:  # [3 T, 2] a corner
    layer = mesh.uv_layers.get("UVMap") or mesh.uv_layers.new(name="UVMap")
    layer.data.foreach_set("uv", np.ascontiguousarray(uv, np.float32).ravel())


def evaluated_positions(obj: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> np.ndarray:  # [V, 3] local
    """Where the vertices are after all modifiers."""
    evaluated = obj.evaluated_get(depsgraph)
    mesh = evaluated.to_mesh()
    try:
        return get_positions(mesh)
    finally:
        evaluated.to_mesh_clear()
