"""Who is in a file: the poses of each person, wherever a program has put them among its results."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from scale_backend.formats.foreign_file import quoted
from scale_backend.formats.motions.joint_rotations import pose_shape
from scale_backend.formats.motions.names import ALL, BODY, BODY_JOINTS, TRACKS, WHOLE, WHOLE_JOINTS
from scale_backend.formats.pickled_values import as_array

Record = Mapping[str, Any]  # one person's values
# of places where a program keeps the same motion twice, the first that there is
BETTER = (("smpl_params_global", "smpl_params_incam"), ("sequence_results", "results"))
POSES = (*((key, WHOLE_JOINTS) for key in WHOLE), *((key, BODY_JOINTS) for key in BODY))
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
DEEPEST = 5
MOST_PEOPLE = 1000  # of a file, or seen at once


class RecordError(ValueError):
    """What is wrong with a motion, as the end of a sentence that begins with its file's name."""


def find_people(values: object) -> dict[str, Record]:
    """Each person's values by name: the file's own names where it has any, else numbers from 1. Raises RecordError."""
    if isinstance(values, np.ndarray):
        values = {"poses": values}
    records = [item for record in _records(values, {}, DEEPEST) for item in _split(*record)]
    _check_count(len(records))
    if len(records) == 1:
        return {records[0][0] or "1": records[0][1]}
    names = [name or str(number) for number, (name, _) in enumerate(records, 1)]
    if len(set(names)) < len(names):
        names = [str(number) for number in range(1, len(names) + 1)]
    return dict(zip(names, (record for _, record in records), strict=True))


def has_pose(values: object) -> TypeGuard[Record]:
    return isinstance(values, Mapping) and any(key in values for key in (*WHOLE, *BODY))


def join_frames(frames: Iterable[Iterable[tuple[str, Record]]]) -> dict[str, Record]:
    """One record a person, of those who are seen in each frame; `frame_ids` says in which frames each is."""
    seen: dict[str, list[tuple[int, Record]]] = {}
    for number, frame in enumerate(frames):
        for name, record in frame:
            seen.setdefault(name, []).append((number, record))
    people: dict[str, Record] = {}
    for name, appearances in seen.items():
        first = appearances[0][1]
        joined: dict[str, Any] = {}
        for key in ALL & set(first):
            arrays = (_try_array(record.get(key)) for _, record in appearances)
            parts = [part for part in arrays if part is not None]
            if len(parts) == len(appearances) and len({part.shape for part in parts}) == 1:
                joined[key] = np.stack(parts)
            elif isinstance(first[key], str):
                joined[key] = first[key]
        people[name] = joined | {"frame_ids": np.array([number for number, _ in appearances])}
    return people


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts frame 10 behind frame 9."""
    return [(int(part[:18]), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name) if part]


def _records(values: object, above: dict[str, Any], depth: int) -> list[tuple[str, Record]]:
    """All records in a tree of values; what stands beside or above them (a frame rate) is in them too."""
    if depth == 0:
        return []
    if isinstance(values, list):
        poses = [item for item in values if has_pose(item)]
        if len(poses) > 1 and all(_is_one_pose(item) for item in poses):
            return list(join_frames(people_of_frame(item) for item in values).items())
        return [("", {**above, **item}) for item in poses]
    if not isinstance(values, Mapping):
        return []
    if has_pose(values):
        if above.get("results_of") == "results":  # ROMP's of one picture: a row a person
            return [(name, {**above, **record}) for name, record in join_frames([people_of_frame(values)]).items()]
        return [("", _beside(values, above))]
    for names in BETTER:
        for name in names:
            if name in values:
                records = _records(values[name], {**above, "results_of": name}, depth - 1)
                if records:
                    return records
    if _is_frames(values):
        ordered = sorted(values, key=lambda key: natural_order(str(key)))
        joined = join_frames(people_of_frame(values[key]) for key in ordered)
        return [(name, {**above, **record}) for name, record in joined.items()]
    above = {**above, **{key: item for key, item in values.items() if isinstance(item, str | int | float | np.ndarray)}}
    found = []
    for key, item in values.items():
        inside = _records(item, above, depth - 1)
        found += [
            (name or str(key) if len(inside) == 1 else f"{key} {name}".strip(), record) for name, record in inside
        ]
    return found


def _beside(values: Mapping, above: dict[str, Any]) -> Record:
    return values if not above else {**above, **{key: values[key] for key in values}}


def _is_frames(values: Mapping) -> bool:
    """Whether these are results by frame: named by pictures, or one pose a number."""
    some = [values[key] for key in list(values)[:3]]
    names = [str(key).lower() for key in list(values)[:3]]
    if not some:
        return False
    if all(name.endswith(IMAGES) for name in names):
        return True
    return len(values) > 1 and all(has_pose(item) and _is_one_pose(item) for item in some)


def _is_one_pose(record: Record) -> bool:
    return _leading(record) == ()


def people_of_frame(frame: object) -> list[tuple[str, Record]]:
    """Those who are seen in one frame of a program's results, by their track where the program has followed them."""
    if isinstance(frame, Mapping) and isinstance(records := frame.get("smpl"), list):  # PHALP
        tracks = named if isinstance(named := frame.get("tid"), list) else range(1, len(records) + 1)
        cameras = given if isinstance(given := frame.get("camera"), list) else []
        people = []
        for number, (track, record) in enumerate(zip(tracks, records, strict=False)):
            if has_pose(record):
                place = {"camera": cameras[number]} if number < len(cameras) else {}
                people.append((str(track), one_pose({**record, **place})))
        return people
    if isinstance(frame, list):
        return [(_track(item, number), one_pose(item)) for number, item in enumerate(frame, 1) if has_pose(item)]
    if not has_pose(frame):
        return []
    leading = _leading(frame)
    if not leading:
        return [(_track(frame, 1), frame)]
    _check_count(leading[0])
    ids = next((_try_array(frame.get(key)) for key in TRACKS if key in frame), None)
    rows = [{key: item[row] for key, item in _of_length(frame, leading[0])} for row in range(leading[0])]
    if ids is None or ids.size != len(rows):
        ids = np.arange(1, len(rows) + 1)
    return [(str(track), row) for track, row in zip(ids.ravel().tolist(), rows, strict=True)]


def one_pose(record: Record) -> Record:
    """A record of a single pose, without axes for that."""
    leading = _leading(record)
    if not leading or set(leading) != {1}:
        return record
    return one_pose({**{key: record[key] for key in record}, **{key: item[0] for key, item in _of_length(record, 1)}})


def _track(record: Record, number: int) -> str:
    for key in TRACKS:
        track = _try_array(record.get(key))
        if track is not None and track.size == 1:
            return str(track.item())
    return str(number)


def _split(name: str, record: Record) -> list[tuple[str, Record]]:
    """The people of a record whose arrays have an axis for them."""
    leading = _leading(record)
    lists = next((record[key] for key, joints in POSES if key in record and _is_list(record[key], joints)), None)
    if lists is not None:
        count = len(lists)
    elif leading is not None and len(leading) > 1:
        count = leading[0]
    else:
        return [(name, record)]
    _check_count(count)
    rest = {key: record[key] for key in record}
    shared = dict(_of_length(record, count))
    people = [rest | {key: item[row] for key, item in shared.items()} for row in range(count)]
    if count == 1:
        return [(name, people[0])]
    return [(f"{name} {row}".strip(), person) for row, person in enumerate(people, 1)]


def _check_count(people: int) -> None:
    """Raises RecordError."""
    if people > MOST_PEOPLE:
        raise RecordError(f"holds {people:,} people, over {MOST_PEOPLE:,}; choose another file.")


def _of_length(record: Record, count: int) -> list[tuple[str, Sequence | np.ndarray]]:
    """The values that have an item for each of so many people."""
    items: list[tuple[str, Sequence | np.ndarray]] = []
    for key in record:
        item = record[key]
        if (isinstance(item, list) or (isinstance(item, np.ndarray) and item.ndim)) and len(item) == count:
            items.append((key, item))
    return items


def _leading(record: Record) -> tuple[int, ...] | None:
    """The axes before those of one pose, () for one pose alone; None where no key holds poses."""
    for key, joints in POSES:
        if key in record and not _is_list(record[key], joints):
            array = _try_array(record[key])
            shape = None if array is None else pose_shape(array.shape, joints)
            if shape is not None:
                return shape[0]
    return None


def _is_list(value: object, joints: Sequence[int]) -> bool:
    """Whether a list holds the poses of one person after the other, not one pose after the other."""
    if not isinstance(value, list) or not value:
        return False
    shapes = (pose_shape(item.shape, joints) if isinstance(item, np.ndarray) else None for item in value)
    return all(shape is not None and len(shape[0]) == 1 for shape in shapes)


def _try_array(value: object) -> np.ndarray | None:
    if value is None:
        return None
    try:
        return as_array(value)
    except ValueError:
        return None


def listed(people: Mapping[str, int], most: int = 6) -> str:  # names and their numbers of poses
    """Who is there, for a sentence."""
    shown = [f"{quoted(name, 20)} ({plural(count, 'pose')})" for name, count in list(people.items())[:most]]
    return ", ".join(shown) + (f" and {len(people) - most} more" if len(people) > most else "")


def plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
