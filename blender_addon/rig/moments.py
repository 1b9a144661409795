"""What clothes feel of how a rig came to its pose: earlier moments, and where down is, as its armature sees them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from bpy.types import Depsgraph, Object, Scene

from scale_backend.formats.window import Window, moments

from .fitting import FittedBody
from .pose import Pose, read_pose
from .rest import Rest, RigFrame

DOWN = np.array([0.0, 0.0, -1.0])  # Blender's world
ON_FRAME = 1e-4  # frames; nearer to a whole frame than this is that frame


@dataclass(frozen=True)
class Clock:
    """When the frames of a scene are. As for Blender's own physics it is the animation's time that counts: where Time
    Stretching slows a scene down, its cloth moves as slowly."""

    rate: float  # scene frames in a second of the animation

    @classmethod
    def of(cls, scene: Scene) -> Clock:
        render = scene.render
        return cls(render.fps / render.fps_base * render.frame_map_new / render.frame_map_old)

    def seconds(self, frame: float) -> float:
        return frame / self.rate


def frame_of(scene: Scene) -> float:
    """The present frame, with its part of a frame."""
    return scene.frame_current + scene.frame_subframe


@dataclass(frozen=True)
class Moment:
    """A pose of a rig, and where its armature stood."""

    frame: float
    pose: Pose
    matrix: np.ndarray  # [4, 4] from the armature's space to the world

    @classmethod
    def read(cls, target: Object, depsgraph: Depsgraph, rest: Rest, frame: float) -> Moment:
        """As the rig is evaluated."""
        matrix = np.array(target.evaluated_get(depsgraph).matrix_world, np.float64)
        return cls(frame, read_pose(target, depsgraph, rest), matrix)


def frames_seen(frame: float, lags: Sequence[float], clock: Clock, start: float = -math.inf) -> set[int]:
    """The whole frames before a frame whose poses give a window of these lags, in seconds, none earlier than `start`.

    Whatever is sampled between, it is those alone that are looked at: a window is the same however one came to it.
    """
    frames: set[int] = set()
    for lag in lags:
        then = frame - lag * clock.rate
        frames |= {math.floor(then + ON_FRAME), math.ceil(then - ON_FRAME)}
    return {int(max(each, start)) for each in frames if max(each, start) < frame}


@dataclass(frozen=True)
class Felt:
    """What a garment sees beside A poses, as `Poses` has it: SMPL's axes, metres, in the armature of each."""

    past_rotations: np.ndarray | None = None  # [A, L, J, 3, 3] float32; None: nothing moves
    past_translation: np.ndarray | None = None  # [A, L, 3] float32
    down: np.ndarray | None = None  # [A, 3] float32 unit; None: it does not know

    def named(self) -> dict[str, np.ndarray]:
        """What there is."""
        return {name: array for name, array in vars(self).items() if array is not None}

    @classmethod
    def stacked(cls, parts: Sequence[Felt]) -> Felt:
        """One after another, all of the same garment."""
        arrays = [part.named() for part in parts]
        return cls(**{name: np.concatenate([each[name] for each in arrays]) for name in arrays[0]} if arrays else {})


def felt(
    now: Moment,
    earlier: Iterable[Moment],
    fitted: FittedBody,  # at present
    frame: RigFrame,  # of what is decoded
    window: Window,
    clock: Clock,
) -> Felt:
    """Root motion is that of bones and object together. Before the first moment all stood still as it then did.

    What is computed of one moment depends on no other, so the result is the same to the bit however many there are.
    """
    back, axes = _inverse(now.matrix[:3, :3]), frame.rotation
    down = None
    if window.gravity:
        down = axes.T @ (back @ DOWN)
        down = (down / max(float(np.linalg.norm(down)), 1e-12))[None].astype(np.float32)
    if not window.lags:
        return Felt(down=down)
    seen = [*sorted(earlier, key=lambda moment: moment.frame), now]
    turns, hips = [], []
    for moment in seen:
        linear = back @ moment.matrix[:3, :3]
        there = axes @ (fitted.translation(moment.pose) + fitted.pelvis) * frame.unit
        there = linear @ there + back @ (moment.matrix[:3, 3] - now.matrix[:3, 3])
        hips.append(axes.T @ there / frame.unit)
        turns.append(axes.T @ _rotation(linear) @ axes @ moment.pose.rotations[0])
    rotations = np.stack([moment.pose.rotations for moment in seen]).astype(np.float64)
    rotations[:, 0] = turns
    times = np.array([clock.seconds(moment.frame) for moment in seen])
    past, places = moments(rotations, np.array(hips), times, window.lags, np.array([len(seen) - 1]))
    return Felt(past, (places - fitted.pelvis).astype(np.float32), down)


def _inverse(matrix: np.ndarray) -> np.ndarray:  # [3, 3]
    """Zeros for what has none. By hand: numpy's would wake threads that keep the backend's core busy."""
    a, b, c = matrix.T
    rows = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
    volume = float(a @ rows[0])
    return rows / volume if volume else np.zeros((3, 3))


def _rotation(matrix: np.ndarray) -> np.ndarray:  # [3, 3] -> the nearest
    left, _, right = np.linalg.svd(matrix)
    left[:, 2] *= np.sign(np.linalg.det(left @ right))
    return left @ right
