"""Where a bake goes, whether it fits there, and what it would overwrite."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.types import Object

from scale_backend.formats.whole_files import create_own, name_beside

from ..blender import meshes
from ..blender.objects import mesh_of
from ..clothes import baked_normals, request
from ..clothes.playback import normals_use
from ..garments import kinds
from ..messages import AddonError
from ..settings import clothes_settings
from . import formats
from .sampling import Sampling

KEPT_FREE = 64 << 20  # bytes that a bake leaves on the disk


class DiskError(AddonError):
    """The folder cannot be written, or is full."""


@dataclass(frozen=True)
class BakeSettings:
    folder: str  # // is the .blend's folder
    first: int
    last: int
    overwrite: bool = False  # replace what is there
    format: str = "PC2"
    step: int = 1  # frames from one sample to the next
    per_frame: int = 1  # samples in a step
    keep: bool = False  # leave what is there and bake what is missing, whatever it was baked from
    label: str = ""  # stands after the clothes' name in the names of files

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.first, self.last, self.step, self.per_frame)


def bake_path(obj: Object, settings: BakeSettings) -> Path:
    """What clothes are baked to; for files by frame, what their names begin with. Raises AddonError."""
    if settings.folder.startswith("//") and not bpy.data.filepath:
        raise AddonError("Save the .blend file first, or choose a bake folder that does not start with //.")
    name = bpy.path.clean_name(obj.name) + settings.label
    folder = Path(bpy.path.abspath(settings.folder)).absolute()
    return folder / f"{name}{formats.BY_KEY[settings.format].suffix}"


def sample_path(path: Path, sampling: Sampling, index: int) -> Path:
    """The file of one sample: name_00012.ply, and name_00012_500.ply half a frame later."""
    time = sampling.time(index)
    frame = time.numerator // time.denominator
    between = f"_{float(time - frame) * 1000:03.0f}" if time != frame else ""
    return path.with_name(f"{path.stem}_{frame:05d}{between}{path.suffix}")


def results(path: Path, settings: BakeSettings) -> list[Path]:
    """The files that a bake makes."""
    if not formats.BY_KEY[settings.format].is_sequence:
        return [path]
    return [sample_path(path, settings.sampling, index) for index in range(settings.sampling.count)]


def in_the_way(worn: Sequence[Object], settings: BakeSettings) -> list[Path]:
    """Files that a bake would replace, other than those of a bake that was stopped. Raises AddonError."""
    existing = []
    for obj in worn:
        path = bake_path(obj, settings)
        stopped = formats.BY_KEY[settings.format].is_sequence and any(_leftovers(path))
        existing += [each for each in results(path, settings) if not stopped and each.exists()]
    return existing


def size(worn: Sequence[Object], settings: BakeSettings) -> int:
    """Bytes that the results take, about."""
    count = settings.sampling.count
    if settings.format in formats.EXPORTED:
        count = max((count - 1) * settings.step + 1, 0)  # with the frames that a step leaves out
    return sum(_size(settings.format, obj, count) for obj in worn)


def _size(key: str, obj: Object, samples: int) -> int:
    return formats.size(key, mesh_of(obj), samples, normals_use(obj) is not None)


def megabytes(size: int) -> str:
    """As read by people: 0.4 MB, 9 MB, 1,200 MB."""
    return f"{max(size / 1e6, 0.1):.1f} MB" if size < 9.5e5 else f"{size / 1e6:,.0f} MB"


def is_changing(obj: Object) -> bool:
    """Whether clothes have other faces in each frame."""
    return clothes_settings(obj).surface in kinds.CHANGING


def why_no_cache(obj: Object) -> str:
    """Why clothes cannot be baked to one file, and what to do; empty where they can."""
    if is_changing(obj):
        return (
            "has different faces in each frame and cannot be baked to one file; choose PLY or OBJ files, "
            "or another surface"
        )
    if request.shown_normals(obj) == "DECODED" and not meshes.FREE_NORMALS:
        return (
            "shows decoded normals, and only Blender 4.5 and later play those from one file; "
            "choose PLY or OBJ files, or the normals of the faces"
        )
    return ""


def _is_there(obj: Object, settings: BakeSettings) -> bool:
    path = bake_path(obj, settings)
    beside = [baked_normals.path_beside(path)] if settings.format == "PC2" and normals_use(obj) else []
    return all(each.exists() for each in [*results(path, settings), *beside])


def _check(worn: Sequence[Object], settings: BakeSettings) -> None:
    """What would stop a bake is told before it begins. Raises AddonError."""
    formats.require(settings.format)
    if not worn:
        raise AddonError("There are no clothes to bake; generate some first.")
    for obj in worn:
        if why_no_cache(obj) and not formats.BY_KEY[settings.format].is_sequence:
            raise AddonError(f"'{obj.name}' {why_no_cache(obj)}.")
    if settings.last < settings.first:
        raise AddonError(f"The last frame ({settings.last}) is before the first ({settings.first}); change the range.")
    paths = [bake_path(obj, settings) for obj in worn]
    for obj, path in zip(worn, paths, strict=True):
        if paths.count(path) > 1:
            raise AddonError(f"Two of the clothes would be baked to {path.name}; give '{obj.name}' another name.")
    existing = [] if settings.overwrite or settings.keep else in_the_way(worn, settings)
    if existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise AddonError(
            f"{existing[0]}{more} is there already; switch Overwrite on to replace it, or choose another folder."
        )
    _check_folder(paths[0].parent, _needed(worn, paths, settings))


def _needed(worn: Sequence[Object], paths: list[Path], settings: BakeSettings) -> int:
    """Bytes that are to be written; what an earlier bake has left counts as there."""
    whole = size(worn, settings)
    if settings.format in formats.EXPORTED:
        whole += sum(_size("PC2", obj, settings.sampling.count) for obj in worn)
    there = [*(part for path in paths for part in _leftovers(path))]
    if formats.BY_KEY[settings.format].is_sequence or settings.keep:
        there += [each for path in paths for each in results(path, settings) if each.exists()]
    return max(whole - sum(each.stat().st_size for each in there), 0)


def _check_folder(folder: Path, size: int) -> None:
    """The folder exists, can be written and has room. Raises AddonError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = name_beside(folder / "scale-clothing")
        create_own(probe)
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise DiskError(
            f"The bake folder {folder} cannot be written ({error.strerror or error}); choose another folder."
        ) from error
    if size + KEPT_FREE > free:
        raise DiskError(
            f"The bake needs {megabytes(size)} and {folder} has {megabytes(free)} free; "
            "make room or choose another folder."
        )


def _check_room(folder: Path) -> None:
    """Raises AddonError before the disk is full."""
    if shutil.disk_usage(folder).free < KEPT_FREE:
        raise DiskError(f"The disk of {folder} is nearly full; make room and bake again: the bake resumes here.")


def _leftovers(path: Path) -> Iterator[Path]:
    """Parts of bakes that were stopped, of these poses or others."""
    return path.parent.glob(f"{path.stem}.????????????.part*")


def _drop_leftovers(path: Path) -> None:
    for leftover in _leftovers(path):
        leftover.unlink(missing_ok=True)
