"""Which of a body's joints the skin of a mesh follows, whatever bones its rig has."""

from __future__ import annotations

import numpy as np
from bpy.types import Bone, Object
from mathutils.kdtree import KDTree

from scale_backend.formats.wearer import JOINT_COUNT

from ..blender.objects import armature_of, mesh_of
from .rest import Rest

Shares = tuple[tuple[int, float], ...]  # joints, and how much each counts

LEAST = 1e-3  # of a vertex's weights together: with less it hangs on no bone


def joints_of_bones(target: Object, rest: Rest) -> dict[str, Shares]:
    """The joints, below 22, that each bone moves with: its own, or those of the nearest bone above that has any.

    A bone between two joints moves with both. What hangs on none, as a deforming bone beside its controls may, goes
    with the joint that is nearest to it.
    """
    parents = rest.rig_joints.parents
    own: dict[str, Shares] = {each.bone: ((each.start, 1 - each.fraction), (each.end, each.fraction))
                              for each in rest.between}  # fmt: skip
    for number, name in enumerate(rest.rig_joints.bones):
        joint = number
        while joint >= JOINT_COUNT:  # fingers and faces
            joint = parents[joint]
        if name is not None:
            own.setdefault(name, ((joint, 1.0),))
    shares = {}
    for bone in armature_of(target).bones:
        above: Bone | None = bone
        while above is not None and above.name not in own:
            above = above.parent
        if above is not None:
            shares[bone.name] = own[above.name]
        else:
            middle = np.array((bone.head_local + bone.tail_local) / 2)
            shares[bone.name] = ((int(np.linalg.norm(rest.joints - middle, axis=1).argmin()), 1.0),)
    return shares


def joint_weights(mesh: Object, target: Object, rest: Rest) -> np.ndarray:  # [V, 22], rows of sum 1 or 0
    """How much each vertex follows each joint: its vertex groups, those of deforming bones alone."""
    joints_of = joints_of_bones(target, rest)
    deforming = {bone.name for bone in armature_of(target).bones if bone.use_deform}
    groups = {group.index: joints_of[group.name] for group in mesh.vertex_groups if group.name in deforming}
    weights = np.zeros((len(mesh_of(mesh).vertices), JOINT_COUNT), np.float32)
    if groups:
        elements = [
            (number, joint, share * element.weight)
            for number, vertex in enumerate(mesh_of(mesh).vertices)
            for element in vertex.groups
            if element.group in groups
            for joint, share in groups[element.group]
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
