"""Put a motion of SMPL's family on a rig as keyframes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bpy.types import Object, Scene
from mathutils import Matrix

from scale_backend.formats.joints import FINGERS
from scale_backend.formats.motion import (
    Motion,
    matrices_from_axis_angle,
    quaternions_from_matrices,
    resample,
)
from scale_backend.formats.motions import load_motion
from scale_backend.formats.motions.axes import to_y_up

from ..blender import actions
from ..messages import AddonError
from ..paths import asset_folder, body_file
from ..rig import pose, recognition, shape
from ..rig.body_data import read_body
from ..rig.rest import RigFrame, rest_frame, rest_turns
from . import body_shapes

FEET = (7, 8, 10, 11)
STILL = 1e-3  # radians: a joint that turns less is at rest
GROUND_SHARE = 2.0  # percent of the frames that may be below the ground: noise in captured motions


@dataclass(frozen=True)
class MotionSettings:
    start: int = 1  # frame of the first pose
    on_floor: bool = True  # move the motion up or down until the lowest foot stands where the rig's feet stand
    set_range: bool = True  # make the scene as long as the motion
    up_axis: str | None = None  # "Y", "Z", "-Y" or "-Z"; None: as the file says, or as it seems
    frame_rate: float | None = None  # poses in a second of the file; None: as the file says
    person: str = ""  # of a file with several; "": the one with most poses
    scale: float = 1.0  # by which places in the file are multiplied
    use_shape: bool = False  # give a body of the same model the motion's shape


def shipped_motions() -> list[Path]:
    return sorted((asset_folder() / "motions").glob("*.npz"))


def read_motion_file(path: Path | Sequence[Path], settings: MotionSettings) -> Motion:
    """A file, or a folder or several files of a pose each. Raises AddonError."""
    try:
        return load_motion(path, settings.up_axis, settings.frame_rate, settings.person, settings.scale)
    except FileNotFoundError as error:
        raise AddonError(f"There is no motion file {error.filename or path}; choose another.") from None
    except ValueError as error:
        raise AddonError(str(error)) from error


def apply_motion_file(scene: Scene, target: Object, path: Path, settings: MotionSettings) -> tuple[int, str]:
    """Read a motion and key it on a rig, as `key_motion`. Raises AddonError."""
    return key_motion(scene, target, read_motion_file(path, settings), settings)


def key_motion(scene: Scene, target: Object, motion: Motion, settings: MotionSettings) -> tuple[int, str]:
    """Key a motion on a rig at the scene's frame rate. Raises AddonError.

    Returns the last frame, and what there is to say: what was assumed of the file, and what was left out.
    """
    found = recognition.recognise(target)
    if target.library is not None:
        raise AddonError(f"'{target.name}' is linked from another file; make a library override of it first.")
    note = "".join(f"; {clause}" for clause in motion.notes) + _left_out(target, found, motion)
    if settings.use_shape:
        note += body_shapes.give(target, motion)
    try:
        motion = resample(motion, scene.render.fps / scene.render.fps_base)
    except ValueError as error:
        raise AddonError(str(error)) from error
    apply_motion(target, found, motion, settings)
    last = settings.start + motion.frame_count - 1
    if settings.set_range:
        scene.frame_start, scene.frame_end = settings.start, max(last, settings.start)
    return last, note


def _left_out(target: Object, found: recognition.RigJoints, motion: Motion) -> str:
    """What of a motion the rig has no bones for."""
    fingers = [index for index, joint in enumerate(motion.joint_names) if joint in FINGERS]
    if not fingers or not np.abs(motion.rotations[:, fingers]).max() > STILL:
        return ""
    missing = [index for index in fingers if found.bone(motion.joint_names[index]) is None]
    if not missing:
        return ""
    which = "the fingers" if len(missing) == len(fingers) else f"{len(missing)} of {len(fingers)} finger joints"
    return f"; {which} were left out, as '{target.name}' has no bones for them that were recognised"


def apply_motion(target: Object, found: recognition.RigJoints, motion: Motion, settings: MotionSettings) -> None:
    """Key the motion, already at the scene's frame rate, on the rig. Any orientation of the bones at rest.

    Joints are matched by their names: fingers move where motion and rig both have them. Raises AddonError.
    """
    _free_pelvis(target, found)
    frame = rest_frame(target, found)
    local = _from_rest(matrices_from_axis_angle(motion.rotations), motion, target, found)  # SMPL's axes
    turned = frame.rotation @ local @ frame.rotation.T  # in the armature's axes
    world = frame.rotation @ to_y_up(motion.up_axis)  # the root turns the body into the file's world
    turned[:, 0] = world @ local[:, 0] @ frame.rotation.T
    body = read_body(body_file("neutral"))
    # betas are those of the recorded person's model: the place is that of the rig's own pelvis
    rest_pelvis = pose.rest_pelvis(target, found, body, shape.body_shape(target, body))
    pelvis = (motion.translation + rest_pelvis) @ world.T * frame.unit
    if settings.on_floor:
        pelvis = pelvis + _floor_offset(target, found, turned, pelvis, frame)

    fcurves = actions.new_action(target, f"{target.name} {motion.name}")
    times = np.arange(motion.frame_count) + settings.start
    for index, joint in enumerate(motion.joint_names):
        name = found.bone(joint)
        if name is None:
            continue
        bone = target.pose.bones[name]
        bone.rotation_mode = "QUATERNION"
        rest = np.array(bone.bone.matrix_local)
        rotation = rest[:3, :3].T @ turned[:, index] @ rest[:3, :3]
        path = bone.path_from_id("rotation_quaternion")
        actions.add_curves(fcurves, path, times, _continuous(quaternions_from_matrices(rotation)))
        if index == 0:
            location = (pelvis - rest[:3, 3]) @ rest[:3, :3]
            actions.add_curves(fcurves, bone.path_from_id("location"), times, location)


def _from_rest(
    local: np.ndarray,  # [F, J, 3, 3] from the T-pose
    motion: Motion,
    target: Object,
    found: recognition.RigJoints,
) -> np.ndarray:  # [F, J, 3, 3]
    """Rotations from the rig's rest, which may be no T-pose."""
    turns, parents = rest_turns(target, found), found.parents
    still = np.eye(3), np.eye(3)
    known = {name: (turns[max(parents[index], 0)], turns[index]) for index, name in enumerate(found.joint_names)}
    pairs = [known.get(name, still) for name in motion.joint_names]
    starts, ends = (np.stack(each) for each in zip(*pairs, strict=True))
    return starts @ local @ np.swapaxes(ends, -1, -2)


def _free_pelvis(target: Object, found: recognition.RigJoints) -> None:
    """Let the pelvis alone say where the character is: what another motion left on a bone above it would be added."""
    pelvis = target.pose.bones[found.bones[0]]
    if pelvis.parent is not None and pelvis.bone.use_connect:
        raise AddonError(
            f"The bone '{pelvis.name}' of '{target.name}' is connected to its parent and cannot travel; "
            "switch off Connected in Edit Mode (Bone > Relations)."
        )
    for bone in pelvis.parent_recursive:
        bone.matrix_basis = Matrix.Identity(4)


def _continuous(quaternions: np.ndarray) -> np.ndarray:  # [F, 4]
    """q and -q are the same rotation: take the one near the frame before, so that curves do not jump."""
    flips = np.sign((quaternions[1:] * quaternions[:-1]).sum(-1))
    signs = np.concatenate([[1.0], np.cumprod(np.where(flips == 0, 1.0, flips))])
    return quaternions * signs[:, None]


def _floor_offset(
    target: Object,
    found: recognition.RigJoints,
    turned: np.ndarray,  # [F, J, 3, 3] local rotations, armature's axes
    pelvis: np.ndarray,  # [F, 3] armature space
    frame: RigFrame,
) -> np.ndarray:  # [3]
    """How far the motion must be moved so that its lowest foot is as high as the rig's feet at rest."""
    rest = np.array(
        [target.data.bones[name].matrix_local.translation for name in found.bones[: recognition.BODY_JOINTS]]
    )
    up = frame.rotation[:, 1]
    whole, places = [turned[:, 0]], [pelvis]
    for joint in range(1, recognition.BODY_JOINTS):
        parent = found.parents[joint]
        places.append(places[parent] + whole[parent] @ (rest[joint] - rest[parent]))
        whole.append(whole[parent] @ turned[:, joint])
    heights = np.stack([places[foot] @ up - rest[foot] @ up for foot in FEET])  # [4, F]
    return -np.percentile(heights.min(0), GROUND_SHARE) * up
