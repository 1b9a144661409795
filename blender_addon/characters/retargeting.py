"""A motion of SMPL's joints as what it does to the bones of a rig, whatever that rests in. numpy only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scale_backend.formats.motion import Motion, matrices_from_axis_angle
from scale_backend.formats.motions.axes import to_y_up

from ..rig.recognition import BODY_JOINTS, hand_parents
from ..rig.rest import Rest
from ..rig.rest_pose import between


@dataclass(frozen=True)
class RigMotion:
    """What is to become of a rig's joints, F frames. Armature space and units."""

    turned: dict[int, np.ndarray]  # joint of the rig: [F, 3, 3] rotation from rest; after them bones between joints
    pelvis: np.ndarray  # [F, 3] where the pelvis is

    def places(self, rest: Rest) -> np.ndarray:  # [F, 22, 3]
        """Where the joints of the body come to be."""
        places = [self.pelvis]
        for joint in range(1, BODY_JOINTS):
            parent = rest.rig_joints.parents[joint]
            places.append(places[parent] + self.turned[parent] @ (rest.joints[joint] - rest.joints[parent]))
        return np.stack(places, 1)

    def moved(self, offset: np.ndarray) -> RigMotion:  # [3]
        return replace(self, pelvis=self.pelvis + offset)


def retarget(
    rest: Rest,
    motion: Motion,
    rest_pelvis: np.ndarray,  # [3] of the body that moves: SMPL's axes, metres
) -> RigMotion:
    """Give each joint of a rig the rotation that the motion gives it, from the rig's own rest.

    A joint's rotation as a whole is what counts: where a rig lacks a bone, the next one makes up for it. Travel is
    scaled by the length of the legs, unless the rig is SMPL's own.
    """
    names, rig_joints = motion.joint_names, rest.rig_joints
    whole = _whole(matrices_from_axis_angle(motion.rotations), _parents(names))
    world = rest.frame.rotation @ to_y_up(motion.up_axis)  # the root turns the body into the file's world
    to_rest = np.swapaxes(rest.turns, 1, 2) @ rest.frame.rotation.T  # [J, 3, 3]
    turned = {}
    for joint, name in enumerate(rig_joints.joint_names):
        if name in names:
            turned[joint] = world @ whole[:, names.index(name)] @ to_rest[joint]

    def part(start: int, end: int, fraction: float) -> np.ndarray:  # [F, 3, 3]
        return np.stack([between(a, b, fraction) for a, b in zip(turned[start], turned[end], strict=True)])

    for joint, start, end, fraction in rig_joints.between:
        turned[joint] = part(start, end, fraction)
    for joint in range(BODY_JOINTS):
        if rig_joints.bones[joint] is None and joint not in {each[0] for each in rig_joints.between}:
            turned[joint] = turned[rig_joints.parents[joint]]
    for number, bone in enumerate(rest.between, len(rig_joints.bones)):
        turned[number] = part(bone.start, bone.end, bone.fraction)
    size = rest.frame.unit * (1.0 if rig_joints.is_smpl else rest.size)
    return RigMotion(turned, (motion.translation + rest_pelvis) @ world.T * size)


def _whole(local: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:  # [F, J, 3, 3] -> [F, J, 3, 3]
    """Rotations from the T-pose in the file's world, root and all."""
    whole = local.copy()
    for joint, parent in list(enumerate(parents))[1:]:
        whole[:, joint] = whole[:, parent] @ local[:, joint]
    return whole


def _parents(names: tuple[str, ...]) -> tuple[int, ...]:
    """The tree of a motion's joints; one of the body alone has the body's."""
    return hand_parents(24)[:BODY_JOINTS] if len(names) == BODY_JOINTS else hand_parents(len(names))
