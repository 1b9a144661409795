"""Read the pose of a rig from what its bones do to the body."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from bpy.types import Object

from .body_data import BodyData
from .recognition import BODY_JOINTS, RigJoints, recognise
from .rest import rest_frame, rest_joints, rest_turns


@dataclass(frozen=True)
class Pose:
    """One frame of a rig. SMPL's axes, metres."""

    rotations: np.ndarray  # [J, 3, 3] float32, local
    pelvis: np.ndarray  # [3] where the pelvis joint is

    def translation(self, rest_pelvis: np.ndarray) -> np.ndarray:  # [3] -> [3] float32, SMPL's `trans`
        return (self.pelvis - rest_pelvis).astype(np.float32)


def rest_pelvis(rig: Object, found: RigJoints, body: BodyData, shape: np.ndarray) -> np.ndarray:  # [3]
    """Where the body's pelvis is at rest, for the body that the rig's bones fit: SMPL's axes, metres.

    Shape keys change the body; some rigs move their bones along, others leave them with the mean body's joints.
    """
    if not shape.any():
        return body.joints[0]
    frame = rest_frame(rig, found)
    rest = rest_joints(rig, found)
    rest = rest @ frame.rotation / frame.unit
    fits = [body.joints, body.rest_joints(shape)]
    errors = [np.abs((joints - joints[0])[:BODY_JOINTS] - (rest - rest[0])).sum() for joints in fits]
    return fits[int(np.argmin(errors))][0]


def deformations(rig: Object, found: RigJoints) -> np.ndarray:  # [J, 4, 4]
    """What each bone does to the body, in armature space: rest to posed. A missing bone follows its parent."""
    posed, rest = _matrices(rig.pose.bones, "matrix", found), _matrices(rig.data.bones, "matrix_local", found)
    # bones at rest are turned and moved alone; numpy's inverse would wake threads that keep the backend's core busy
    back = np.zeros_like(rest)
    back[:, :3, :3] = rest[:, :3, :3].swapaxes(1, 2)
    back[:, :3, 3] = -(back[:, :3, :3] @ rest[:, :3, 3:])[..., 0]
    back[:, 3, 3] = 1
    return posed @ back


def _matrices(bones: bpy.types.bpy_prop_collection, which: str, found: RigJoints) -> np.ndarray:  # [J, 4, 4]
    """All at once: one by one, Blender's matrices take ten times as long to become arrays."""
    flat = np.empty(16 * len(bones), np.float32)
    bones.foreach_get(which, flat)
    numbers = {name: number for number, name in enumerate(bones.keys())}
    chosen: list[int] = []
    for name, parent in zip(found.bones, found.parents, strict=True):
        chosen.append(chosen[parent] if name is None else numbers[name])
    return flat.reshape(-1, 4, 4).swapaxes(1, 2)[chosen].astype(np.float64)  # Blender's lie column by column


def read_pose(rig: Object, depsgraph: bpy.types.Depsgraph, found: RigJoints | None = None) -> Pose:
    """The pose of a rig as it is evaluated: IK, constraints and drivers count, rotation modes do not matter."""
    found = found or recognise(rig)
    frame = rest_frame(rig, found)
    evaluated = rig.evaluated_get(depsgraph)
    moved = deformations(evaluated, found)
    # the nearest rotation: bones may be scaled or sheared
    left, _, right = np.linalg.svd(moved[:, :3, :3])
    left[..., 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    turned = frame.rotation.T @ (left @ right) @ frame.rotation @ rest_turns(rig, found)  # in SMPL's axes
    head = np.array(evaluated.pose.bones[found.bones[0]].matrix.translation)
    return Pose(_local(turned, found), head @ frame.rotation / frame.unit)


def pose_at_rest(rig: Object, found: RigJoints) -> Pose:
    """The pose of a rig whose bones are at rest."""
    frame = rest_frame(rig, found)
    return Pose(_local(rest_turns(rig, found), found), rest_joints(rig, found)[0] @ frame.rotation / frame.unit)


def _local(turned: np.ndarray, found: RigJoints) -> np.ndarray:  # [J, 3, 3] -> [J, 3, 3] float32
    """What each joint adds to its parent's rotation."""
    local = turned.copy()
    local[1:] = np.swapaxes(turned[list(found.parents[1:])], -1, -2) @ turned[1:]
    return local.astype(np.float32)
