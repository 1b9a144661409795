"""Put a motion in AMASS's format on a rig as keyframes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bpy.types import Object, Scene

from scale_backend import motion as motions

from . import actions, axes, rig
from .body_data import read_body
from .messages import AddonError
from .paths import asset_folder, body_file

FEET = (7, 8, 10, 11)
GROUND_SHARE = 2.0  # percent of the frames that may be below the ground: noise in captured motions


@dataclass(frozen=True)
class MotionSettings:
    start: int = 1  # frame of the first pose
    on_floor: bool = True  # move the motion up or down until the lowest foot stands where the rig's feet stand
    set_range: bool = True  # make the scene as long as the motion
    up_axis: str | None = None  # "Y" or "Z"; None: as the file says


def shipped_motions() -> list[Path]:
    return sorted((asset_folder() / "motions").glob("*.npz"))


def apply_motion_file(scene: Scene, target: Object, path: Path, settings: MotionSettings) -> int:
    """Read a motion and key it on a rig at the scene's frame rate. Returns the last frame. Raises AddonError."""
    found = rig.recognise(target)
    if target.library is not None:
        raise AddonError(f"'{target.name}' is linked from another file; make a library override of it first.")
    try:
        motion = motions.load_motion(path, settings.up_axis)
    except FileNotFoundError:
        raise AddonError(f"There is no motion file {path}; choose another.") from None
    except ValueError as error:
        raise AddonError(str(error)) from error
    motion = motions.resample(motion, scene.render.fps / scene.render.fps_base)
    apply_motion(target, found, motion, settings)
    last = settings.start + motion.frame_count - 1
    if settings.set_range:
        scene.frame_start, scene.frame_end = settings.start, max(last, settings.start)
    return last


def apply_motion(target: Object, found: rig.RigJoints, motion: motions.Motion, settings: MotionSettings) -> None:
    """Key the motion, already at the scene's frame rate, on the rig. Any orientation of the bones at rest."""
    frame = rig.rest_frame(target, found)
    count = min(motion.rotations.shape[1], len(found.bones))
    if motion.rotations.shape[1] != len(found.bones):
        count = rig.BODY_JOINTS  # the families differ in what follows the body's joints
    local = motions.matrices_from_axis_angle(motion.rotations[:, :count])  # [F, J, 3, 3] SMPL's axes
    turned = frame.rotation @ local @ frame.rotation.T  # in the armature's axes
    if motion.up_axis == "Z":  # the root turns the body into a world that is already Blender's
        world = frame.rotation @ axes.BLENDER.T
        turned[:, 0] = world @ local[:, 0] @ frame.rotation.T
    else:
        world = frame.rotation
    body = read_body(body_file("neutral"))
    pelvis = (motion.translation + body.rest_joints(motion.shape)[0]) @ world.T * frame.unit
    if settings.on_floor:
        pelvis = pelvis + _floor_offset(target, found, turned, pelvis, frame)

    fcurves = actions.new_action(target, f"{target.name} {motion.name}")
    times = np.arange(motion.frame_count) + settings.start
    for index, name in enumerate(found.bones[:count]):
        if name is None:
            continue
        bone = target.pose.bones[name]
        bone.rotation_mode = "QUATERNION"
        rest = np.array(bone.bone.matrix_local)
        rotation = rest[:3, :3].T @ turned[:, index] @ rest[:3, :3]
        path = bone.path_from_id("rotation_quaternion")
        actions.add_curves(fcurves, path, times, _continuous(motions.quaternions_from_matrices(rotation)))
        if index == 0:
            location = (pelvis - rest[:3, 3]) @ rest[:3, :3]
            actions.add_curves(fcurves, bone.path_from_id("location"), times, location)


def _continuous(quaternions: np.ndarray) -> np.ndarray:  # [F, 4]
    """q and -q are the same rotation: take the one near the frame before, so that curves do not jump."""
    flips = np.sign((quaternions[1:] * quaternions[:-1]).sum(-1))
    signs = np.concatenate([[1.0], np.cumprod(np.where(flips == 0, 1.0, flips))])
    return quaternions * signs[:, None]


def _floor_offset(
    target: Object,
    found: rig.RigJoints,
    turned: np.ndarray,  # [F, J, 3, 3] local rotations, armature's axes
    pelvis: np.ndarray,  # [F, 3] armature space
    frame: rig.RigFrame,
) -> np.ndarray:  # [3]
    """How far the motion must be moved so that its lowest foot is as high as the rig's feet at rest."""
    rest = np.array([target.data.bones[name].matrix_local.translation for name in found.bones[: rig.BODY_JOINTS]])
    up = frame.rotation[:, 1]
    whole, places = [turned[:, 0]], [pelvis]
    for joint in range(1, rig.BODY_JOINTS):
        parent = found.parents[joint]
        places.append(places[parent] + whole[parent] @ (rest[joint] - rest[parent]))
        whole.append(whole[parent] @ turned[:, joint])
    heights = np.stack([places[foot] @ up - rest[foot] @ up for foot in FEET])  # [4, F]
    return -np.percentile(heights.min(0), GROUND_SHARE) * up
