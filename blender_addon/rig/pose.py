"""Read the pose of a rig from what its bones do to the body."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from bpy.types import Object

from ..blender.objects import armature_of
from ..present import present
from .body_data import BodyData
from .recognition import BODY_JOINTS, RigJoints
from .rest import Rest
from .rest_pose import between


@dataclass(frozen=True)
class Pose:
    """One frame of a rig. SMPL's axes, metres."""

    rotations: np.ndarray  # [J, 3, 3] float32, local
    pelvis: np.ndarray  # [3] where the pelvis joint is

    def translation(self, rest_pelvis: np.ndarray) -> np.ndarray:  # [3] -> [3] float32, SMPL's `trans`
        return (self.pelvis - rest_pelvis).astype(np.float32)


def rest_pelvis(rest: Rest, body: BodyData, shape: np.ndarray) -> np.ndarray:  # [3]
    """Where the body's pelvis is at rest, for the body that the rig's bones fit: SMPL's axes, metres.

    Shape keys change the body; some rigs move their bones along, others leave them with the mean body's joints.
    """
    if not shape.any():
        return body.joints[0]
    places = rest.places - rest.places[0]
    fits = [body.joints, body.rest_joints(shape)]
    errors = [np.abs((joints - joints[0])[:BODY_JOINTS] - places).sum() for joints in fits]
    return fits[int(np.argmin(errors))][0]


def deformations(rig: Object, rig_joints: RigJoints) -> np.ndarray:  # [J, 4, 4]
    """What each bone does to the body, in armature space: rest to posed. A missing bone follows its parent."""
    names = _turning_bones(rig, rig_joints)
    posed, rest = (
        _matrices(present(rig.pose).bones, "matrix", names, rig_joints),
        _matrices(armature_of(rig).bones, "matrix_local", names, rig_joints),
    )
    # bones at rest are turned and moved alone; numpy's inverse would wake threads that keep the backend's core busy
    back = np.zeros_like(rest)
    back[:, :3, :3] = rest[:, :3, :3].swapaxes(1, 2)
    back[:, :3, 3] = -(back[:, :3, :3] @ rest[:, :3, 3:])[..., 0]
    back[:, 3, 3] = 1
    return posed @ back


def _turning_bones(rig: Object, rig_joints: RigJoints) -> list[str | None]:  # J
    """The bones that turn as the joints do. Of a limb whose twist is shared out along it, the deforming bone at its
    beginning has none: there it is the bone below with all of it, or the one beside that the deforming bone is held by.
    """
    names, bones = list(rig_joints.bones), present(rig.pose).bones
    for joint, turned in rig_joints.turned:
        own = bones[names[joint] or turned]
        if own in bones[turned].parent_recursive or any(not c.mute and c.influence > 0 for c in own.constraints):
            names[joint] = turned
    return names


def untwisted(rig: Object, rig_joints: RigJoints) -> tuple[int, ...]:
    """Joints whose own bones, and the skin that hangs on these, do not twist as the joints do."""
    turning = zip(_turning_bones(rig, rig_joints), rig_joints.bones, strict=True)
    return tuple(joint for joint, (name, own) in enumerate(turning) if name != own)


def _matrices(
    bones: bpy.types.bpy_prop_collection, which: str, names: list[str | None], rig_joints: RigJoints
) -> np.ndarray:  # [J, 4, 4]
    """All at once: one by one, Blender's matrices take ten times as long to become arrays."""
    flat = np.empty(16 * len(bones), np.float32)
    bones.foreach_get(which, flat)
    numbers = {name: number for number, name in enumerate(bones.keys())}
    chosen: list[int] = []
    for name, parent in zip(names, rig_joints.parents, strict=True):
        chosen.append(chosen[parent] if name is None else numbers[name])
    return flat.reshape(-1, 4, 4).swapaxes(1, 2)[chosen].astype(np.float64)  # Blender's lie column by column


def read_pose(rig: Object, depsgraph: bpy.types.Depsgraph, rest: Rest) -> Pose:
    """The pose of a rig as it is evaluated: IK, constraints and drivers count, rotation modes do not matter."""
    frame = rest.frame
    moved = deformations(rig.evaluated_get(depsgraph), rest.rig_joints)
    # the nearest rotation: bones may be scaled or sheared
    left, _, right = np.linalg.svd(moved[:, :3, :3])
    left[..., 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    turned = frame.rotation.T @ (left @ right) @ frame.rotation @ rest.turns  # in SMPL's axes
    pelvis = moved[0, :3, :3] @ rest.joints[0] + moved[0, :3, 3]
    return Pose(_local(turned, rest.rig_joints), frame.from_armature(pelvis))


def pose_at_rest(rest: Rest) -> Pose:
    """The pose of a rig whose bones are at rest."""
    return Pose(_local(rest.turns, rest.rig_joints), rest.places[0])


def _local(turned: np.ndarray, rig_joints: RigJoints) -> np.ndarray:  # [J, 3, 3] -> [J, 3, 3] float32
    """What each joint adds to its parent's rotation; joints without a bone lie between others or add nothing."""
    if rig_joints.between:
        turned = turned.copy()
        for joint, start, end, fraction in rig_joints.between:
            turned[joint] = between(turned[start], turned[end], fraction)
    local = turned.copy()
    local[1:] = np.swapaxes(turned[list(rig_joints.parents[1:])], -1, -2) @ turned[1:]
    return local.astype(np.float32)
