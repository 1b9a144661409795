"""Hide the skin that clothes cover, so that it cannot show through where cloth and skin nearly touch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import bpy
import numpy as np
from bpy.types import Context, MaskModifier, Object
from mathutils.kdtree import KDTree

from scale_backend.formats.errors import UserError

from .. import messages
from ..blender.objects import mesh_of, new_modifier
from ..garments import library, opened
from ..rig import pose, recognition, shape
from ..rig.body_mesh import at_rest
from ..rig.rest import Rest, rest_of
from ..rig.wearer import skin_taken
from ..settings import clothes_settings
from . import request, selection

GROUP = "SCALE Covered Skin"
MODIFIER = "SCALE Covered Skin"
NEAR = 0.035  # metres from skin to cloth
CLOSED_RINGS = 1  # rings of vertices over which gaps in the cover are closed
RIM = 0.05  # metres of skin that stay visible inside hem, neck and sleeves
RIM_RINGS = 3  # the same in rings of vertices, for points, which do not know where they end


@dataclass(frozen=True)
class Cover:
    """Cloth at rest, in armature space, ready to be asked for distances."""

    cloth: KDTree
    border: KDTree | None  # vertices where the cloth ends; None: not known
    unit: float  # armature units in what is a metre for a body of the usual size


def body_meshes(target: Object, rest: Rest) -> list[Object]:
    """The meshes that are the character's body and may be masked: those that clothes are laid onto, and those that
    follow all of the body's joints.

    The vertex groups of a mesh that is linked from another file are that file's.
    """
    skin = skin_taken(target, rest)
    taken = () if skin is None else skin.meshes
    wanted = set(rest.rig_joints.bones[: recognition.BODY_JOINTS]) - {None}
    return [
        mesh
        for mesh in shape.meshes_of(target)
        if not clothes_settings(mesh).is_clothes
        and mesh.library is None
        and mesh_of(mesh).library is None
        and (mesh.name in taken or wanted <= set(mesh.vertex_groups.keys()))
    ]


def update(context: Context, obj: Object, entry: library.Entry, rest: Rest) -> None:
    """Find the skin under clothes at rest and mask it, if the clothes ask for it. Raises AddonError, BackendError."""
    settings = clothes_settings(obj)
    remove(obj)
    if not settings.hide_skin:
        return
    target = selection.wearer(obj)
    surface, part = entry.choose("MESH", settings.part)
    still = pose.pose_at_rest(rest)
    options = replace(request.options_of(obj), push_out=True)
    asked = request.request(target, rest, still, entry, surface, part, options)
    topology = opened.with_garment(entry, lambda garment: garment.topology(asked.options))
    cloth, triangles = asked.decode().points, topology.triangles
    border = _tree(cloth[border_vertices(triangles)]) if len(triangles) else None
    cover = Cover(_tree(cloth), border, rest.frame.unit * rest.size)
    for mesh in body_meshes(target, rest):
        if settings.part == "WHOLE_BODY":
            covered = np.ones(len(mesh_of(mesh).vertices), np.bool_)
        else:
            covered = covered_vertices(mesh, target, cover)
        _mask(mesh, covered)


def border_vertices(triangles: np.ndarray) -> np.ndarray:  # [T, 3] -> [B]
    """The ends of edges that have one triangle."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(edges[count == 1])


def _tree(points: np.ndarray) -> KDTree:  # [N, 3]
    tree = KDTree(len(points))
    for index, point in enumerate(points):
        tree.insert(point, index)
    tree.balance()
    return tree


def covered_vertices(mesh: Object, target: Object, cover: Cover) -> np.ndarray:  # [V] bool
    """Which vertices of a body at rest lie under cloth, but for a rim inside the cloth's borders."""
    points = at_rest(mesh)
    to_armature = np.array(target.matrix_world.inverted_safe() @ mesh.matrix_world)
    points = points @ to_armature[:3, :3].T + to_armature[:3, 3]
    covered = np.array([cover.cloth.find(point)[2] < NEAR * cover.unit for point in points])
    edges = np.empty((len(mesh_of(mesh).edges), 2), np.int32)
    mesh_of(mesh).edges.foreach_get("vertices", edges.ravel())
    for _ in range(CLOSED_RINGS):
        covered = _grown(covered, edges)
    for _ in range(CLOSED_RINGS + (RIM_RINGS if cover.border is None else 0)):
        covered = ~_grown(~covered, edges)
    if cover.border is not None:
        covered &= np.array([cover.border.find(point)[2] > RIM * cover.unit for point in points])
    return covered


def _grown(chosen: np.ndarray, edges: np.ndarray) -> np.ndarray:  # [V] bool, [E, 2] -> [V] bool
    """The chosen vertices and their neighbours."""
    grown = chosen.copy()
    grown[edges[chosen[edges[:, 1]], 0]] = True
    grown[edges[chosen[edges[:, 0]], 1]] = True
    return grown


def _mask(mesh: Object, covered: np.ndarray) -> None:
    if not covered.any():
        return
    group = mesh.vertex_groups.new(name=GROUP)
    group.add(np.flatnonzero(covered).tolist(), 1.0, "REPLACE")
    modifier = new_modifier(mesh, MODIFIER, MaskModifier)
    modifier.vertex_group = group.name
    modifier.invert_vertex_group = True
    modifier.show_expanded = False


def remove(obj: Object) -> None:
    """Show all skin of the character that wears the clothes."""
    target = clothes_settings(obj).rig
    if target is None:
        return
    for mesh in shape.meshes_of(target):
        if mesh.library is not None or mesh_of(mesh).library is not None:
            continue
        modifier, group = mesh.modifiers.get(MODIFIER), mesh.vertex_groups.get(GROUP)
        if modifier is not None:
            mesh.modifiers.remove(modifier)
        if group is not None:
            mesh.vertex_groups.remove(group)


def show(obj: Object, hidden: bool) -> None:
    """Switch the mask of clothes on or off."""
    settings = clothes_settings(obj)
    if not settings.is_clothes or not settings.garment:
        return
    if not hidden:
        remove(obj)
        return
    try:
        target = selection.wearer(obj)
        update(bpy.context, obj, library.entry(settings.garment), rest_of(target))
    except UserError as error:
        messages.show_error(str(error))
