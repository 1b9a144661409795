"""Put a motion of SMPL's family on a rig as keyframes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bpy.types import Object, Scene

from scale_backend.formats.joints import FINGERS
from scale_backend.formats.motion import Motion, resample
from scale_backend.formats.motions import load_motion

from ..blender import actions
from ..messages import AddonError
from ..paths import asset_folder, body_file
from ..rig import pose, shape
from ..rig.body_data import read_body
from ..rig.recognition import RigJoints
from ..rig.rest import Rest, rest_of
from . import body_shapes, controls, floor, retargeting, rig_keys

STILL = 1e-3  # radians: a joint that turns less is at rest


@dataclass(frozen=True)
class MotionSettings:
    start: int = 1  # frame of the first pose
    on_floor: bool = True  # move the motion up or down until the soles are on the floor
    set_range: bool = True  # make the scene as long as the motion
    up_axis: str | None = None  # "Y", "Z", "-Y" or "-Z"; None: as the file says, or as it seems
    frame_rate: float | None = None  # poses in a second of the file; None: as the file says
    person: str = ""  # of a file with several; "": the one with most poses
    scale: float = 1.0  # by which places in the file are multiplied
    use_shape: bool = False  # give a body of the same model the motion's shape


def shipped_motions() -> list[Path]:
    return sorted((asset_folder() / "motions").glob("*.npz"))


def read_motion_file(path: Path | Sequence[Path], settings: MotionSettings) -> Motion:
    """A file, or a folder or several files of a pose each. Raises UserError."""
    try:
        return load_motion(path, settings.up_axis, settings.frame_rate, settings.person, settings.scale)
    except FileNotFoundError as error:
        raise AddonError(f"There is no motion file {error.filename or path}; choose another.") from None


def apply_motion_file(scene: Scene, target: Object, path: Path, settings: MotionSettings) -> tuple[int, str]:
    """Read a motion and key it on a rig, as `key_motion`. Raises UserError."""
    return key_motion(scene, target, read_motion_file(path, settings), settings)


def key_motion(scene: Scene, target: Object, motion: Motion, settings: MotionSettings) -> tuple[int, str]:
    """Key a motion on a rig at the scene's frame rate. Raises UserError.

    Returns the last frame, and what there is to say: what was assumed of the file, and what was left out.
    """
    rest = rest_of(target)
    if target.library is not None:
        raise AddonError(f"'{target.name}' is linked from another file; make a library override of it first.")
    note = "".join(f"; {clause}" for clause in motion.notes) + _left_out(target, rest.rig_joints, motion)
    if settings.use_shape:
        note += body_shapes.give(target, motion)
    motion = resample(motion, scene.render.fps / scene.render.fps_base)
    note += apply_motion(target, rest, motion, settings)
    last = settings.start + motion.frame_count - 1
    if settings.set_range:
        scene.frame_start, scene.frame_end = settings.start, max(last, settings.start)
    return last, note


def _left_out(target: Object, rig_joints: RigJoints, motion: Motion) -> str:
    """What of a motion the rig has no bones for."""
    fingers = [index for index, joint in enumerate(motion.joint_names) if joint in FINGERS]
    if not fingers or not np.abs(motion.rotations[:, fingers]).max() > STILL:
        return ""
    missing = [index for index in fingers if rig_joints.bone(motion.joint_names[index]) is None]
    if not missing:
        return ""
    which = "the fingers" if len(missing) == len(fingers) else f"{len(missing)} of {len(fingers)} finger joints"
    return f"; {which} were left out, as '{target.name}' has no bones for them that were recognised"


def apply_motion(target: Object, rest: Rest, motion: Motion, settings: MotionSettings) -> str:
    """Key the motion, already at the scene's frame rate, on the rig. Any orientation of the bones at rest.

    Joints are matched by their names: fingers move where motion and rig both have them. A rig's controls are keyed
    where they steer its bones, else the bones themselves. Returns what there is to say of it, "" or a clause after a
    semicolon. Raises AddonError.
    """
    body = read_body(body_file("neutral"))
    # betas are those of the recorded person's model: the place is that of the rig's own pelvis
    pelvis = pose.rest_pelvis(rest, body, shape.body_shape(target, body))
    moved = retargeting.retarget(rest, motion, pelvis)
    if settings.on_floor:
        moved = floor.on_floor(target, rest, moved)
    steering = controls.steering_of(target, rest)
    if steering is not None:
        steered, head = steering.moving(moved), steering.head(moved)
        note = f"; the controls of '{target.name}' were keyed, and set to FK"
    else:
        count = rig_keys.free(target, rest, moved)
        steered, head = rig_keys.bones_of(target, rest, moved)
        note = f"; {count} constraints of '{target.name}' were switched off, as they would have held its bones"
        note = note if count else ""
    fcurves = actions.new_action(target, f"{target.name} {motion.name}")
    rig_keys.key(target, steered, head, moved, fcurves, settings.start)
    return note
