"""Which of a body's joints the skin of a mesh follows, whatever bones its rig has."""

from __future__ import annotations

import numpy as np
from bpy.types import Bone, Object
from mathutils.kdtree import KDTree

from scale_backend.formats.wearer import JOINT_COUNT

from ..blender.objects import armature_of, mesh_of
from .rest import Rest

LEAST = 1e-3  # of a vertex's weights together: with less it hangs on no bone


def joint_of_bone(target: Object, rest: Rest) -> dict[str, int]:
    """The joint, below 22, that each bone moves with: its own, or that of the nearest bone above that has one.

    What hangs on none, as a deforming bone beside its controls may, goes with the joint that is nearest to it.
    """
    parents = rest.rig_joints.parents
    own: dict[str, int] = {}
    for number, name in enumerate(rest.rig_joints.bones):
        joint = number
        while joint >= JOINT_COUNT:  # fingers and faces
            joint = parents[joint]
        if name is not None:
            own.setdefault(name, joint)
    found = {}
    for bone in armature_of(target).bones:
        above: Bone | None = bone
        while above is not None and above.name not in own:
            above = above.parent
        if above is not None:
            found[bone.name] = own[above.name]
        else:
            middle = np.array((bone.head_local + bone.tail_local) / 2)
            found[bone.name] = int(np.linalg.norm(rest.joints - middle, axis=1).argmin())
    return found


def joint_weights(mesh: Object, target: Object, rest: Rest) -> np.ndarray:  # [V, 22], rows of sum 1 or 0
    """How much each vertex follows each joint: its vertex groups, those of deforming bones alone."""
    joint_of = joint_of_bone(target, rest)
    deforming = {bone.name for bone in armature_of(target).bones if bone.use_deform}
    groups = {group.index: joint_of[group.name] for group in mesh.vertex_groups if group.name in deforming}
    weights = np.zeros((len(mesh_of(mesh).vertices), JOINT_COUNT), np.float32)
    if groups:
        elements = [
            (number, groups[element.group], element.weight)
            for number, vertex in enumerate(mesh_of(mesh).vertices)
            for element in vertex.groups
            if element.group in groups
        ]
        if elements:
            rows, joints, values = zip(*elements, strict=True)
            np.add.at(weights, (np.array(rows), np.array(joints)), np.array(values, np.float32))
    total = weights.sum(1, keepdims=True)
    return np.where(total > LEAST, weights / np.maximum(total, LEAST), 0).astype(np.float32)


def with_all(weights: np.ndarray, vertices: np.ndarray) -> np.ndarray:  # [V, J], [V, 3] -> [V, J]
    """Vertices without a weight follow what the nearest one with weights follows."""
    has = weights.any(1)
    if has.all() or not has.any():
        return weights
    tree = KDTree(int(has.sum()))
    for number in np.flatnonzero(has):
        tree.insert(vertices[number], int(number))
    tree.balance()
    weights = weights.copy()
    for number in np.flatnonzero(~has):
        weights[number] = weights[tree.find(vertices[number])[1]]
    return weights
