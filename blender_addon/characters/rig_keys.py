"""Keyframes on a rig's bones that bring its joints where a motion wants them."""

from __future__ import annotations

from typing import Any

import numpy as np
from bpy.types import Object, PoseBone
from mathutils import Matrix

from scale_backend.formats.motion import quaternions_from_matrices

from ..blender import actions
from ..messages import AddonError
from ..present import present
from ..rig.rest import Rest
from .controls import Steered
from .retargeting import RigMotion


def free(target: Object, rest: Rest, moved: RigMotion) -> int:
    """Let the keyed bones alone say where the character is; returns how many constraints were switched off.

    What another motion left on bones above them would be added. Constraints that a rig's own controls hold the bones
    by would win over keyframes, and limits would cut them off; constraints to other objects stay. Raises AddonError.
    """
    keyed = _keyed(target, rest, moved)
    pelvis = keyed[0]
    if pelvis.parent is not None and pelvis.bone.use_connect:
        raise AddonError(
            f"The bone '{pelvis.name}' of '{target.name}' is connected to its parent and cannot travel; "
            "switch off Connected in Edit Mode (Bone > Relations)."
        )
    names = {bone.name for bone in keyed.values()}
    above = {parent.name: parent for bone in keyed.values() for parent in bone.parent_recursive}
    for name, bone in above.items():
        if name not in names:
            bone.matrix_basis = Matrix.Identity(4)
    count = 0
    for bone in {**above, **{bone.name: bone for bone in keyed.values()}}.values():
        for constraint in bone.constraints:
            own = getattr(constraint, "target", None) == target or any(
                each.target == target for each in getattr(constraint, "targets", ())
            )
            if not constraint.mute and (own or constraint.type.startswith("LIMIT_")):
                constraint.mute = True
                count += 1
    return count


def bones_of(target: Object, rest: Rest, moved: RigMotion) -> tuple[tuple[Steered, ...], np.ndarray]:
    """The rig's own bones as what is to be keyed, and where the head of the first one is to be [F, 3]."""
    keyed = _keyed(target, rest, moved)
    joints = {bone.name: joint for joint, bone in keyed.items()}
    at_rest = np.array(keyed[0].bone.head_local)
    head = moved.pelvis + moved.turned[0] @ (at_rest - rest.joints[0])
    return tuple(Steered(bone.name, joint, _above(bone, joints)) for joint, bone in keyed.items()), head


def key(
    target: Object, steered: tuple[Steered, ...], head: np.ndarray, moved: RigMotion, fcurves: Any, start: int
) -> None:
    """Key bones, from a frame on. The first one travels: head [F, 3], armature space."""
    times = np.arange(len(head)) + start
    for number, (name, joint, above) in enumerate((each.bone, each.joint, each.above) for each in steered):
        bone = present(target.pose).bones[name]
        bone.rotation_mode = "QUATERNION"
        at_rest = np.array(bone.bone.matrix_local)
        turned = moved.turned[joint]
        local = turned if above is None else np.swapaxes(moved.turned[above], 1, 2) @ turned
        rotation = at_rest[:3, :3].T @ local @ at_rest[:3, :3]
        path = bone.path_from_id("rotation_quaternion")
        actions.add_curves(fcurves, path, times, _continuous(quaternions_from_matrices(rotation)))
        if number == 0:
            location = (head - at_rest[:3, 3]) @ at_rest[:3, :3]
            actions.add_curves(fcurves, bone.path_from_id("location"), times, location)


def _keyed(target: Object, rest: Rest, moved: RigMotion) -> dict[int, PoseBone]:
    """The bones of the joints that move, by joint."""
    bones, names = present(target.pose).bones, (*rest.rig_joints.bones, *(each.bone for each in rest.between))
    named = ((joint, names[joint]) for joint in sorted(moved.turned))
    return {joint: bones[name] for joint, name in named if name is not None}


def _above(bone: PoseBone, joints: dict[str, int]) -> int | None:
    """The joint of the nearest keyed bone that turns this one along; those between are at rest."""
    while bone.parent is not None and bone.bone.use_inherit_rotation:
        bone = bone.parent
        if bone.name in joints:
            return joints[bone.name]
    return None


def _continuous(quaternions: np.ndarray) -> np.ndarray:  # [F, 4]
    """q and -q are the same rotation: take the one near the frame before, so that curves do not jump."""
    flips = np.sign((quaternions[1:] * quaternions[:-1]).sum(-1))
    signs = np.concatenate([[1.0], np.cumprod(np.where(flips == 0, 1.0, flips))])
    return quaternions * signs[:, None]
