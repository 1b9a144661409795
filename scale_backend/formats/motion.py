"""A motion, and the rotations it is made of. numpy only: Blender imports this. `motions` reads them from files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scale_backend.formats.errors import UserError
from scale_backend.formats.joints import BODY, JOINT_NAMES
from scale_backend.formats.whole_files import written_whole

OWN_MODEL = "free"  # of shape coefficients of the bodies that ship
MOST_FRAMES = 1_000_000  # of a resampled motion; Blender's time line ends soon after


class MotionError(UserError):
    """A motion file that cannot be used."""


@dataclass(frozen=True)
class Motion:
    """A body in motion. Joints follow SMPL's order; the world's up axis is as `up_axis` says."""

    rotations: np.ndarray  # [F, J, 3] axis-angle, radians
    translation: np.ndarray  # [F, 3] metres
    shape: np.ndarray  # [S] body-shape coefficients
    frame_rate: float  # frames a second
    up_axis: str = "Z"  # "Y", "Z", "-Y" or "-Z"
    name: str = "motion"
    model: str = ""  # whose shape coefficients they are: "smpl", "smplh", "smplx", OWN_MODEL; "": not known
    gender: str = ""  # "neutral", "female", "male"; "": not known
    frame_rate_known: bool = True  # False: the file names none
    notes: tuple[str, ...] = ()  # what was assumed when it was read: clauses of a sentence
    person: str = ""  # the name that the file has for who moves
    people: tuple[str, ...] = ()  # all whom the file has

    @property
    def frame_count(self) -> int:
        return len(self.rotations)

    @property
    def joint_names(self) -> tuple[str, ...]:  # J
        return JOINT_NAMES.get(self.rotations.shape[1], BODY)


def matrices_from_axis_angle(axis_angle: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3, 3]
    """Rodrigues' formula."""
    axis_angle = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(axis_angle, axis=-1, keepdims=True)
    axis = axis_angle / np.maximum(angle, 1e-12)
    cross = np.zeros((*axis_angle.shape[:-1], 3, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -axis[..., 2], axis[..., 1], -axis[..., 0]
    cross -= np.swapaxes(cross, -1, -2)
    angle = angle[..., None]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def quaternions_from_axis_angle(axis_angle: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 4] (w, x, y, z)
    axis_angle = np.asarray(axis_angle, np.float64)
    half = 0.5 * np.linalg.norm(axis_angle, axis=-1, keepdims=True)
    # sin(half)/angle, finite at zero: sinc(x) = sin(pi x)/(pi x)
    return np.concatenate([np.cos(half), 0.5 * np.sinc(half / np.pi) * axis_angle], -1)


def axis_angle_from_quaternions(quaternions: np.ndarray) -> np.ndarray:  # [..., 4] -> [..., 3]
    quaternions = quaternions * np.where(quaternions[..., :1] < 0, -1.0, 1.0)
    vector = quaternions[..., 1:]
    sine = np.linalg.norm(vector, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternions[..., :1])
    return vector * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)


def quaternions_from_matrices(matrices: np.ndarray) -> np.ndarray:  # [..., 3, 3] -> [..., 4]
    """Shepperd's method: start from the largest of the four components, so that none is lost to rounding."""
    m = np.asarray(matrices, np.float64)
    diagonal = np.diagonal(m, axis1=-2, axis2=-1)
    trace = diagonal.sum(-1)
    table = np.empty((*m.shape[:-2], 4, 4))  # outer product q q^T times four
    table[..., 0, 0] = 1 + trace
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        table[..., i + 1, i + 1] = 1 + 2 * diagonal[..., i] - trace
        table[..., 0, i + 1] = table[..., i + 1, 0] = m[..., k, j] - m[..., j, k]
        table[..., i + 1, j + 1] = table[..., j + 1, i + 1] = m[..., i, j] + m[..., j, i]
    largest = np.diagonal(table, axis1=-2, axis2=-1).argmax(-1)
    row = np.take_along_axis(table, largest[..., None, None], -2)[..., 0, :]
    return row / np.linalg.norm(row, axis=-1, keepdims=True)


def axis_angle_from_matrices(matrices: np.ndarray) -> np.ndarray:  # [..., 3, 3] -> [..., 3]
    return axis_angle_from_quaternions(quaternions_from_matrices(matrices))


def slerp(start: np.ndarray, end: np.ndarray, fraction: np.ndarray) -> np.ndarray:  # [..., 4] each
    """Spherical interpolation of unit quaternions along the shorter arc; fraction broadcasts."""
    dot = (start * end).sum(-1, keepdims=True)
    end, dot = np.where(dot < 0, -end, end), np.abs(dot)
    angle = np.arccos(np.clip(dot, -1, 1))
    sine = np.maximum(np.sin(angle), 1e-9)
    near = angle < 1e-6
    a = np.where(near, 1 - fraction, np.sin((1 - fraction) * angle) / sine)
    b = np.where(near, fraction, np.sin(fraction * angle) / sine)
    mixed = a * start + b * end
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)


def resample(motion: Motion, frame_rate: float) -> Motion:
    """The motion at another frame rate: rotations by slerp, translations linearly.

    An integer stride would drift; this keeps the duration. Raises MotionError for a rate that is not positive, or that
    would make more poses than anybody can use.
    """
    if frame_rate <= 0:
        raise MotionError(f"The frame rate must be positive, not {frame_rate}.")
    last = motion.frame_count - 1
    count = int(np.floor(last * frame_rate / motion.frame_rate + 1e-6)) + 1
    if count > MOST_FRAMES:
        raise MotionError(
            f"The {motion.frame_count} poses of '{motion.name}' at {motion.frame_rate:g} a second would be {count:,} "
            "frames; check the frame rate."
        )
    time = np.minimum(np.arange(count) * motion.frame_rate / frame_rate, last)
    low = np.minimum(time.astype(int), max(last - 1, 0))
    high = np.minimum(low + 1, last)
    fraction = time - low
    quaternions = quaternions_from_axis_angle(motion.rotations)
    mixed = slerp(quaternions[low], quaternions[high], fraction[:, None, None])
    translation = motion.translation[low] * (1 - fraction[:, None]) + motion.translation[high] * fraction[:, None]
    return replace(
        motion,
        rotations=axis_angle_from_quaternions(mixed).astype(np.float32),
        translation=translation.astype(np.float32),
        frame_rate=float(frame_rate),
    )


def save_motion(path: str | Path, motion: Motion) -> None:
    """Write a motion as an AMASS .npz; written beside, then renamed."""
    with written_whole(Path(path)) as beside, open(beside, "wb") as file:
        np.savez_compressed(
            file,
            poses=motion.rotations.reshape(motion.frame_count, -1).astype(np.float32),
            trans=motion.translation.astype(np.float32),
            betas=motion.shape.astype(np.float32),
            gender=np.array(motion.gender or "neutral"),
            surface_model_type=np.array(motion.model or OWN_MODEL),
            mocap_framerate=np.float64(motion.frame_rate),
            up_axis=np.array(motion.up_axis),
        )
