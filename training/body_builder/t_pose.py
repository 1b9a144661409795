"""From MakeHuman's A-pose to SMPL's T-pose, by undoing the blend weights.

The T-pose is the one whose linear blend skinning gives the A-pose: so the arms' skin at the shoulder is what the
weights want, not stretched twice. The forearm is untwisted first, by exact rotations, until the palm faces down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.body_builder.makehuman import Array, Index, MakeHuman
from training.body_builder.skeleton import JOINTS, MIRRORED, PARENTS, bone_start, joint_starts

MIRROR = np.array([-1.0, 1.0, 1.0])
COLLAR_LIFT = np.radians(6)
# Where the left side's bones point in the rest pose: arms a little down, back and up again, legs a little apart.
UPPER_ARM, FOREARM, HAND = np.array([1, -0.03, -0.02]), np.array([1, 0.02, 0]), np.array([1.0, 0, 0])
LEG = np.array([0.035, -1, -0.03])


@dataclass(frozen=True)
class SkinnedMesh:
    """The ordered skin of the base mesh, and what moves it."""

    order: Index  # [V] vertices of the base mesh
    mirror: Index  # [V]
    weights: Array  # [V, J]
    twist: Array  # [V] how far a vertex turns with the hand about the forearm
    starts: Array  # [J, N] joints from the base mesh
    knuckles: Array  # [N] from the left little finger's knuckle to the index finger's


def left_knuckles(human: MakeHuman) -> Array:  # [N]
    return bone_start(human, "finger2-1.L") - bone_start(human, "finger5-1.L")


def skinned_mesh(human: MakeHuman, order: Index, mirror: Index, weights: Array, twist: Array) -> SkinnedMesh:
    return SkinnedMesh(order, mirror, weights, twist, joint_starts(human), left_knuckles(human))


def to_t_pose(mesh: SkinnedMesh, base: Array) -> tuple[Array, Array]:  # [N, 3] -> skin [V, 3], joints [J, 3]
    """Skin and joints of a base mesh in A-pose, made symmetric and put in T-pose."""
    skin, joints = base[mesh.order], mesh.starts @ base
    skin = (skin + skin[mesh.mirror] * MIRROR) / 2
    joints = (joints + joints[MIRRORED] * MIRROR) / 2
    rotations = _untwist_and_aim(mesh, skin, joints, mesh.knuckles @ base)
    straight = joints.copy()
    for joint, parent in enumerate(PARENTS[1:], 1):
        straight[joint] = straight[parent] + rotations[parent] @ (joints[joint] - joints[parent])
    forth = np.tile(np.eye(4), (len(joints), 1, 1))  # A-pose to T-pose
    forth[:, :3, :3] = rotations
    forth[:, :3, 3] = straight - np.einsum("jab,jb->ja", rotations, joints)
    blended = np.linalg.inv(np.einsum("vj,jab->vab", mesh.weights, np.linalg.inv(forth)))
    skin = np.einsum("vab,vb->va", blended[:, :3, :3], skin) + blended[:, :3, 3]
    skin = (skin + skin[mesh.mirror] * MIRROR) / 2
    return skin, (straight + straight[MIRRORED] * MIRROR) / 2


def _untwist_and_aim(mesh: SkinnedMesh, skin: Array, joints: Array, knuckles: Array) -> Array:  # [J, 3, 3]
    """World rotations from A-pose to T-pose; untwists the forearms of `skin` and `joints` in place."""
    shoulder, elbow, wrist, hand = (joints[JOINTS[f"left_{name}"]] for name in ("shoulder", "elbow", "wrist", "hand"))
    upper = rotation_between(elbow - shoulder, UPPER_ARM)
    lower = rotation_between(upper @ (wrist - elbow), FOREARM) @ upper
    palm = rotation_between(lower @ (hand - wrist), HAND) @ lower
    across = palm @ knuckles
    angle = np.arctan2(across[1], across[2])
    forearm = (wrist - elbow) / np.linalg.norm(wrist - elbow)
    hand = wrist + rotation_about(forearm, angle) @ (hand - wrist)
    palm = rotation_between(lower @ (hand - wrist), HAND) @ lower
    hip, ankle = joints[JOINTS["left_hip"]], joints[JOINTS["left_ankle"]]
    leg = rotation_between(ankle - hip, LEG)
    turns = {"collar": rotation_about(np.array([0.0, 0, 1]), COLLAR_LIFT), "shoulder": upper, "elbow": lower,
             "wrist": palm, "hand": palm, "hip": leg, "knee": leg}  # fmt: skip
    rotations = np.tile(np.eye(3), (len(joints), 1, 1))
    for name, rotation in turns.items():
        rotations[JOINTS[f"left_{name}"]] = rotation
        rotations[JOINTS[f"right_{name}"]] = rotation * np.outer(MIRROR, MIRROR)
    joints[JOINTS["left_hand"]], joints[JOINTS["right_hand"]] = hand, hand * MIRROR
    left = np.flatnonzero((mesh.twist > 0) & (skin[:, 0] > 0))
    skin[left] = wrist + _turned(skin[left] - wrist, forearm, angle * mesh.twist[left])
    skin[mesh.mirror[left]] = skin[left] * MIRROR
    return rotations


def cross_matrix(axis: Array) -> Array:
    x, y, z = axis
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def rotation_between(start: Array, end: Array) -> Array:
    """The shortest rotation that takes one direction to another."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    cross = cross_matrix(np.cross(start, end))
    return np.eye(3) + cross + cross @ cross / (1 + start @ end)


def rotation_about(axis: Array, angle: float) -> Array:
    """Rodrigues' formula; the axis has length 1."""
    cross = cross_matrix(axis)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _turned(points: Array, axis: Array, angles: Array) -> Array:  # [M, 3], [3], [M]
    cross = cross_matrix(axis)
    sine, versine = np.sin(angles)[:, None], (1 - np.cos(angles))[:, None]
    return points + sine * (points @ cross.T) + versine * (points @ (cross @ cross).T)
