"""A rig's bones at rest: where its joints are, which way it faces, how it differs from a T-pose."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from bpy.types import Object

from ..blender.objects import armature_of
from ..paths import body_file
from ..present import present
from . import axes, rest_pose
from .body_data import read_body
from .recognition import BODY_JOINTS, RigJoints, recognise

DIVIDED = ((3, 6, 9), (12, 15))  # joints with bones between them; those of hips and chest turn with these
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


@dataclass(frozen=True)
class Between:
    """A bone that is no joint of a body, between two that are: rigs may have more bones of the spine and the neck."""

    bone: str
    start: int  # the joint below it
    end: int  # the one above it, of whose turn it has a part
    fraction: float


@dataclass(frozen=True, eq=False)  # made once for a rest pose: what is computed of it is remembered for it
class Rest:
    """A rig at rest."""

    rig_joints: RigJoints
    joints: np.ndarray  # [22, 3] armature space; those without a bone where the body has them between others
    frame: RigFrame
    between: tuple[Between, ...] = ()

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
        turned = [places[0]]
        for joint in range(1, BODY_JOINTS):
            parent = parents[joint]
            turned.append(turned[parent] + self.turns[parent].T @ (places[joint] - places[parent]))
        return np.array(turned)

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
    between = _between(bones, rig_joints)
    names = [*(name for name in rig_joints.bones[:BODY_JOINTS] if name is not None), *(each.bone for each in between)]
    heads = [bones[name].matrix_local.translation for name in names]
    return _rest(rig_joints, np.array(heads, np.float64).tobytes(), between)  # Blender 5.0 would hand over float32


def _between(bones: Any, rig_joints: RigJoints) -> tuple[Between, ...]:
    """The deforming bones between those of neighbouring joints of the trunk, from below."""
    missing = []
    for chain in DIVIDED:
        there = [joint for joint in chain if rig_joints.bones[joint] is not None]
        for start, end in itertools.pairwise(there):
            inner, above = [], bones[rig_joints.bones[end]].parent
            while above is not None and above.name != rig_joints.bones[start]:
                inner.append(above)
                above = above.parent
            names = [] if above is None else [bone.name for bone in reversed(inner) if bone.use_deform]
            parts = len(names) + 1
            missing += [Between(name, start, end, (number + 1) / parts) for number, name in enumerate(names)]
    return tuple(missing)


@lru_cache(maxsize=64)
def _rest(rig_joints: RigJoints, heads: bytes, between: tuple[Between, ...]) -> Rest:
    body = _body_joints()
    there = [joint for joint in range(BODY_JOINTS) if rig_joints.bones[joint] is not None]
    joints, places = np.zeros((BODY_JOINTS, 3)), np.frombuffer(heads).reshape(-1, 3)
    joints[there], inner = places[: len(there)], places[len(there) :]
    for end in {each.end for each in between}:  # a turn about several is one about their middle
        parts = [place for place, each in zip(inner, between, strict=True) if each.end == end]
        joints[end] = np.mean([joints[end], *parts], 0)
    rotation, unit = axes.fit_frame(body, joints, there)
    frame = RigFrame(rotation, unit)
    size = leg_length(frame.from_armature(joints)) / leg_length(body) * unit
    joints = _with_missing(joints, there, rig_joints, body @ rotation.T * size)
    if not rig_joints.is_smpl:  # the bone of other rigs begins somewhere about the hips: the pelvis is told by these
        joints[0] = joints[[1, 2]].mean(0) + (body[0] - body[[1, 2]].mean(0)) @ rotation.T * size
    return Rest(rig_joints, joints, frame, between)


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
