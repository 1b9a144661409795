"""The motions that ship: a walk, a dance and a stretch, made by formulas. `scale-train motions` writes them.

They are written in AMASS's format (Z up, 30 frames a second) for the free body and touch the floor at height zero.
The dance is held out: training poses never come from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scale_backend.formats.whole_files import write_npz

from .poses import INDEX, SIDES, set_arm, set_leg, within_limits

FRAME_RATE = 30.0
Array = NDArray[np.float64]


@dataclass(frozen=True)
class MotionSettings:
    """Settings of `scale-train motions`."""

    out: Path = Path("assets/motions")


def wave(phase: float, shift: float = 0.0) -> float:
    """A sine of the phase in turns."""
    return float(np.sin(2 * np.pi * (phase + shift)))


def walk(share: float) -> tuple[Array, float]:
    """Two strides a loop: the pose [24, 3] and the turn (radians) at a share of the loop."""
    pose, stride = np.zeros((24, 3)), 2 * share
    for (side, _), shift in zip(SIDES, (0.0, 0.5), strict=True):
        swing = wave(stride, shift)
        lift = max(0.0, wave(stride, shift + 0.25))  # the knee bends while the leg comes forward
        set_leg(pose, side, 0.06 + 0.40 * swing, 0.02, 0.0, 0.12 + 0.75 * lift**2, -0.10 + 0.12 * swing)
        set_arm(pose, side, -1.05, -0.38 * swing, 0.0, 0.35 - 0.15 * swing)
    for joint, twist in (("spine1", 0.03), ("spine2", 0.05), ("spine3", 0.05)):
        pose[INDEX[joint]] = 0.015, twist * wave(stride, 0.5), 0.015 * wave(stride)
    return pose, 0.0


def dance(share: float) -> tuple[Array, float]:
    """Ten seconds: steps from side to side with swaying hips and waving arms, then a turn with the arms out."""
    pose, beat = np.zeros((24, 3)), 8 * share  # bars of a little over a second
    reach = 0.5 - 0.5 * np.cos(2 * np.pi * share)  # the dance opens towards its middle
    for (side, mirror), shift in zip(SIDES, (0.0, 0.5), strict=True):
        step = max(0.0, wave(beat, shift))
        kick = reach * max(0.0, wave(beat / 2, shift / 2 + 0.1)) ** 2
        set_leg(
            pose,
            side,
            0.10 + 0.38 * step + 0.30 * kick,
            0.07 + 0.10 * wave(beat / 2, 0.1 + shift * 0.3) * mirror + 0.14 * kick,
            0.10 * wave(beat / 4, shift),
            0.20 + 0.55 * step - 0.12 * kick,
            -0.10 - 0.12 * step,
        )
        lift = -0.45 + 0.35 * wave(beat / 2, shift) + 0.55 * reach * (0.6 + wave(beat / 4, shift))
        set_arm(
            pose,
            side,
            lift,
            0.30 + 0.35 * wave(beat / 2, 0.15 + shift),
            0.15 * wave(beat / 2, shift),
            0.65 + 0.40 * wave(beat / 2, 0.4 + shift),
        )
        pose[INDEX[f"{side}_collar"]] = 0, 0, mirror * 0.10 * max(0.0, lift)
    sway, twist = wave(beat / 2, 0.08), wave(beat / 4, 0.2)
    pose[INDEX["spine1"]] = 0.05 + 0.03 * wave(beat), 0.10 * twist, 0.13 * sway
    pose[INDEX["spine2"]] = 0.04, 0.13 * twist, -0.05 * sway
    pose[INDEX["spine3"]] = 0.02 * wave(beat), 0.12 * twist, -0.10 * sway
    pose[INDEX["neck"]] = 0.05, -0.15 * twist, -0.05 * sway
    pose[INDEX["head"]] = 0.04 * wave(beat), -0.15 * twist, 0.06 * sway
    turning = np.clip((share - 0.55) / 0.25, 0, 1)  # once round, from a little past the middle
    turn = 2 * np.pi * turning * turning * (3 - 2 * turning) + 0.30 * wave(beat / 4)
    return pose, float(turn)


def stretch(share: float) -> tuple[Array, float]:
    """Eight seconds: arms up, bends to both sides, a twist, and a slow bend of the knees."""
    pose = np.zeros((24, 3))

    def while_between(start: float, end: float) -> float:
        """Rises from 0 to 1 and falls again between two shares of the motion."""
        inside = np.clip((share - start) / (end - start), 0, 1)
        return float(np.sin(np.pi * inside) ** 2)

    up, left, right = while_between(0.0, 0.6), while_between(0.10, 0.32), while_between(0.28, 0.50)
    twist, squat = while_between(0.55, 0.68) - while_between(0.65, 0.78), while_between(0.76, 1.0)
    for side, mirror in SIDES:
        set_leg(pose, side, 0.95 * squat, 0.10 + 0.14 * squat, 0.0, 1.25 * squat, -0.30 * squat)
        bend_away = right if side == "left" else left
        set_arm(
            pose,
            side,
            -1.0 + 1.75 * up + 0.35 * bend_away + 0.55 * abs(twist) + 0.6 * squat,
            0.15 + 0.9 * squat,
            0.0,
            0.25 + 0.35 * abs(twist),
        )
        pose[INDEX[f"{side}_collar"]] = 0, 0, mirror * 0.22 * up
    for joint in ("spine1", "spine2", "spine3"):
        pose[INDEX[joint]] = 0.10 * squat, 0.24 * twist, 0.17 * (right - left)
    pose[INDEX["neck"]] = -0.10 * up, 0.25 * twist, 0.08 * (right - left)
    return pose, 0.0


MOTIONS: dict[str, tuple[Callable[[float], tuple[Array, float]], float, bool]] = {  # seconds, whether it loops
    "walk": (walk, 2.4, True),
    "dance": (dance, 10.0, False),
    "stretch": (stretch, 8.0, False),
}


def make_motion(name: str, joints: Array, touches: Callable[[Array], float]) -> dict:
    """A motion as AMASS's arrays. `touches` gives the height (Y) of the lowest vertex for a pose [24, 3] whose
    pelvis joint is at the origin; `joints` are the rest joints [24, 3]."""
    formula, seconds, loops = MOTIONS[name]
    count = round(seconds * FRAME_RATE)
    shares = np.arange(count) / (count if loops else count - 1)
    poses, heights = np.zeros((count, 24, 3)), np.zeros(count)
    for frame, share in enumerate(shares):
        pose, turn = formula(float(share))
        pose = within_limits(pose)
        pose[0] = 0, turn, 0
        poses[frame], heights[frame] = pose, -touches(pose)
    poses[:, 0] = _standing(poses[:, 0])
    ground = np.stack([np.zeros(count), np.zeros(count), heights], -1)  # where the pelvis joint goes, Z up
    return {
        "poses": poses.reshape(count, 72).astype(np.float32),
        "trans": (ground - joints[0]).astype(np.float32),
        "betas": np.zeros(10, np.float32),
        "gender": np.array("neutral"),
        "mocap_framerate": np.array(FRAME_RATE),
    }


def _standing(turns: Array) -> Array:
    """Root orientations [F, 3] about Y, turned on to AMASS's Z up."""
    from scipy.spatial.transform import Rotation

    upright = Rotation.from_rotvec([np.pi / 2, 0, 0])
    return (upright * Rotation.from_rotvec(turns)).as_rotvec()


def run(settings: MotionSettings) -> None:
    """Write the motions; the files come out the same every time."""
    from .skinning import load_skinned_body, skin_body

    body = load_skinned_body()
    settings.out.mkdir(parents=True, exist_ok=True)
    for name in MOTIONS:
        arrays = make_motion(name, body.joints, lambda pose: float(skin_body(body, pose)[:, 1].min()))
        path = settings.out / f"{name}.npz"
        write_npz(path, arrays, compress=True)
        print(f"{path}: {len(arrays['poses'])} frames at {FRAME_RATE:.0f} a second")
