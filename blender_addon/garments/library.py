"""The garments to choose from: those that ship and the user's own folder. Reads headers only, no torch."""

from __future__ import annotations

import filecmp
import shutil
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from scale_backend.formats.body_digest import body_digest
from scale_backend.formats.garment_header import GarmentError
from scale_backend.formats.garment_summary import GarmentSummary, garment_summary
from scale_backend.formats.whole_files import written_whole
from scale_backend.formats.window import Window

from .. import settings as addon_settings
from ..messages import AddonError
from ..paths import asset_folder, body_file
from ..rig.body_data import BodyData, read_body
from .kinds import PARTS, SURFACES, WIRE_NAMES

SUFFIX = ".safetensors"
NONE = "NONE"  # key of the menu's only entry when there are no garments


@dataclass(frozen=True)
class Entry:
    """A garment file in a library folder, usable or not."""

    key: str  # what a .blend remembers: the name of a shipped garment, the path of another
    path: Path
    summary: GarmentSummary | None
    problem: str = ""

    @property
    def title(self) -> str:
        return (self.summary.title if self.summary else "") or self.path.stem

    @property
    def has_colors(self) -> bool:
        """Whether it was trained on coloured scans."""
        return self.summary is not None and self.summary.has_colors

    def window(self) -> Window:
        """What it sees beside the pose: earlier moments, where down is."""
        return self.summary.window if self.summary else Window()

    def fabrics(self) -> tuple[str, ...]:
        """That it can be made of; empty where there is no choice."""
        return self.summary.fabrics if self.summary else ()

    def body_path(self) -> Path:
        """The file of the body that it is made for. Raises AddonError."""
        if self.summary is None:
            raise AddonError(self.problem)
        return body_file(self.summary.body_name)

    def body(self) -> BodyData:
        """The body that it is made for. Raises AddonError."""
        return read_body(self.body_path())

    def surfaces(self) -> tuple[str, ...]:
        offered = self.summary.surfaces if self.summary else ("points",)
        return tuple(item[0] for item in SURFACES if WIRE_NAMES[item[0]] in offered)

    def parts(self) -> tuple[str, ...]:
        offered = self.summary.parts if self.summary else ("clothes",)
        return tuple(item[0] for item in PARTS if WIRE_NAMES[item[0]] in offered)

    def choose(self, surface: str, part: str) -> tuple[str, str]:
        """What was asked for where the garment offers it, else what it does offer."""
        surfaces, parts = self.surfaces(), self.parts()
        return (surface if surface in surfaces else surfaces[0], part if part in parts else parts[0])


@lru_cache(maxsize=256)
def _summary(path: Path, changed: int) -> tuple[GarmentSummary | None, str]:
    """Header of a file; read again when the file changes."""
    try:
        return garment_summary(path), ""
    except GarmentError as error:
        return None, str(error)


def shipped_folder() -> Path:
    return asset_folder() / "garments"


def entry(key: str) -> Entry:
    """The garment of a key. A missing file is an entry with a problem."""
    if key == "":  # what Blender makes of a number that has no entry
        return Entry(key, Path(NONE), None, "The garment that was chosen here is gone; choose another garment.")
    if key == NONE:
        return Entry(key, Path(NONE), None, "There are no garments: add a garment file with the + beside the menu.")
    path = Path(key)
    if not path.suffix and not path.is_absolute():
        path = shipped_folder() / f"{key}{SUFFIX}"
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return Entry(key, path, None, f"There is no garment file {path}; choose another garment.")
    return Entry(key, path, *_summary(path, changed))


def library() -> list[Entry]:
    """All garments: shipped ones first, then the user's, by title."""
    shipped = [entry(path.stem) for path in shipped_folder().glob(f"*{SUFFIX}")]
    own = [entry(str(path)) for path in addon_settings.garment_folder().glob(f"*{SUFFIX}") if _has_a_text(path)]
    return [*sorted(shipped, key=lambda e: e.title), *sorted(own, key=lambda e: e.title)]


def _has_a_text(path: Path) -> bool:
    """Whether a file's name is letters: Blender's menus and .blend files can hold no others."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_own(entry: Entry) -> bool:
    """Whether a garment is a file in the user's folder."""
    return entry.path.is_file() and entry.path.parent == addon_settings.garment_folder()


def body_problem(entry: Entry) -> str:
    """Why a garment cannot be worn yet though its file is right: its body is missing or another; else empty."""
    try:
        data = entry.body()
    except AddonError as error:
        return str(error)
    assert entry.summary is not None  # else it has no body
    if body_digest(data.template, data.triangles) == entry.summary.body_digest:
        return ""
    name = entry.summary.body_name
    return f"It was made for another body than the '{name}' that is here: get the body it was trained on."


def number(key: str) -> int:
    """A number for a key that stays the same when other garments come and go: .blend files store enums as numbers.

    24 bits: Blender's drop-downs keep an entry's number as a float32, which rounds larger ones to another's.
    """
    return zlib.crc32(key.encode()) & 0xFFFFFF


def add_to_library(path: Path) -> Entry:
    """Copy a garment file into the user's folder. Raises AddonError; nothing is left half-copied."""
    try:
        garment_summary(path)
    except GarmentError as error:
        raise AddonError(str(error)) from error
    target = addon_settings.garment_folder() / path.name
    if target.exists() and not filecmp.cmp(target, path, shallow=False):
        raise AddonError(f"{target.parent} already holds a garment {path.name}; rename one of the two.")
    try:
        if not (target.exists() and target.samefile(path)):
            with written_whole(target) as beside:
                shutil.copyfile(path, beside)
    except OSError as error:
        raise AddonError(
            f"{path.name} could not be copied to {target.parent}: {error.strerror}; "
            "choose another folder in the preferences."
        ) from error
    return entry(str(target))


def remove_from_library(entry: Entry) -> None:
    """Delete a file of the user's own. Raises AddonError."""
    if not is_own(entry):
        raise AddonError(f"'{entry.title}' is not in your garment folder; only garments there can be removed.")
    try:
        entry.path.unlink()
    except OSError as error:
        raise AddonError(f"{entry.path} could not be deleted: {error.strerror}; delete it by hand.") from error
