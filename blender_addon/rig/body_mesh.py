"""The mesh of a character's own body: which one it is, and how it is at rest."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from bpy.types import Key, MaskModifier, Object

from ..blender import actions, meshes
from ..blender.objects import mesh_of, modifiers_of
from ..present import present
from ..settings import clothes_settings
from . import modifiers
from .recognition import BODY_JOINTS
from .rest import Rest
from .shape import meshes_of
from .skin_weights import joint_weights, with_all

FOLLOWED = 0.3  # of a vertex's weights: a mesh has skin on a joint that one of its vertices follows by this much
# what a body that can be dressed has skin on: hips, knees and shoulders, of some rigs the first joint of the spine
NEEDED = (1, 2, 4, 5, 16, 17)
HANGING = 0.5  # of a body's vertices hang on bones, or more
POSED_NAME = re.compile(r"(Pose|Exp)\d+")  # correctives and expressions of SMPL's add-ons
MORE = 2.0  # times the skin on a joint that a mesh must have to belong to the body beside others: clothes have less
MASKED = 0.5  # weight in a mask's group from which on a vertex stays


@dataclass(frozen=True, eq=False)
class Skin:
    """A character's body at rest, before its armature moves it. Armature space."""

    meshes: tuple[str, ...]  # its objects' names
    basis: np.ndarray  # [N, 3] all vertices of the mesh as it was modelled
    vertices: np.ndarray  # [V, 3] in the shape that its shape keys give, without what is masked
    triangles: np.ndarray  # [T, 3]
    weights: np.ndarray  # [V, 22] of the joints

    @property
    def names(self) -> str:
        """For sentences."""
        return ", ".join(f"'{name}'" for name in self.meshes)


def candidates(target: Object) -> list[Object]:
    """The meshes that may be a character's body: all that it moves but the clothes that this add-on makes."""
    return [mesh for mesh in meshes_of(target) if not clothes_settings(mesh).is_clothes and mesh_of(mesh).polygons]


def find_skin(target: Object, rest: Rest) -> Skin | None:
    """The body of a character: the mesh that its user has chosen, or the one with skin on most joints; of a body in
    several meshes, as head, torso and legs, those that add much skin to a joint."""
    offered = candidates(target)
    chosen = clothes_settings(target).body
    if chosen is not None and chosen in offered:
        return _read(target, [(chosen, _weights(chosen, target, rest))])
    parts = []
    for mesh in offered:
        weights = _weights(mesh, target, rest)
        if weights.any(1).mean() >= HANGING:
            has_skin = (weights > FOLLOWED).any(0)
            area = np.resize(_areas(mesh), len(weights))  # halves have the same
            parts.append((int(has_skin.sum()), float(area.sum()), mesh, weights, has_skin, area @ weights))
    parts.sort(key=lambda part: part[:2], reverse=True)
    for *_, mesh, weights, has_skin, _ in parts:
        if has_skin[list(NEEDED)].all():
            return _read(target, [(mesh, weights)])
    taken, covered, skin = [], np.zeros(BODY_JOINTS, bool), np.zeros(BODY_JOINTS)
    for *_, mesh, weights, has_skin, area in parts:
        if (area > MORE * skin).any():
            taken.append((mesh, weights))
            covered, skin = covered | has_skin, skin + area
    return _read(target, taken) if covered[list(NEEDED)].all() else None


def _areas(mesh: Object) -> np.ndarray:  # [V]
    """What of the faces round a vertex is its own."""
    found = np.zeros(len(mesh_of(mesh).vertices))
    for polygon in mesh_of(mesh).polygons:
        found[list(polygon.vertices)] += polygon.area / polygon.loop_total
    return found


def _weights(mesh: Object, target: Object, rest: Rest) -> np.ndarray:  # [V, 22] with its halves
    return modifiers.with_halves(modifiers.halves(mesh), joint_weights(mesh, target, rest))


def _read(target: Object, parts: list[tuple[Object, np.ndarray]]) -> Skin:
    """Meshes with their weights [V, 22] as one body."""
    skins = [_read_mesh(mesh, target, weights) for mesh, weights in parts]
    before = np.cumsum([0, *(len(skin.vertices) for skin in skins)])
    return Skin(
        tuple(name for skin in skins for name in skin.meshes),
        np.concatenate([skin.basis for skin in skins]),
        np.concatenate([skin.vertices for skin in skins]),
        np.concatenate([skin.triangles + start for skin, start in zip(skins, before, strict=False)]).astype(np.int32),
        np.concatenate([skin.weights for skin in skins]),
    )


def _read_mesh(mesh: Object, target: Object, weights: np.ndarray) -> Skin:  # [V, 22]
    to_armature = np.array(target.matrix_world.inverted_safe() @ mesh.matrix_world)

    def placed(points: np.ndarray, matrix: np.ndarray = to_armature) -> np.ndarray:
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    data, keys = mesh_of(mesh), mesh_of(mesh).shape_keys
    basis = meshes.get_positions(data) if keys is None else meshes.key_positions(keys.reference_key)
    modelled = modifiers.smoothed(mesh, at_rest(mesh))
    data.calc_loop_triangles()
    corners = np.empty((len(data.loop_triangles), 3), np.int32)
    data.loop_triangles.foreach_get("vertices", corners.ravel())
    corners = corners[_shown(mesh)[corners].all(1)]
    matrices = [to_armature, *(to_armature @ half.matrix for half in modifiers.halves(mesh))]
    vertices = np.concatenate([placed(modelled, matrix) for matrix in matrices])
    triangles = np.concatenate([
        (corners[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else corners) + number * len(modelled)
        for number, matrix in enumerate(matrices)
    ])  # fmt: skip
    used, compact = np.unique(triangles, return_inverse=True)
    weights = with_all(weights[used], vertices[used])
    return Skin((mesh.name,), placed(basis), vertices[used], compact.reshape(-1, 3).astype(np.int32), weights)


def key_values(keys: Key) -> np.ndarray:  # [K] float32
    """The values of shape keys as they are; 0 for those that are muted."""
    values, muted = np.empty(len(keys.key_blocks), np.float32), np.empty(len(keys.key_blocks), bool)
    keys.key_blocks.foreach_get("value", values)
    keys.key_blocks.foreach_get("mute", muted)
    return np.where(muted, np.float32(0), values)


def moving_keys(keys: Key) -> np.ndarray:  # [K] bool
    """Shape keys that are no part of the body itself, as they move with the pose or with time."""
    moving = _moving(keys)
    return np.array([block.name in moving or block == keys.reference_key for block in keys.key_blocks], bool)


def _moving(keys: Key) -> set[str]:
    """Names of the keys that an action moves or a driver that looks at bones; or by their names an SMPL add-on."""
    named = {block.name for block in keys.key_blocks if POSED_NAME.fullmatch(block.name)}
    data = keys.animation_data
    if data is None:
        return named
    curves = list(actions.curves_of(keys))
    for curve in data.drivers:
        targets = [target for variable in present(curve.driver).variables for target in variable.targets]
        if any(target.bone_target or "pose.bones" in target.data_path for target in targets):
            curves.append(curve)
    return named | {curve.data_path.split('"')[1] for curve in curves if curve.data_path.startswith('key_blocks["')}


def at_rest(mesh: Object) -> np.ndarray:  # [V, 3]
    """The vertices before any modifier, in the shape that its shape keys give the body itself."""
    keys = mesh_of(mesh).shape_keys
    if keys is None:
        return meshes.get_positions(mesh_of(mesh))
    points = meshes.key_positions(keys.reference_key)
    values = np.where(moving_keys(keys), 0, key_values(keys))
    for block, value in zip(keys.key_blocks, values, strict=True):
        if value:
            points = points + value * (meshes.key_positions(block) - meshes.key_positions(block.relative_key))
    return points


def _shown(mesh: Object) -> np.ndarray:  # [V] bool
    """Without what a mask leaves out for good, as helpers. What an inverted one hides is skin under clothes."""
    shown = np.ones(len(mesh_of(mesh).vertices), np.bool_)
    for modifier in modifiers_of(mesh, MaskModifier):
        if modifier.mode != "VERTEX_GROUP" or modifier.invert_vertex_group:
            continue
        group = mesh.vertex_groups.get(modifier.vertex_group)
        if group is None or not modifier.show_viewport:
            continue
        kept = [
            any(element.group == group.index and element.weight > MASKED for element in vertex.groups)
            for vertex in mesh_of(mesh).vertices
        ]
        if any(kept):
            shown &= np.array(kept)
    return shown
