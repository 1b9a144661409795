"""The mesh object of clothes: built from a surface's topology, given another shape frame by frame."""

from __future__ import annotations

import bpy
import numpy as np
from bpy.types import Depsgraph, Object

from scale_backend.formats.topology import Topology

from ..appearance import materials
from ..blender import meshes
from ..blender.objects import mesh_of
from ..messages import AddonError
from .memory import Arrival
from .request import Decoded, present_request, shown_normals

NORMAL, PATCH = "normal", "patch"


def _build(obj: Object, topology: Topology, decoded: Decoded) -> None:
    mesh = mesh_of(obj)
    meshes.fill_mesh(mesh, decoded.points, topology.triangles)
    if topology.uv is not None and len(topology.triangles):
        meshes.set_uv(mesh, topology.uv)
    patch = topology.patch
    meshes.set_attribute(mesh, PATCH, "INT", patch)
    if len(topology.triangles):  # one colour a face, not blended from corner to corner
        faces = np.repeat(patch[topology.triangles[:, 0]], 3)
        meshes.set_attribute(mesh, materials.PATCH_COLOR, "FLOAT_COLOR", materials.patch_colors(faces), "CORNER")
    else:
        meshes.set_attribute(mesh, materials.PATCH_COLOR, "FLOAT_COLOR", materials.patch_colors(patch))
    if topology.region is not None:
        meshes.set_attribute(mesh, materials.REGION, "INT", topology.region)
        meshes.set_material_indices(mesh, meshes.pieces(topology.triangles, len(patch)))
    meshes.set_attribute(mesh, NORMAL, "FLOAT_VECTOR", decoded.normals)
    _color(mesh, decoded)
    _place(obj, decoded)
    mesh.color_attributes.active_color = mesh.color_attributes[materials.PATCH_COLOR]


def _place(obj: Object, decoded: Decoded) -> None:
    meshes.set_positions(mesh_of(obj), decoded.points, decoded.normals if shown_normals(obj) == "DECODED" else None)


def _color(mesh: bpy.types.Mesh, decoded: Decoded) -> None:
    """Colours as a colour attribute; those of another garment go."""
    if decoded.colors is not None:
        meshes.set_attribute(mesh, materials.COLOR, "FLOAT_COLOR", materials.linear(decoded.colors))
    elif materials.COLOR in mesh.attributes:
        mesh.attributes.remove(mesh.attributes[materials.COLOR])


def put(obj: Object, decoded: Decoded) -> None:
    """Give clothes another shape. Raises AddonError."""
    if mesh_of(obj).users - mesh_of(obj).use_fake_user > 1:  # a linked duplicate: another rig's clothes have it too
        obj.data = mesh_of(obj).copy()
    if decoded.topology is not None:
        _build(obj, decoded.topology, decoded)
        return
    mesh = mesh_of(obj)
    if len(decoded.points) != len(mesh.vertices):
        raise AddonError(f"'{obj.name}' was edited or its garment has changed; generate it again.")
    if NORMAL in mesh.attributes:
        meshes.values_of(mesh, NORMAL).foreach_set("vector", decoded.normals.ravel())
    if decoded.colors is not None:
        _color(mesh, decoded)
    _place(obj, decoded)


def follow(obj: Object, depsgraph: Depsgraph, arrival: Arrival = Arrival.STAYED) -> None:
    """Bring clothes to their rig's pose. Raises AddonError and BackendError."""
    put(obj, present_request(obj, depsgraph, arrival).decode())
