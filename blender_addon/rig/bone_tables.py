"""Which bones the rigs of a family have for the joints of a body: a table in TOML for each, ours and the user's own.

A table names bones by joints, with `{side}` for left and right: hip = "{side}UpLeg". A list names other spellings.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import tomllib

from scale_backend.formats import joints
from scale_backend.formats.foreign_file import ForeignFileError, check_size, quoted
from scale_backend.formats.whole_files import write_whole

from ..messages import AddonError
from ..paths import user_folder

SHIPPED = Path(__file__).resolve().parent / "families"
SIDES = ("left_", "right_")
# what a table may name: the joints of all models, eyes as the research code has them
JOINTS = tuple(name.removesuffix("_smplhf") for name in dict.fromkeys((*joints.SMPL, *joints.SMPL_X)))
PAIRED = tuple(name.removeprefix("left_") for name in JOINTS if name.startswith("left_"))
LONGEST = 200  # letters of a name; a bone's has 63 at most
LARGEST = 1 << 20  # bytes of a table
KEYS = ("name", "sides", "known", "is_smpl", "bones", "turned", "controls", "switches")

Stamp = tuple[tuple[str, int], ...]  # files of a folder and when they were changed


class TableError(AddonError):
    """A table that cannot be used; the sentence names the file and what is wrong in it."""


@dataclass(frozen=True, eq=False)
class Family:
    """The names of the bones of one family of rigs, as its makers write them."""

    name: str
    bones: dict[str, tuple[str, ...]]  # joint: its bone's names, the usual one first
    known: tuple[str, ...] = ()  # bones of no joint that tell the family from one like it
    is_smpl: bool = False  # the bones are SMPL's own joints: at rest they stand in SMPL's T-pose
    is_own: bool = False  # the user's
    turned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # joints whose own bones lack the twist
    controls: Mapping[str, str] = field(default_factory=dict)  # joints of the bones that steer them
    switches: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # their bones' properties


@dataclass(frozen=True)
class Families:
    """All that are known, the user's own first, and what is wrong with files that cannot be used."""

    families: tuple[Family, ...]
    problems: tuple[str, ...]


@cache
def own_folder() -> Path:
    """Where the user's tables lie; it outlives updates of the add-on."""
    return user_folder("rigs")


def families() -> Families:
    """The tables that ship and the user's. Files are read again when they have changed."""
    return _families(stamp())


def stamp() -> Stamp:
    """What the user's folder holds: asked for in every live frame, it must be quick."""
    try:
        with os.scandir(own_folder()) as entries:
            tables = [entry for entry in entries if entry.name.endswith(".toml") and entry.is_file()]
            return tuple(sorted((table.path, table.stat().st_mtime_ns) for table in tables))
    except OSError:  # somebody has removed it, or a table just now
        return ()


@lru_cache(maxsize=2)
def _families(own: Stamp) -> Families:
    found, problems = [], []
    for path, _ in own:
        try:
            found.append(replace(read_table(Path(path)), is_own=True))
        except TableError as error:
            problems.append(str(error))
    return Families((*found, *shipped()), tuple(problems))


@cache
def shipped() -> tuple[Family, ...]:
    return tuple(read_table(path) for path in sorted(SHIPPED.glob("*.toml")))


def read_table(path: Path) -> Family:
    """Raises TableError."""
    try:
        check_size(path, LARGEST)
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except ForeignFileError as error:
        raise TableError(str(error)) from None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else quoted(error)
        raise TableError(f"{path.name} cannot be read as a table of bones: {reason}") from None
    unknown = sorted(set(table) - set(KEYS))
    if unknown:
        raise TableError(f"{path.name} has '{quoted(unknown[0])}'; a table of bones has {', '.join(KEYS)}.")
    bones = table.get("bones")
    if not _are_words([table.get("name")]) or not isinstance(bones, dict):
        raise TableError(f'{path.name} needs a line name = "..." and a part [bones].')
    sides = table.get("sides", [])
    if not _are_words(sides) or len(sides) not in (0, 2) or not _are_words(table.get("known", [])):
        raise TableError(f'{path.name}: sides must be two words, as ["Left", "Right"], and known a list of names.')
    turned = table.get("turned", {})
    if not isinstance(turned, dict):
        raise TableError(f"{path.name}: turned must be a part of its own, [turned].")
    known, is_smpl = tuple(table.get("known", ())), bool(table.get("is_smpl", False))
    return Family(
        table["name"], _by_joint(path, bones, sides), known, is_smpl, turned=_by_joint(path, turned, sides),
        controls=_controls(path, table), switches=_switches(path, table),
    )  # fmt: skip


def _by_joint(path: Path, said: dict, sides: list[str]) -> dict[str, tuple[str, ...]]:
    """The names of the bones of each joint. Raises TableError."""
    found: dict[str, tuple[str, ...]] = {}
    for key, value in said.items():
        if len(key) > LONGEST:
            raise TableError(f"{path.name}: '{quoted(key)}' is no joint; docs/rigs.md lists the joints.")
        names = (value,) if isinstance(value, str) else value
        if not _are_words(names) or not names:
            raise TableError(f"{path.name}: the bone of '{key}' must be a name or a list of names.")
        if key in JOINTS:
            found[key] = tuple(names)
        elif key in PAIRED and sides:
            for joint_side, side in zip(SIDES, sides, strict=True):
                found[joint_side + key] = tuple(name.replace("{side}", side) for name in names)
        elif key in PAIRED:
            raise TableError(f"{path.name}: '{key}' is for left and right, but there are no sides; name them.")
        else:
            near = difflib.get_close_matches(key, (*JOINTS, *PAIRED), 1)
            mended = f"do you mean '{near[0]}'?" if near else "docs/rigs.md lists the joints."
            raise TableError(f"{path.name}: '{key}' is no joint; {mended}")
    return found


def _controls(path: Path, table: dict) -> dict[str, str]:
    """The joint of each control, in the table's order. Raises TableError."""
    controls: dict[str, str] = {}
    for name, joint in _both_sides(path, table, "controls"):
        if joint not in JOINTS:
            raise TableError(f"{path.name}: the control '{quoted(name)}' is of '{quoted(joint)}', which is no joint.")
        controls[name] = joint
    return controls


def _switches(path: Path, table: dict) -> dict[str, dict[str, float]]:
    """Properties of bones and their values. Raises TableError."""
    switches: dict[str, dict[str, float]] = {}
    for name, values in _both_sides(path, table, "switches"):
        if not isinstance(values, dict) or not all(isinstance(value, int | float) for value in values.values()):
            raise TableError(f"{path.name}: the switches of '{quoted(name)}' must be numbers by names of properties.")
        switches[name] = values
    return switches


def _both_sides(path: Path, table: dict, part: str) -> Iterator[tuple[str, Any]]:
    """What a part of the table says of bones, for left and for right where it says {side}. Raises TableError."""
    said = table.get(part, {})
    if not isinstance(said, dict):
        raise TableError(f"{path.name}: {part} must be a part of its own, [{part}].")
    for name, value in said.items():
        if "{side}" not in name:
            yield name, value
            continue
        for joint_side, side in zip(SIDES, table.get("sides", ()), strict=False):
            yield name.replace("{side}", side), joint_side + value if isinstance(value, str) else value


def write_table(path: Path, name: str, bones: Mapping[str, str], is_smpl: bool = False) -> None:
    """Write the bones of joints as a table. Raises OSError."""
    lines = [f"name = {json.dumps(name, ensure_ascii=False)}", *(["is_smpl = true"] if is_smpl else []), "", "[bones]"]
    lines += [f"{joint} = {json.dumps(bones[joint], ensure_ascii=False)}" for joint in JOINTS if joint in bones]
    write_whole(path, "\n".join([*lines, ""]).encode())


def plain(name: str) -> str:
    """A bone's name as names are compared: programs change case and separators."""
    return name.lower().replace(".", "_").replace(" ", "_").replace("-", "_")


def _are_words(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(word, str) and 0 < len(word) <= LONGEST for word in value)
