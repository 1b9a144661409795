"""Motions in AMASS's format, and the rotations they are made of. numpy only: Blender imports this."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scale_backend.formats.joints import BODY, JOINT_NAMES
from scale_backend.formats.whole_files import written_whole

FRAME_RATE_KEYS = ("mocap_frame_rate", "mocap_framerate", "fps")
ASSUMED_FRAME_RATE = 30.0  # of files that name none
COLUMNS = (66, 72, 156, 165)  # of `poses`
MODELS = {24: "smpl", 52: "smplh", 55: "smplx"}  # by joints, of files that name none
PARTS = {"root_orient": 1, "pose_body": 21, "pose_jaw": 1, "pose_eye": 2, "pose_hand": 30}  # joints, in SMPL-X's order
MAX_BYTES = 2**31  # of all that a file holds: ten hours at 60 poses a second
UPRIGHT = 0.5  # cosine of the angle to Y up to which a body is taken to stand along it


@dataclass(frozen=True)
class Motion:
    """A body in motion. Joints follow SMPL's order; the world's up axis is as `up_axis` says."""

    rotations: np.ndarray  # [F, J, 3] axis-angle, radians
    translation: np.ndarray  # [F, 3] metres
    shape: np.ndarray  # [S] body-shape coefficients
    frame_rate: float  # frames a second
    up_axis: str = "Z"  # "Y" or "Z"
    name: str = "motion"
    model: str = ""  # whose shape coefficients they are: "smpl", "smplh", "smplx"; "": not known
    gender: str = ""  # "neutral", "female", "male"; "": not known
    frame_rate_known: bool = True  # False: the file names none

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

    An integer stride would drift; this keeps the duration.
    """
    if frame_rate <= 0:
        raise ValueError(f"The frame rate must be positive, not {frame_rate}.")
    last = motion.frame_count - 1
    count = int(np.floor(last * frame_rate / motion.frame_rate + 1e-6)) + 1
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


def load_motion(path: str | Path, up_axis: str | None = None, frame_rate: float | None = None) -> Motion:
    """Read an AMASS .npz: 24, 52 or 55 joints, or the 22 of the body; older and newer keys.

    up_axis: "Y" or "Z"; None takes the file's own `up_axis` key, else the axis along which the body mostly stands.
    frame_rate: poses a second; None takes the file's own. Raises ValueError, and FileNotFoundError.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise _MotionError(f"holds {size / 2**30:.1f} GiB, more than any motion; choose another file.")
        with np.load(path, allow_pickle=False) as data:
            return _read(data, path.stem, up_axis, frame_rate)
    except FileNotFoundError:
        raise
    except _MotionError as error:
        raise ValueError(f"{path.name} {error}") from None
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ValueError(
            f"{path.name} could not be read as a motion ({reason}); choose an .npz file in AMASS's format."
        ) from error


class _MotionError(Exception):
    """What is wrong with a file, as the end of a sentence that begins with its name."""


def _read(data: np.lib.npyio.NpzFile, name: str, up_axis: str | None, frame_rate: float | None) -> Motion:
    rotations = _rotations(data)
    count = len(rotations)
    translation = np.asarray(data["trans"] if "trans" in data else np.zeros((count, 3)), np.float32)
    if translation.shape != (count, 3):
        raise _MotionError(f"has {count} poses, but 'trans' of shape {translation.shape}; it must be ({count}, 3).")
    shape = np.atleast_1d(np.asarray(data["betas"] if "betas" in data else np.zeros(10), np.float32))
    shape = shape.reshape(-1, shape.shape[-1])[0]  # some files repeat it for each pose
    if not all(np.isfinite(array).all() for array in (rotations, translation, shape)):
        raise _MotionError("holds numbers that are not finite; it is damaged, take another copy.")
    key = next((key for key in FRAME_RATE_KEYS if key in data), None)
    known = frame_rate is not None or key is not None
    if frame_rate is None:
        frame_rate = np.asarray(data[key], np.float64).item() if key else ASSUMED_FRAME_RATE
    if not 0.1 <= frame_rate <= 10_000:
        raise _MotionError(f"has a frame rate of {frame_rate:g}; say which it is when you import it.")
    up_axis = (up_axis or _text(data, "up_axis") or _standing_axis(rotations)).upper()
    if up_axis not in ("Y", "Z"):
        raise _MotionError(f"has the up axis '{up_axis}'; say whether it is Y or Z when you import it.")
    model = _text(data, "surface_model_type") or MODELS.get(rotations.shape[1], "")
    gender = _text(data, "gender")
    return Motion(rotations, translation, shape, float(frame_rate), up_axis, name, model, gender, known)


def _rotations(data: np.lib.npyio.NpzFile) -> np.ndarray:  # [F, J, 3]
    if "poses" in data:
        poses = np.atleast_2d(np.asarray(data["poses"], np.float32))
        poses = poses.reshape(len(poses), int(np.prod(poses.shape[1:])))  # of some files: [F, J, 3]
        if poses.shape[1] not in COLUMNS:
            raise _MotionError(f"has poses of {poses.shape[1]} columns; SMPL motions have 66, 72, 156 or 165.")
    elif "pose_body" in data:
        poses = _joined_parts(data)
    else:
        raise _MotionError("has no 'poses': it is not a motion in AMASS's format.")
    if not len(poses):
        raise _MotionError("has no poses in it; choose another file.")
    return poses.reshape(len(poses), -1, 3)


def _joined_parts(data: np.lib.npyio.NpzFile) -> np.ndarray:  # [F, 3 J]
    """Newer files keep the parts of a pose apart. Parts of the face that are missing stay still."""
    if "root_orient" not in data:
        raise _MotionError("has 'pose_body' but no 'root_orient'; it does not say which way the body faces.")
    has_face = any(part in data for part in ("pose_jaw", "pose_eye"))
    names = list(PARTS) if has_face else ["root_orient", "pose_body", *(["pose_hand"] if "pose_hand" in data else [])]
    count = len(data["pose_body"])
    parts = []
    for name in names:
        shape = (count, 3 * PARTS[name])
        part = np.asarray(data[name] if name in data else np.zeros(shape), np.float32)
        if part.shape != shape:
            raise _MotionError(f"has '{name}' of shape {part.shape}; it must be {shape}.")
        parts.append(part)
    return np.concatenate(parts, 1)


def _standing_axis(rotations: np.ndarray) -> str:  # [F, J, 3]
    """AMASS's Z, unless the body mostly stands along Y."""
    up = matrices_from_axis_angle(rotations[:, 0])[:, :, 1].mean(0)
    return "Y" if up[1] > max(UPRIGHT, up[2]) else "Z"


def _text(data: np.lib.npyio.NpzFile, key: str) -> str:
    """A word, which some files keep as bytes; nothing where there is none or it is pickled."""
    try:
        value = np.asarray(data[key]).item()
    except (KeyError, ValueError):
        return ""
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).lower()


def save_motion(path: str | Path, motion: Motion) -> None:
    """Write a motion as an AMASS .npz; written beside, then renamed."""
    with written_whole(Path(path)) as beside, open(beside, "wb") as file:
        np.savez_compressed(
            file,
            poses=motion.rotations.reshape(motion.frame_count, -1).astype(np.float32),
            trans=motion.translation.astype(np.float32),
            betas=motion.shape.astype(np.float32),
            gender=np.array(motion.gender or "neutral"),
            mocap_framerate=np.float64(motion.frame_rate),
            up_axis=np.array(motion.up_axis),
        )
