"""Bake clothes to disk: a point cache, which plays in any Blender without the add-on, or files for other programs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import bpy
import numpy as np
from bpy.types import Object, Scene

from . import bake_formats, baked_normals, clothes, frame_files, garments, live, meshes, pc2, scene_export
from .ahead import ahead
from .messages import AddonError
from .sampling import BATCH, Sampling
from .takes import Take, record

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


@dataclass(frozen=True)
class Progress:
    done: int
    total: int
    text: str
    moves_frames: bool = False  # the scene goes through its frames: nothing else can be done there meanwhile


def bake_path(obj: Object, settings: BakeSettings) -> Path:
    """What clothes are baked to; for files by frame, what their names begin with. Raises AddonError."""
    if settings.folder.startswith("//") and not bpy.data.filepath:
        raise AddonError("Save the .blend file first, or choose a bake folder that does not start with //.")
    name = bpy.path.clean_name(obj.name) + settings.label
    folder = Path(bpy.path.abspath(settings.folder)).absolute()
    return folder / f"{name}{bake_formats.BY_KEY[settings.format].suffix}"


def sample_path(path: Path, sampling: Sampling, index: int) -> Path:
    """The file of one sample: name_00012.ply, and name_00012_500.ply half a frame later."""
    time = sampling.time(index)
    frame = time.numerator // time.denominator
    between = f"_{float(time - frame) * 1000:03.0f}" if time != frame else ""
    return path.with_name(f"{path.stem}_{frame:05d}{between}{path.suffix}")


def results(path: Path, settings: BakeSettings) -> list[Path]:
    """The files that a bake makes."""
    if not bake_formats.BY_KEY[settings.format].is_sequence:
        return [path]
    return [sample_path(path, settings.sampling, index) for index in range(settings.sampling.count)]


def in_the_way(worn: Sequence[Object], settings: BakeSettings) -> list[Path]:
    """Files that a bake would replace, other than those of a bake that was stopped. Raises AddonError."""
    found = []
    for obj in worn:
        path = bake_path(obj, settings)
        stopped = bake_formats.BY_KEY[settings.format].is_sequence and any(_leftovers(path))
        found += [each for each in results(path, settings) if not stopped and each.exists()]
    return found


def size(worn: Sequence[Object], settings: BakeSettings) -> int:
    """Bytes that the results take, about."""
    count = settings.sampling.count
    if settings.format in bake_formats.EXPORTED:
        count = max((count - 1) * settings.step + 1, 0)  # with the frames that a step leaves out
    return sum(_size(settings.format, obj, count) for obj in worn)


def _size(key: str, obj: Object, samples: int) -> int:
    return bake_formats.size(key, obj.data, samples, normals_use(obj) is not None)


def megabytes(size: int) -> str:
    """As read by people: 0.4 MB, 9 MB, 1,200 MB."""
    return f"{max(size / 1e6, 0.1):.1f} MB" if size < 9.5e5 else f"{size / 1e6:,.0f} MB"


def bake(
    scene: Scene, worn: Sequence[Object], settings: BakeSettings, patience: float | None = None
) -> Iterator[Progress]:
    """Bake in steps; exhaust it, or close it to stop. No step waits longer for the backend than `patience` seconds.

    What stands under a result's name is whole. A bake that was stopped or died leaves its samples in a file beside,
    and the next one of the same poses goes on from it. Raises AddonError and BackendError.
    """
    sampling = settings.sampling
    _check(worn, settings)
    takes = [Take.of(obj) for obj in worn if not (settings.keep and _is_there(obj, settings))]
    total = sampling.count * (1 + len(takes))
    if takes:
        with live.suspended():
            for done in record(scene, takes, sampling):
                yield Progress(done, total, "Reading poses", moves_frames=True)
    for number, take in enumerate(takes, 1):
        path = bake_path(take.obj, settings)
        steps = _bake_files if bake_formats.BY_KEY[settings.format].is_sequence else _bake_cache
        try:
            for done in steps(scene, take, path, settings, patience):
                yield Progress(number * sampling.count + done, total, f"Baking {take.obj.name}")
        except OSError as error:
            raise DiskError(
                f"The bake could not be written to {path.parent} ({error.strerror or error}); "
                "make room or choose another folder."
            ) from error
    for obj in worn if settings.format == "PC2" else ():
        play_cache(obj, bake_path(obj, settings), sampling)


def is_changing(obj: Object) -> bool:
    """Whether clothes have other faces in each frame."""
    return obj.scale_clothing.surface in garments.CHANGING


def why_no_cache(obj: Object) -> str:
    """Why clothes cannot be baked to one file, and what to do; empty where they can."""
    if is_changing(obj):
        return (
            "has other faces in each frame and cannot be baked to one file; choose PLY or OBJ files, or another surface"
        )
    if clothes.shown_normals(obj) == "DECODED" and not meshes.FREE_NORMALS:
        return (
            "shows decoded normals, and only Blender 4.5 and later play those from one file; "
            "choose PLY or OBJ files, or the normals of the faces"
        )
    return ""


def normals_use(obj: Object) -> baked_normals.Use | None:
    """How clothes play the normals that are baked beside their positions; None where those of their faces will do."""
    if not len(obj.data.polygons):
        return baked_normals.POINTS
    return baked_normals.SURFACE if clothes.shown_normals(obj) == "DECODED" else None


def _is_there(obj: Object, settings: BakeSettings) -> bool:
    path = bake_path(obj, settings)
    beside = [baked_normals.path_beside(path)] if settings.format == "PC2" and normals_use(obj) else []
    return all(each.exists() for each in [*results(path, settings), *beside])


def _check(worn: Sequence[Object], settings: BakeSettings) -> None:
    """What would stop a bake is told before it begins. Raises AddonError."""
    bake_formats.require(settings.format)
    if not worn:
        raise AddonError("There are no clothes to bake; generate some first.")
    for obj in worn:
        if why_no_cache(obj) and not bake_formats.BY_KEY[settings.format].is_sequence:
            raise AddonError(f"'{obj.name}' {why_no_cache(obj)}.")
    if settings.last < settings.first:
        raise AddonError(f"The last frame ({settings.last}) is before the first ({settings.first}); change the range.")
    paths = [bake_path(obj, settings) for obj in worn]
    for obj, path in zip(worn, paths, strict=True):
        if paths.count(path) > 1:
            raise AddonError(f"Two of the clothes would be baked to {path.name}; give '{obj.name}' another name.")
    found = [] if settings.overwrite or settings.keep else in_the_way(worn, settings)
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise AddonError(
            f"{found[0]}{more} is there already; switch Overwrite on to replace it, or choose another folder."
        )
    _check_folder(paths[0].parent, _needed(worn, paths, settings))


def _needed(worn: Sequence[Object], paths: list[Path], settings: BakeSettings) -> int:
    """Bytes that are to be written; what an earlier bake has left counts as there."""
    whole = size(worn, settings)
    if settings.format in bake_formats.EXPORTED:
        whole += sum(_size("PC2", obj, settings.sampling.count) for obj in worn)
    there = [*(part for path in paths for part in _leftovers(path))]
    if bake_formats.BY_KEY[settings.format].is_sequence or settings.keep:
        there += [each for path in paths for each in results(path, settings) if each.exists()]
    return max(whole - sum(each.stat().st_size for each in there), 0)


def _check_folder(folder: Path, size: int) -> None:
    """The folder exists, can be written and has room. Raises AddonError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".scale-clothing-{os.getpid()}"
        probe.touch()
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
        raise DiskError(f"The disk of {folder} is nearly full; make room and bake again, it goes on from here.")


def _bake_cache(scene: Scene, take: Take, path: Path, settings: BakeSettings, patience: float | None) -> Iterator[int]:
    """Samples into a point cache beside, which becomes the result or what the result is exported from."""
    sampling = settings.sampling
    header = pc2.Header(len(take.obj.data.vertices), settings.first, sampling.count, float(sampling.interval))
    part = _part_path(take, path, settings)
    parts = [part]
    use = normals_use(take.obj)
    if use == baked_normals.SURFACE or (use == baked_normals.POINTS and settings.format == "PC2"):
        parts.append(part.with_name(f"{part.name}_normals"))
    done = sampling.whole(min(_frames_there(each, header) for each in parts))
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(_opened(each, header, done)) for each in parts]
        for batch in _decoded(take, sampling, done, sampling.count, patience):
            if batch is None:
                yield done
                continue
            samples, points, normals = batch
            _check_room(path.parent)
            if settings.format != "PC2":
                points = np.stack([take.to_world(each, sample) for each, sample in zip(points, samples, strict=True)])
                normals = np.stack([take.turn_to_world(*each) for each in zip(normals, samples, strict=True)])
            for file, values in zip(files, (points, normals), strict=False):
                pc2.write_frames(file, values)
            done = samples.stop
            yield done
        for file in files:
            file.flush()
            os.fsync(file.fileno())
    if settings.format != "PC2":
        beside = part.with_name(part.name + path.suffix)
        beside.unlink(missing_ok=True)
        try:
            with live.suspended():
                scene_export.export(scene, take.obj, part, next(iter(parts[1:]), None), sampling, beside)
        except RuntimeError as error:
            beside.unlink(missing_ok=True)
            raise AddonError(f"Blender could not write {path.name}: {str(error).strip()}") from error
        part = beside
    elif len(parts) > 1:
        os.replace(parts[1], baked_normals.path_beside(path))
    else:  # of another bake
        baked_normals.path_beside(path).unlink(missing_ok=True)
    os.replace(part, path)
    _drop_leftovers(path)


def _frames_there(part: Path, header: pc2.Header) -> int:
    return max(part.stat().st_size - pc2.HEADER.size, 0) // header.frame_bytes if part.exists() else 0


@contextlib.contextmanager
def _opened(part: Path, header: pc2.Header, done: int) -> Iterator[BinaryIO]:
    """A point cache cut to the samples that are done, to be written on."""
    with open(part, "r+b" if done else "wb") as file:
        file.write(header.pack())
        file.truncate(pc2.HEADER.size + done * header.frame_bytes)
        file.seek(0, os.SEEK_END)
        yield file


def _bake_files(_scene: Scene, take: Take, path: Path, settings: BakeSettings, patience: float | None) -> Iterator[int]:
    """A file for each sample. An empty one beside says that a bake of these poses is not done yet."""
    sampling = settings.sampling
    files = results(path, settings)
    mark = _part_path(take, path, settings)
    if not settings.keep and not mark.exists():
        for each in files:  # of another bake
            each.unlink(missing_ok=True)
        mark.touch()
    missing = [index for index, each in enumerate(files) if not each.exists()]
    done = missing[0] if missing else 0
    for frame in _frames(take, sampling, missing, patience):
        if frame is None:
            yield done
            continue
        sample, points, normals, topology = frame
        if not files[sample].exists():
            _check_room(path.parent)
            here = take.to_world(points, sample), take.turn_to_world(normals, sample)
            _write_whole(files[sample], frame_files.content(path.suffix, *here, topology))
        done = sample + 1
        yield done
    if not settings.keep:
        _drop_leftovers(path)


def _write_whole(path: Path, data: bytes) -> None:
    beside = path.with_name(f"{path.name}.part")
    beside.write_bytes(data)
    os.replace(beside, path)


def _frames(
    take: Take, sampling: Sampling, missing: Sequence[int], patience: float | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray, frame_files.Topology] | None]:  # sample, points, normals [M, 3], faces
    """The samples from the first to the last that is missing; None: the next is not there yet."""
    if not missing:
        return
    first, end = missing[0], missing[-1] + 1
    if not is_changing(take.obj):
        shared = frame_files.topology(take.obj)
        for batch in _decoded(take, sampling, first, end, patience):
            if batch is None:
                yield None
                continue
            for sample, points, normals in zip(*batch, strict=True):
                yield sample, points, normals, shared
        return
    samples = iter(range(first, end))
    with ahead(take.decode_meshes(range(first, end)), patience) as stream:
        for mesh in stream:
            yield None if mesh is None else (next(samples), *mesh)
    _all_came(samples)


def _all_came(expected: Iterator[int]) -> None:
    """Raises AddonError where the backend has left some out."""
    if next(expected, None) is not None:
        raise AddonError("The backend sent fewer frames than it was asked for; bake again, it goes on from here.")


def _decoded(
    take: Take, sampling: Sampling, begin: int, end: int, patience: float | None
) -> Iterator[tuple[range, np.ndarray, np.ndarray] | None]:  # samples, points [F, M, 3], normals [F, M, 3]
    """The batches that hold the samples from begin to end, in the clothes' own space; None: the next is not there yet.

    Raises AddonError and BackendError.
    """
    if begin >= end:
        return
    batches = range(sampling.batch_of(begin), sampling.batch_of(end - 1) + 1)
    numbers = iter(batches)
    with ahead(take.decode(sampling, batches), patience) as stream:
        for decoded in stream:
            if decoded is None:
                yield None
                continue
            batch = next(numbers)
            points, normals = decoded
            samples = sampling.samples_of(batch)
            place = samples.start + sampling.lead - batch * BATCH
            inside = slice(place, place + len(samples))
            yield samples, points[inside], normals[inside]
    _all_came(numbers)


def _part_path(take: Take, path: Path, settings: BakeSettings) -> Path:
    """The file beside; its name tells what it was baked from, and only the very same is gone on with."""
    hasher = hashlib.sha256(take.digest())
    hasher.update(repr((settings.format, settings.sampling, BATCH)).encode())
    return path.with_name(f"{path.stem}.{hasher.hexdigest()[:12]}.part")


def _leftovers(path: Path) -> Iterator[Path]:
    """Parts of bakes that were stopped, of these poses or others."""
    return path.parent.glob(f"{path.stem}.????????????.part*")


def _drop_leftovers(path: Path) -> None:
    for leftover in _leftovers(path):
        leftover.unlink(missing_ok=True)


def play_cache(obj: Object, path: Path, sampling: Sampling) -> None:
    """Have clothes play a point cache, before their other modifiers."""
    modifier = obj.modifiers.get(clothes.CACHE_MODIFIER) or obj.modifiers.new(clothes.CACHE_MODIFIER, "MESH_CACHE")
    times = float(sampling.first / sampling.interval), float(1 / sampling.interval)
    pc2.play(modifier, _shown(path), *times)
    modifier.show_expanded = False
    baked_normals.clear(obj)
    use = normals_use(obj)
    if use is not None:
        normals = baked_normals.play(obj, _shown(baked_normals.path_beside(path)), *times, use)
        obj.modifiers.move(obj.modifiers.find(normals.name), 0)
    obj.modifiers.move(obj.modifiers.find(modifier.name), 0)
    live.watch()


def _shown(path: Path) -> str:
    return bpy.path.relpath(str(path)) if bpy.data.filepath else str(path)
