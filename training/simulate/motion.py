"""Motions with the root's own: poses on the ground, put together from keys. numpy and scipy; SMPL's axes, 30 frames a
second.

A motion's translation is SMPL's: the pelvis joint stands at its place in the rest body plus the translation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation, Slerp

from .mesh_tools import smoothstep
from .moving_cloth import FRAME_RATE
from .skinning import SkinnedBody, joint_positions, skin_body

Array = NDArray[np.float64]
UP = 1
SETTLED = 5.0  # frames: over so many the root's way along the floor is spread; feet slide, but nobody walks by jerks
STANDING = Rotation.identity()
ROUNDING = 2.0  # frames: of heights, where another vertex comes to be the lowest


@dataclass(frozen=True, eq=False)
class Motion:
    """A body's motion in the world, its floor at height zero."""

    pose: Array  # [F, J, 3] axis-angle, the root's rotation first
    translation: Array  # [F, 3] metres

    def __len__(self) -> int:
        return len(self.pose)

    def __getitem__(self, frames: slice) -> Motion:
        return Motion(self.pose[frames], self.translation[frames])


@dataclass(frozen=True, eq=False)
class Key:
    """A pose at a time; what is between keys is interpolated without overshoot."""

    time: float  # seconds
    pose: Array  # [J, 3] axis-angle, the root's left out
    root: Rotation = STANDING


def interpolate(keys: Sequence[Key], times: Array) -> Array:
    """Poses [F, J, 3] at the times (seconds): joints and root stop at keys where they turn back and pass smoothly
    elsewhere (Fritsch and Carlson 1980), the root along the shortest way from key to key."""
    at, values = np.array([key.time for key in keys]), np.stack([key.pose for key in keys])
    gaps, times = np.diff(at), np.clip(times, at[0], at[-1])
    poses = CubicHermiteSpline(at, values, _rates(np.diff(values, axis=0) / gaps[:, None, None]), axis=0)(times)
    roots = Rotation.concatenate([key.root for key in keys])
    turns = (roots[:-1].inv() * roots[1:]).as_rotvec()  # in the frame of the key before, and so in that of the next
    rates = _rates(turns / gaps[:, None])
    piece = np.clip(np.searchsorted(at, times, "right") - 1, 0, len(gaps) - 1)
    share, gap = ((times - at[piece]) / gaps[piece])[:, None], gaps[piece, None]
    turned = (
        share**2 * (3 - 2 * share) * turns[piece]
        + share * (1 - share) ** 2 * gap * rates[piece]
        - share**2 * (1 - share) * gap * rates[piece + 1]
    )
    poses[:, 0] = (roots[piece] * Rotation.from_rotvec(turned)).as_rotvec()
    return poses


def _rates(slopes: Array) -> Array:
    """Rates [K, ...] at keys from the slopes [K - 1, ...] between them: their harmonic mean, or none at a turn."""
    before, after = slopes[:-1], slopes[1:]
    same = before * after > 0
    inner = np.where(same, 2 * before * after / np.where(same, before + after, 1.0), 0.0)
    return np.concatenate([np.zeros_like(slopes[:1]), inner, np.zeros_like(slopes[:1])])


def on_the_ground(body: SkinnedBody, poses: Array, airborne: NDArray[np.bool_] | None = None) -> Motion:
    """Give poses [F, J, 3] the root's path: the lowest point touches the floor, and what stands on it hardly slides.

    While `airborne` [F] the body flies on with the speed it left with, and falls as bodies do.
    """
    count = len(poses)
    airborne = np.zeros(count, bool) if airborne is None else airborne
    joints = np.stack([joint_positions(body, pose) for pose in poses])
    height = -np.array([skin_body(body, pose)[:, UP].min() for pose in poses])
    path, step = np.zeros((count, 3)), np.zeros(3)
    for frame in range(1, count):
        if not (airborne[frame] or airborne[frame - 1]):
            support = joints[frame - 1, :, UP].argmin()
            step = joints[frame - 1, support] - joints[frame, support]
        path[frame] = path[frame - 1] + step
    path = gaussian_filter1d(path, SETTLED, axis=0, mode="nearest")
    path[:, UP] = _flown(gaussian_filter1d(height, ROUNDING, mode="nearest"), airborne)
    return Motion(poses, path - body.joints[0])


def _flown(height: Array, airborne: NDArray[np.bool_]) -> Array:
    """Heights [F] of the pelvis with every flight a parabola from take-off to landing."""
    height = height.copy()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], airborne, [False]]).astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        before, after = max(start - 1, 0), min(end, len(height) - 1)
        frames = np.arange(before, after + 1)
        share, seconds = (frames - before) / max(after - before, 1), (after - before) / FRAME_RATE
        straight = height[before] + share * (height[after] - height[before])
        height[frames] = straight + 0.5 * 9.81 * seconds**2 * share * (1 - share)
    return height


def led_in(motion: Motion, moving: int = 20, resting: int = 0) -> Motion:
    """Put before a motion: from the T-pose (arms out, upright) to its first pose, and so long at rest, in frames."""
    heading = _heading(motion.pose[0, 0])
    share = smoothstep(np.arange(moving) / moving, 0, 1)
    lead = motion.pose[0] * share[:, None, None]
    turn = Slerp([0, 1], Rotation.concatenate([heading, Rotation.from_rotvec(motion.pose[0, 0])]))
    lead[:, 0] = turn(share).as_rotvec()
    count = moving + resting
    poses = np.concatenate([lead, np.repeat(motion.pose[:1], resting, 0), motion.pose])
    return Motion(poses, np.concatenate([np.repeat(motion.translation[:1], count, 0), motion.translation]))


def joined(past: Motion, motion: Motion, blend: int = 15) -> Motion:
    """A motion with another past: the past runs `blend` frames into it and gives way to it there."""
    heading = _heading(motion.pose[0, 0]) * _heading(past.pose[-blend, 0]).inv()
    turned = past.pose.copy()
    turned[:, 0] = (heading * Rotation.from_rotvec(past.pose[:, 0])).as_rotvec()
    path = (past.translation - past.translation[-blend]) @ heading.as_matrix().T + motion.translation[0]
    share = smoothstep(np.arange(blend) / blend, 0, 1)[:, None]
    mixed = turned[-blend:] * (1 - share[..., None]) + motion.pose[:blend] * share[..., None]
    roots = zip(turned[-blend:, 0], motion.pose[:blend, 0], share[:, 0], strict=True)
    mixed[:, 0] = [Slerp([0, 1], Rotation.from_rotvec([a, b]))(s).as_rotvec() for a, b, s in roots]
    between = path[-blend:] * (1 - share) + motion.translation[:blend] * share
    return Motion(
        np.concatenate([turned[:-blend], mixed, motion.pose[blend:]]),
        np.concatenate([path[:-blend], between, motion.translation[blend:]]),
    )


def _heading(root: Array) -> Rotation:
    """The turn about the vertical that a root's rotation [3] contains."""
    rotation = Rotation.from_rotvec(root).as_matrix()
    return Rotation.from_rotvec([0, np.arctan2(rotation[0, 2] - rotation[2, 0], rotation[0, 0] + rotation[2, 2]), 0])
