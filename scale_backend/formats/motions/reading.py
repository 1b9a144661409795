"""Files of motions, in all the forms that people have them, as `Motion`. numpy only: Blender imports this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from scale_backend.formats.foreign_file import ForeignFileError, quoted
from scale_backend.formats.motion import (
    Motion,
    axis_angle_from_quaternions,
    quaternions_from_axis_angle,
    slerp,
)
from scale_backend.formats.motions import names, people
from scale_backend.formats.motions.axes import AXES, find_up_axis
from scale_backend.formats.motions.records import Pose, RecordError, read_record
from scale_backend.formats.values_file import SUFFIXES, opened_values, told_keys

ASSUMED_FRAME_RATE = 30.0  # of files that name none
SLOWEST, FASTEST = 1.0, 10_000.0  # poses a second
MODEL_OF = {24: "smpl", 52: "smplh", 55: "smplx"}  # by joints, of files that name none
LARGEST = 2 << 30  # bytes of a file, and of what it unpacks to: results with the vertices of every frame
MOST_FILES = 100_000  # of a folder
MOST_MISSING = 10  # frames that are filled in for each one that is there
FAR = 100.0  # metres of travel from which on other units are more likely
NEEDED = ("Needed are 'poses' (AMASS, SMPL), 'global_orient' and 'body_pose' (smplx), or the results of a program that "
          "docs/motions.md names")  # fmt: skip


def load_motion(
    path: str | Path | Sequence[Path],
    up_axis: str | None = None,
    frame_rate: float | None = None,
    person: str = "",
    scale: float = 1.0,
) -> Motion:
    """Read a motion from a file (.npz, .npy, .pkl, .pt), or from a folder or several files of a pose each.

    up_axis: "Y", "Z", "-Y" or "-Z"; None takes the file's own `up_axis` key, else what its kind of file is known for,
    else the axis along which the body mostly stands. frame_rate: poses a second; None takes the file's own. person:
    which one, where there are several; "" takes the one with most poses. scale: by which places are multiplied.
    `Motion.notes` says what was assumed. Raises ForeignFileError, FileNotFoundError.
    """
    if isinstance(path, str | Path):
        files, named = None, Path(path)
    else:
        files = [Path(item) for item in path]
        named = files[0].parent
    try:
        if files is None and not named.is_dir():
            if named.suffix.lower() not in SUFFIXES and named.is_file():
                raise RecordError(f"could not be read as a motion; choose a file of the kind {', '.join(SUFFIXES)}.")
            with opened_values(named, LARGEST) as values:
                return _motion(people.find_people(values), values, named, up_axis, frame_rate, person, scale)
        records = people.join_frames(_frame(file) for file in files or _frame_files(named))
        return _motion(records, None, named, up_axis, frame_rate, person, scale)
    except RecordError as error:
        raise ForeignFileError(f"{named.name} {error}") from None
    except (ForeignFileError, OSError) as error:
        if isinstance(error, ForeignFileError | FileNotFoundError):
            raise
        raise ForeignFileError(f"{named.name} cannot be read ({error.strerror or error}); choose another.") from error
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError, RecursionError) as error:
        # of whatever a file may hold in the place of what is expected
        raise ForeignFileError(
            f"{named.name} could not be read as a motion ({quoted(error)}); choose another."
        ) from error


def _motion(
    records: Mapping[str, people.Record],
    values: object,  # of the file; None for a folder
    path: Path,
    up_axis: str | None,
    frame_rate: float | None,
    person: str,
    scale: float,
) -> Motion:
    if not records:
        raise RecordError(
            f"has no 'poses': it is not a motion of SMPL's family. It holds {told_keys(values)}. {NEEDED}."
        )
    poses, faults = {}, []
    for name, record in records.items():
        try:
            poses[name] = read_record(record)
        except RecordError as error:
            faults.append(error)
    if not poses:
        raise faults[0]
    counts = {name: len(pose.rotations) for name, pose in poses.items()}
    if person and person not in poses:
        raise RecordError(f"has no person '{quoted(person)}'; there are {people.listed(counts)}.")
    name = person or max(counts, key=counts.__getitem__)  # the first of those with most
    pose, notes = poses[name], list(poses[name].notes)
    if len(poses) > 1:
        chosen = "" if person else f"; {quoted(name, 20)} was taken"
        notes.insert(0, f"the file has {len(poses)} people, {people.listed(counts)}{chosen}")
    if values is not None and len(pose.rotations) == 1:
        notes.append("the file has a single pose; choose the folder for a motion of a file a frame")
    if faults:
        notes.append(f"{people.plural(len(faults), 'person').replace('persons', 'people')} could not be read: the file "
                     f"{str(faults[0]).rstrip('.')}")  # fmt: skip
    pose, filled = _without_gaps(pose)
    notes += filled
    rate, known = _frame_rate(records[name], pose, frame_rate)
    if not known:
        like = f", as in {pose.kind.name}" if pose.kind.frame_rate else ""
        notes.append(f"the file names no frame rate, {rate:g} was assumed{like}")
    axis = up_axis or _text(records[name], names.UP_AXES)
    if axis:
        axis = _checked_axis(axis)
    else:
        axis, note = find_up_axis(pose.rotations, pose.translation, pose.kind)
        notes.append(note)
    if pose.kind.in_camera and pose.translation.any():
        notes.append("places are as the camera saw them")
    translation = pose.translation * np.float32(scale)
    travel = float(np.ptp(translation, axis=0).max())
    if travel > FAR:
        notes.append(f"the body travels {travel:,.0f} m: if that is too far, the file is in other units; set the scale "
                     "(0.01 for centimetres)")  # fmt: skip
    kind = pose.kind
    return Motion(
        pose.rotations, translation, pose.shape, rate, axis, path.stem,
        model=_text(records[name], names.MODELS) or kind.model or MODEL_OF.get(pose.rotations.shape[1], ""),
        gender=_text(records[name], names.GENDERS) or kind.gender, frame_rate_known=known,
        notes=tuple(notes), person=name, people=tuple(counts),
    )  # fmt: skip


def _frame_files(folder: Path) -> list[Path]:
    """The files of a folder, in the order of their numbers."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    if not files:
        raise RecordError("is a folder without motion files (.npz, .npy, .pkl, .pt); choose another.")
    if len(files) > MOST_FILES:
        raise RecordError(f"is a folder of {len(files)} files, more than any motion has frames; choose another.")
    return sorted(files, key=lambda file: people.natural_order(file.name))


def _frame(file: Path) -> list[tuple[str, people.Record]]:
    """What one file of a folder says of one frame. Raises RecordError for a file that holds a motion."""
    with opened_values(file, LARGEST) as values:
        records = people.find_people(values)
        taken = {name: {key: record[key] for key in names.ALL & set(record)} for name, record in records.items()}
    if not taken:
        raise RecordError(f"holds the file {file.name}, which has no pose; choose the motion's file, or a folder of "
                          "a pose a file.")  # fmt: skip
    for record in taken.values():
        if len(read_record(record).rotations) != 1:
            raise RecordError(f"holds several motions (first: {file.name}); choose one of them.")
    return [(name, people.one_pose(record)) for name, record in taken.items()]


def _without_gaps(pose: Pose) -> tuple[Pose, list[str]]:
    """A person who was not seen in some frames moves on between those before and after."""
    frames = pose.frames
    if frames is None or len(frames) < 2:
        return pose, []
    every = int(frames[-1] - frames[0]) + 1
    missing = every - len(frames)
    if not missing:
        return pose, []
    gone, steps = people.plural(missing, "frame"), np.diff(frames)
    if (steps == steps[0]).all():
        return pose, [f"the poses are those of every {steps[0]}. frame: mind the frame rate"]
    if missing > MOST_MISSING * len(frames):
        return pose, [f"the body is not seen in {gone}, which were left out"]
    time = np.arange(frames[0], frames[-1] + 1)
    low = np.clip(np.searchsorted(frames, time, side="right") - 1, 0, len(frames) - 2)
    fraction = ((time - frames[low]) / (frames[low + 1] - frames[low]))[:, None]
    quaternions = quaternions_from_axis_angle(pose.rotations)
    rotations = axis_angle_from_quaternions(slerp(quaternions[low], quaternions[low + 1], fraction[..., None]))
    translation = pose.translation[low] * (1 - fraction) + pose.translation[low + 1] * fraction
    filled = replace(pose, rotations=rotations.astype(np.float32), translation=translation.astype(np.float32))
    return filled, [f"the body is not seen in {gone}: between those before and after it moves on evenly"]


def _frame_rate(record: people.Record, pose: Pose, given: float | None) -> tuple[float, bool]:
    """Poses a second, and whether it is known."""
    key = next((name for name in names.FRAME_RATES if name in record), None)
    rate = given
    if rate is None and key is not None:
        rate = np.asarray(record[key], np.float64).item()
    if rate is None:
        return pose.kind.frame_rate or ASSUMED_FRAME_RATE, False
    if not SLOWEST <= rate <= FASTEST:
        raise RecordError(f"has a frame rate of {rate:g}; say which it is when you import it.")
    return float(rate), True


def _checked_axis(axis: str) -> str:
    axis = axis.strip().upper().removesuffix("UP").rstrip("_- ").removeprefix("+")
    if axis not in AXES:
        raise RecordError(f"has the up axis '{quoted(axis, 20)}'; say whether it is Y, Z, -Y or -Z when you import it.")
    return axis


def _text(record: people.Record, keys: Sequence[str]) -> str:
    """A word, which some files keep as bytes; nothing where there is none."""
    for key in keys:
        try:
            value = np.asarray(record[key]).item()
        except (KeyError, ValueError, ForeignFileError):
            continue
        word = value.decode(errors="replace") if isinstance(value, bytes) else value
        if isinstance(word, str):
            word = word.strip().lower()
            if key in names.GENDERS:
                return {"f": "female", "m": "male", "n": "neutral"}.get(word, quoted(word, 20))
            return quoted(word, 40)
    return ""
