"""A rig's bones at rest: where its joints are, which way it faces, how it differs from a T-pose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from bpy.types import Object

from ..blender.objects import armature_of
from ..paths import body_file
from ..present import present
from . import axes, rest_pose
from .body_data import read_body
from .recognition import BODY_JOINTS, RigJoints, recognise

LEGS = ((1, 4), (4, 7), (2, 5), (5, 8))  # thighs and shins, from joint to joint


@dataclass(frozen=True)
class RigFrame:
    """How the rig's armature space lies about SMPL's axes."""

    rotation: np.ndarray  # [3, 3] from SMPL's axes to the armature's
    unit: float  # armature units in a metre: 100 for rigs in centimetres

    def to_armature(self, vectors: np.ndarray) -> np.ndarray:  # points [..., 3], metres
        return axes.change(vectors, self.rotation, self.unit)

    def turn_to_armature(self, vectors: np.ndarray) -> np.ndarray:  # directions [..., 3]
        return axes.change(vectors, self.rotation)

    def from_armature(self, points: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3] SMPL's axes, metres
        return points @ self.rotation / self.unit


@dataclass(frozen=True, eq=False)  # made once for a rest pose: what is computed of it is remembered for it
class Rest:
    """A rig at rest."""

    rig_joints: RigJoints
    joints: np.ndarray  # [22, 3] armature space; those without a bone where the body has them between others
    frame: RigFrame

    @property
    def places(self) -> np.ndarray:  # [22, 3] SMPL's axes, metres
        return self.frame.from_armature(self.joints)

    @cached_property
    def turns(self) -> np.ndarray:  # [J, 3, 3] SMPL's axes
        """The rotation of each joint from the T-pose to the rig's rest; identities where that is a T-pose."""
        known = self.rig_joints
        return rest_pose.turns(_body_joints(), self.places, known.parents, known.is_smpl)

    @cached_property
    def in_t_pose(self) -> np.ndarray:  # [22, 3] SMPL's axes, metres
        """The joints with the limbs turned as those of a T-pose."""
        places, parents = self.places, self.rig_joints.parents
        found = [places[0]]
        for joint in range(1, BODY_JOINTS):
            parent = parents[joint]
            found.append(found[parent] + self.turns[parent].T @ (places[joint] - places[parent]))
        return np.array(found)

    @cached_property
    def size(self) -> float:
        """The length of the legs against those of the body: how much further a step takes this rig."""
        return leg_length(self.places) / leg_length(_body_joints())


def rest_of(rig: Object | None) -> Rest:
    """The rest pose of a rig as it is now. Raises RigError.

    Asked for in every live frame: the one place that reads the bones at rest.
    """
    rig_joints = recognise(rig)
    bones = armature_of(present(rig)).bones
    heads = [bones[name].matrix_local.translation for name in rig_joints.bones[:BODY_JOINTS] if name is not None]
    return _rest(rig_joints, np.array(heads, np.float64).tobytes())  # Blender 5.0 would hand over float32


@lru_cache(maxsize=64)
def _rest(rig_joints: RigJoints, heads: bytes) -> Rest:
    body = _body_joints()
    there = [joint for joint in range(BODY_JOINTS) if rig_joints.bones[joint] is not None]
    joints = np.zeros((BODY_JOINTS, 3))
    joints[there] = np.frombuffer(heads).reshape(-1, 3)
    rotation, unit = axes.fit_frame(body, joints, there)
    frame = RigFrame(rotation, unit)
    size = leg_length(frame.from_armature(joints)) / leg_length(body) * unit
    joints = _with_missing(joints, there, rig_joints, body @ rotation.T * size)
    if not rig_joints.is_smpl:  # the bone of other rigs begins somewhere about the hips: the pelvis is told by these
        joints[0] = joints[[1, 2]].mean(0) + (body[0] - body[[1, 2]].mean(0)) @ rotation.T * size
    return Rest(rig_joints, joints, frame)


def _with_missing(
    joints: np.ndarray,  # [22, 3]
    there: list[int],  # joints that have a bone
    rig_joints: RigJoints,
    body: np.ndarray,  # [22, 3] the body's joints in the rig's axes and size
) -> np.ndarray:  # [22, 3]
    """Joints without a bone where the body has them: after their parents, or between two that are there."""
    joints = joints.copy()
    between = {joint: (start, end, fraction) for joint, start, end, fraction in rig_joints.between}
    for joint in range(BODY_JOINTS):
        if joint in there:
            continue
        parent = rig_joints.parents[joint]
        start, end, fraction = between.get(joint, (parent, parent, 0.0))
        astray = (joints[end] - body[end]) - (joints[start] - body[start])
        joints[joint] = joints[start] + body[joint] - body[start] + fraction * astray
    return joints


def leg_length(places: np.ndarray) -> float:  # [22.., 3] ->
    """The mean length of thigh and shin together."""
    return float(sum(np.linalg.norm(places[end] - places[start]) for start, end in LEGS)) / 2


def _body_joints() -> np.ndarray:  # [22, 3]
    return read_body(body_file("neutral")).joints[:BODY_JOINTS]
