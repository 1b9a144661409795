"""A rig's bones at rest: where its joints are, which way it faces, how it differs from a T-pose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from bpy.types import Object

from ..paths import body_file
from . import axes, rest_pose
from .body_data import read_body
from .recognition import BODY_JOINTS, RigJoints


@dataclass(frozen=True)
class RigFrame:
    """How the rig's armature space lies about SMPL's axes."""

    rotation: np.ndarray  # [3, 3] from SMPL's axes to the armature's
    unit: float  # armature units in a metre: 100 for rigs in centimetres

    def to_armature(self, vectors: np.ndarray) -> np.ndarray:  # points [..., 3], metres
        return axes.change(vectors, self.rotation, self.unit)

    def turn_to_armature(self, vectors: np.ndarray) -> np.ndarray:  # directions [..., 3]
        return axes.change(vectors, self.rotation)


def rest_joints(rig: Object, found: RigJoints) -> np.ndarray:  # [22, 3] armature space
    """The heads of the bones of the body's joints at rest."""
    bones = rig.data.bones
    # Blender 5.0 would hand over float32
    return np.array([bones[name].matrix_local.translation for name in found.bones[:BODY_JOINTS]], np.float64)


def rest_frame(rig: Object, found: RigJoints) -> RigFrame:
    """Axes and units of the armature space, from the bones at rest."""
    return fitted_frame(rest_joints(rig, found).tobytes())


@lru_cache(maxsize=64)
def fitted_frame(rest: bytes) -> RigFrame:
    """Live update asks for every frame; the bones at rest seldom change."""
    body = read_body(body_file("neutral"))
    return RigFrame(*axes.fit_frame(body.joints, np.frombuffer(rest).reshape(-1, 3)))


def rest_turns(rig: Object, found: RigJoints) -> np.ndarray:  # [J, 3, 3] SMPL's axes
    """The rotation of each joint from the T-pose to the rig's rest; identities where that is a T-pose."""
    return fitted_turns(rest_joints(rig, found).tobytes(), found.parents)


@lru_cache(maxsize=64)
def fitted_turns(rest: bytes, parents: tuple[int, ...]) -> np.ndarray:
    body = read_body(body_file("neutral"))
    places = np.frombuffer(rest).reshape(-1, 3) @ fitted_frame(rest).rotation
    return rest_pose.turns(body.joints, places, parents)
