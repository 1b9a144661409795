"""One person's values, by whatever names, as joint rotations, places and shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from scale_backend.formats import joints
from scale_backend.formats.foreign_file import quoted
from scale_backend.formats.motions import names
from scale_backend.formats.motions.axes import Kind
from scale_backend.formats.motions.joint_rotations import RotationError, axis_angles, pose_shape, six_form
from scale_backend.formats.motions.people import Record, RecordError
from scale_backend.formats.pickled_values import as_array

AMASS = Kind("AMASS", "Z", ("Z",))
AIST = Kind("AIST++", "Y", ("Y",), frame_rate=60.0)
CAMERA = Kind("camera coordinates", "-Y", ("-Y", "Y"), model="smpl", gender="neutral", in_camera=True)
SLAHMR = Kind("SLAHMR's first camera", "-Y", model="smplh", gender="neutral")
WORLD = Kind("results from video", "Y", model="smpl", gender="neutral")
MOST_TURN = 1e3  # radians; optimisers leave a few turns
MOST_NUMBERS = 16_000_000  # of poses; a small file can unpack to any number
LAST_FRAME = 1 << 40  # of a video
SOME = 4096  # frames
FARTHEST = 1e7  # of places, in whatever unit
FEATURES = {263: "HumanML3D's features", 251: "KIT's features", 135: "6D with places"}  # columns that are no rotations


@dataclass(frozen=True)
class Pose:
    """What a record holds, with what was assumed on the way."""

    rotations: np.ndarray  # [F, J, 3] axis-angle, float32
    translation: np.ndarray  # [F, 3] float32
    shape: np.ndarray  # [S] float32
    frames: np.ndarray | None  # [F] the video frame of each pose
    kind: Kind
    notes: list[str] = field(default_factory=list)


def read_record(record: Record) -> Pose:
    """Raises RecordError."""
    notes: list[str] = []
    if all(name in record for name in names.EASYMOCAP):
        raise RecordError("keeps the root apart, as 'Rh' and 'Th' (EasyMocap), which turn about another point than "
                          "SMPL's; export it in SMPL's format.")  # fmt: skip
    key, rotations = _rotations(record, notes)
    count = len(rotations)
    if not count:
        raise RecordError("has no poses in it; choose another file.")
    place, translation = _translation(record, key, count)
    scaling = next((_array(record, name) for name in names.SCALES if name in record), None)
    if scaling is not None:
        factor = float(scaling.ravel()[0]) if scaling.size else 0.0
        if not np.isfinite(factor) or factor <= 0:
            raise RecordError(f"has a scaling of {factor:g}; it must be positive.")
        translation = translation / factor
        notes.append(f"places were divided by the file's scaling of {factor:.4g}")
    frames = _frames(record, count)
    seen = next((_array(record, name) for name in names.SEEN if name in record), None)
    if seen is not None and seen.shape == (count,) and frames is None:
        frames = np.flatnonzero(seen)
        if not len(frames):
            raise RecordError("holds a person who is never seen; choose another.")
        rotations, translation = rotations[frames], translation[frames]
    with np.errstate(over="ignore"):
        turns, places, shape = (np.asarray(a, np.float32) for a in (rotations, translation, _shape(record, count)))
    if not all(np.isfinite(array).all() for array in (turns, places, shape)):
        raise RecordError("holds numbers that are not finite; it is damaged, take another copy.")
    for array, most, what in ((turns, MOST_TURN, "rotations"), (places, FARTHEST, "places")):
        if np.abs(array).max() > most:
            raise RecordError(f"holds {what} beyond {most:g}; it is damaged, take another copy.")
    return Pose(turns, places, shape, frames, _kind(record, key, place), notes)


def _rotations(record: Record, notes: list[str]) -> tuple[str, np.ndarray]:
    """The name of the pose, and its rotations [F, J, 3]."""
    whole = next((key for key in names.WHOLE if key in record), None)
    body = next((key for key in names.BODY if key in record), None)
    if whole is not None:
        array = _array(record, whole)
        shape = pose_shape(array.shape, names.WHOLE_JOINTS)
        if shape is not None:
            _, count, numbers = shape
            values = array.reshape(-1, count, numbers)
            _check_are_rotations(values, whole)
            return whole, _turned([values], notes, 0)
        if body is None:
            raise RecordError(_odd_pose(whole, array))
        notes.append(f"the odd '{whole}' of {_told(array.shape)} was left aside for '{body}'")
    if body is None:
        raise RecordError("has no 'poses': it is not a motion of SMPL's family.")
    return body, _joined_parts(record, body, notes)


def _odd_pose(key: str, array: np.ndarray) -> str:
    columns = array.shape[-1] if array.ndim else 1
    if not array.size and array.ndim:
        return "has no poses in it; choose another file."
    if columns in FEATURES:
        return f"holds {FEATURES[columns]} ({columns} columns), not rotations; convert it to SMPL's poses first."
    what = f"{columns} columns" if array.ndim <= 2 else f"the shape {_told(array.shape)}"
    return (f"has {key if key == 'poses' else repr(key)} of {what}; SMPL motions have 66, 72, 156 or 165 columns, or "
            "3 x 3 or 6 numbers for each of 22, 24, 52 or 55 joints.")  # fmt: skip


def _joined_parts(record: Record, body: str, notes: list[str]) -> np.ndarray:  # [F, J, 3]
    """Files that keep the parts of a pose apart. Parts of face and hands that are missing stay still."""
    root = names.BODY[body]
    array = _array(record, body)
    shape = pose_shape(array.shape, names.BODY_JOINTS)
    if shape is None:
        columns = array.shape[-1] if array.ndim else 1
        hint = " (a code of VPoser: decode it first)" if columns == 32 else ""
        raise RecordError(f"has '{body}' of shape {array.shape}{hint}; it must have 63 or 69 columns, or 3 x 3 or 6 "
                          "numbers for each of 21 or 23 joints.")  # fmt: skip
    if root not in record:
        raise RecordError(f"has '{body}' but no '{root}'; it does not say which way the body faces.")
    frames = int(np.prod(shape[0]))
    facing = _part(record, (root,), 1, frames)
    assert facing is not None  # it is there
    values = [facing, array.reshape(frames, shape[1], shape[2])]
    if shape[1] == 21:
        values += _face_and_hands(record, frames, notes)
    return _turned(values, notes, 1)


def _face_and_hands(record: Record, frames: int, notes: list[str]) -> list[np.ndarray]:
    face = [
        (names.JAW, 1),
        *([(names.EYES, 2)] if "pose_eye" in record else [(names.LEFT_EYE, 1), (names.RIGHT_EYE, 1)]),
    ]
    hands = [(names.HANDS, 30)] if "pose_hand" in record else [(names.LEFT_HAND, 15), (names.RIGHT_HAND, 15)]
    parts = [_part(record, keys, count, frames, notes) for keys, count in (*face, *hands)]
    if any(part is not None for part in parts[: len(face)]):
        chosen = parts
        counts = [count for _, count in (*face, *hands)]
    elif any(part is not None for part in parts[len(face) :]):
        chosen, counts = parts[len(face) :], [count for _, count in hands]
    else:
        return []
    still = [np.zeros((frames, count, 3)) for count in counts]
    return [rest if part is None else part for part, rest in zip(chosen, still, strict=True)]


def _part(
    record: Record, keys: Sequence[str], count: int, frames: int, notes: list[str] | None = None
) -> np.ndarray | None:  # [F, count, 3, 6 or 9]
    key = next((key for key in keys if key in record), None)
    if key is None:
        return None
    array = _array(record, key)
    numbers = array.size // (frames * count) if frames else 3
    if array.size == frames * count * numbers and numbers in (3, 6, 9):
        return array.reshape(frames, count, numbers)
    columns = array.size // max(frames, 1)
    if (
        notes is not None
        and keys in (names.LEFT_HAND, names.RIGHT_HAND)
        and array.size == frames * columns < frames * 45
    ):
        notes.append(f"'{key}' was left out: {columns} principal components, which only the hand model's file explains")
        return None
    raise RecordError(f"has '{key}' of shape {array.shape}; it must be {(frames, 3 * count)}.")


def _turned(parts: list[np.ndarray], notes: list[str], main: int) -> np.ndarray:  # [F, J, 3]
    """All parts as axis-angle; how six numbers are meant is told from the main one."""
    form, note = "columns", ""
    if any(part.shape[-1] == 6 for part in parts):
        if parts[main].shape[-1] != 6:
            raise RecordError("has six numbers a joint for some parts and not for the body; convert it first.")
        form, note = six_form(_some(parts[main]).astype(np.float64), main)
        notes.append(note)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.concatenate([axis_angles(_finite(part), form) for part in parts], 1)
    except RotationError as error:
        raise RecordError(f"{error}.") from error


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise RecordError("holds numbers that are not finite; it is damaged, take another copy.")
    return values


def _some(values: np.ndarray) -> np.ndarray:  # [F, ...]
    """Frames from the first to the last, enough to tell what the numbers mean."""
    return values[:: max(1, len(values) // SOME)]


def _check_are_rotations(values: np.ndarray, key: str) -> None:  # [F, J, numbers]
    """Three numbers a joint may also be its place: then bones keep their lengths. Raises RecordError."""
    values = _some(values)
    if values.shape[-1] != 3 or len(values) < 3 or not np.abs(values).max() < MOST_TURN:
        return
    parents = list(joints.SMPL_PARENTS[1:22])
    bones = np.linalg.norm(values[:, 1:22] - values[:, parents], axis=-1)  # [F, 21]
    length, spread = bones.mean(0), bones.std(0)
    moves = np.ptp(values[:, :22], axis=0).max() > 1e-3
    if moves and length.min() > 1e-3 and (spread / np.maximum(length, 1e-9)).max() < 0.02:
        raise RecordError(f"holds the places of joints in '{key}', not rotations; convert it to SMPL's poses first.")


def _translation(record: Record, pose: str, count: int) -> tuple[str, np.ndarray]:  # [F, 3]
    own = names.PLACE_OF.get(pose)
    key = own if own in record else next((name for name in names.PLACES if name in record), "")
    if not key:
        return "", np.zeros((count, 3))
    array = _array(record, key)
    if array.size != 3 * count or (array.ndim and array.shape[-1] != 3):
        raise RecordError(f"has {count} poses, but '{key}' of shape {array.shape}; it must be ({count}, 3).")
    return key, array.reshape(count, 3)


def _shape(record: Record, count: int) -> np.ndarray:  # [S]
    key = next((name for name in names.SHAPES if name in record), None)
    if key is None:
        return np.zeros(10)
    array = _array(record, key)
    if not array.size:
        return np.zeros(10)
    rows = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(1, -1)
    return rows.mean(0)[:400]  # some files repeat or estimate it for each pose


def _frames(record: Record, count: int) -> np.ndarray | None:
    """The video frame of each pose, where a file tells."""
    for name in names.FRAMES:
        if name in record:
            frames = _array(record, name).ravel()
            if frames.size != count or frames.dtype.kind not in "iu" or frames.min() < 0 or frames.max() > LAST_FRAME:
                continue
            frames = frames.astype(np.int64)
            if (np.diff(frames) > 0).all():
                return frames
    return None


def _kind(record: Record, pose: str, place: str) -> Kind:
    """What is known of files with such names."""
    source = str(record["results_of"]) if "results_of" in record else ""
    if source == "smpl_params_global":
        return Kind("GVHMR's world", "Y", model="smplx", gender="neutral")
    if source == "smpl_params_incam":
        return Kind("camera coordinates", "-Y", ("-Y", "Y"), model="smplx", gender="neutral", in_camera=True)
    video = source in ("results", "sequence_results") or place in ("cam_trans", "camera")
    if video or pose in ("smpl_thetas", "pred_rotmat"):
        return CAMERA
    if pose == "pose_world":
        return WORLD
    if pose == "smpl_poses" and any(name in record for name in names.SCALES):
        return AIST
    if any(name in record for name in names.SLAHMR):
        return SLAHMR
    if any(name in record for name in names.AMASS):
        return AMASS
    if "verts" in record or "orig_cam" in record or "pred_cam" in record:  # VIBE and kin
        return CAMERA
    return Kind(usual="Y" if pose == "body_pose" else "Z")


def _array(record: Record, key: str) -> np.ndarray:
    """Raises RecordError for what are no numbers."""
    try:
        array = as_array(record[key])
    except ValueError as error:
        raise RecordError(f"has '{key}' that {quoted(error)}; choose another file.") from error
    if array.dtype.kind not in "biuf":
        raise RecordError(f"has '{key}' that holds no numbers; choose another file.")
    if array.size > MOST_NUMBERS:
        raise RecordError(f"has '{key}' of {array.size:,} numbers, over {MOST_NUMBERS:,}; cut the motion into parts.")
    return array


def _told(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"
