"""Bake clothes to disk: a point cache, which plays in any Blender without the add-on, or files for other programs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from bpy.types import Object, Scene

from scale_backend.formats.whole_files import opened_own, write_whole

from ..blender import pc2
from ..blender.objects import mesh_of
from ..clothes import baked_normals, live
from ..clothes.playback import normals_use, play_cache
from ..messages import AddonError
from ..tasks import folder_lock
from ..tasks.ahead import ahead
from . import export, formats, frame_files
from .plan import (
    BakeSettings,
    DiskError,
    _check,
    _check_room,
    _drop_leftovers,
    _is_there,
    bake_path,
    is_changing,
    results,
)
from .recordings import Recording, record
from .sampling import BATCH, Sampling

IN_USE = "is being baked by {who}; wait until that has finished, or choose another folder."


@dataclass(frozen=True)
class Progress:
    done: int
    total: int
    text: str
    moves_frames: bool = False  # the scene goes through its frames: nothing else can be done there meanwhile


Steps = Generator[Progress, None, None]  # of a bake that goes on


def bake(scene: Scene, worn: Sequence[Object], settings: BakeSettings, patience: float | None = None) -> Steps:
    """Bake in steps; exhaust it, or close it to stop. No step waits longer for the backend than `patience` seconds.

    What stands under a result's name is whole. A bake that was stopped or died leaves its samples in a file beside,
    and the next one of the same poses goes on from it. Raises AddonError and BackendError.
    """
    sampling = settings.sampling
    _check(worn, settings)
    recordings = [Recording.of(obj) for obj in worn if not (settings.keep and _is_there(obj, settings))]
    total = sampling.count * (1 + len(recordings))
    if recordings:
        with live.suspended():
            for done in record(scene, recordings, sampling):
                yield Progress(done, total, "Reading poses", moves_frames=True)
    for number, recording in enumerate(recordings, 1):
        path = bake_path(recording.obj, settings)
        steps = _bake_files if formats.BY_KEY[settings.format].is_sequence else _bake_cache
        try:
            with folder_lock.held(_lock_path(path, settings), f"{path} {IN_USE}"):
                for done in steps(scene, recording, path, settings, patience):
                    yield Progress(number * sampling.count + done, total, f"Baking {recording.obj.name}")
        except OSError as error:
            raise DiskError(
                f"The bake could not be written to {path.parent} ({error.strerror or error}); "
                "make room or choose another folder."
            ) from error
    for obj in worn if settings.format == "PC2" else ():
        first, scale = float(sampling.first / sampling.interval), float(1 / sampling.interval)
        play_cache(obj, bake_path(obj, settings), first, scale)
        live.watch()


def _lock_path(path: Path, settings: BakeSettings) -> Path:
    """What one bake alone holds: a result, or where missing files are added those of its frames."""
    frames = settings.sampling
    part = f".{frames.first}-{frames.last}-{frames.step}-{frames.per_frame}" if settings.keep else ""
    return path.with_name(f".{path.name}{part}.baking")


def _bake_cache(
    scene: Scene, recording: Recording, path: Path, settings: BakeSettings, patience: float | None
) -> Iterator[int]:
    """Samples into a point cache beside, which becomes the result or what the result is exported from."""
    sampling = settings.sampling
    header = pc2.Header(len(mesh_of(recording.obj).vertices), settings.first, sampling.count, float(sampling.interval))
    part = _part_path(recording, path, settings)
    parts = [part]
    use = normals_use(recording.obj)
    if use == baked_normals.SURFACE or (use == baked_normals.POINTS and settings.format == "PC2"):
        parts.append(part.with_name(f"{part.name}_normals"))
    done = sampling.whole(min(_frames_there(each, header) for each in parts))
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(_opened(each, header, done)) for each in parts]
        for batch in _decoded(recording, sampling, done, sampling.count, patience):
            if batch is None:
                yield done
                continue
            samples, points, normals = batch
            _check_room(path.parent)
            if settings.format != "PC2":
                points = np.stack(
                    [recording.to_world(each, sample) for each, sample in zip(points, samples, strict=True)]
                )
                normals = np.stack([recording.turn_to_world(*each) for each in zip(normals, samples, strict=True)])
            for file, values in zip(files, (points, normals), strict=False):
                pc2.write_frames(file, values)
            done = samples.stop
            yield done
        for file in files:
            file.flush()
            os.fsync(file.fileno())
    if settings.format != "PC2":
        beside = part.with_name(f"{part.name}.{secrets.token_hex(8)}{path.suffix}")
        try:
            with live.suspended():
                export.export(scene, recording.obj, part, next(iter(parts[1:]), None), sampling, beside)
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
    with opened_own(part) as file:
        file.write(header.pack())
        file.truncate(pc2.HEADER.size + done * header.frame_bytes)
        file.seek(0, os.SEEK_END)
        yield file


def _bake_files(
    _scene: Scene, recording: Recording, path: Path, settings: BakeSettings, patience: float | None
) -> Iterator[int]:
    """A file for each sample. An empty one beside says that a bake of these poses is not done yet."""
    sampling = settings.sampling
    files = results(path, settings)
    mark = _part_path(recording, path, settings)
    if not settings.keep and not mark.exists():
        for each in files:  # of another bake
            each.unlink(missing_ok=True)
        opened_own(mark).close()
    missing = [index for index, each in enumerate(files) if not each.exists()]
    done = missing[0] if missing else 0
    for frame in _frames(recording, sampling, missing, patience):
        if frame is None:
            yield done
            continue
        sample, points, normals, faces = frame
        if not files[sample].exists():
            _check_room(path.parent)
            here = recording.to_world(points, sample), recording.turn_to_world(normals, sample)
            write_whole(files[sample], frame_files.content(path.suffix, *here, faces))
        done = sample + 1
        yield done
    if not settings.keep:
        _drop_leftovers(path)


def _frames(
    recording: Recording, sampling: Sampling, missing: Sequence[int], patience: float | None
) -> Iterator[tuple[int, np.ndarray, np.ndarray, frame_files.Faces] | None]:  # sample, points, normals [M, 3], faces
    """The samples from the first to the last that is missing; None: the next is not there yet."""
    if not missing:
        return
    first, end = missing[0], missing[-1] + 1
    if not is_changing(recording.obj):
        shared = frame_files.faces_of(recording.obj)
        for batch in _decoded(recording, sampling, first, end, patience):
            if batch is None:
                yield None
                continue
            for sample, points, normals in zip(*batch, strict=True):
                yield sample, points, normals, shared
        return
    samples = iter(range(first, end))
    with ahead(recording.decode_meshes(range(first, end)), patience) as stream:
        for mesh in stream:
            yield None if mesh is None else (next(samples), *mesh)
    _all_came(samples)


def _all_came(expected: Iterator[int]) -> None:
    """Raises AddonError where the backend has left some out."""
    if next(expected, None) is not None:
        raise AddonError("The backend sent fewer frames than it was asked for; bake again: the bake resumes here.")


def _decoded(
    recording: Recording, sampling: Sampling, begin: int, end: int, patience: float | None
) -> Iterator[tuple[range, np.ndarray, np.ndarray] | None]:  # samples, points [F, M, 3], normals [F, M, 3]
    """The batches that hold the samples from begin to end, in the clothes' own space; None: the next is not there yet.

    Raises AddonError and BackendError.
    """
    if begin >= end:
        return
    batches = range(sampling.batch_of(begin), sampling.batch_of(end - 1) + 1)
    numbers = iter(batches)
    with ahead(recording.decode(sampling, batches), patience) as stream:
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


def _part_path(recording: Recording, path: Path, settings: BakeSettings) -> Path:
    """The file beside; its name tells what it was baked from, and only the very same is gone on with."""
    hasher = hashlib.sha256(recording.digest())
    hasher.update(repr((settings.format, settings.sampling, BATCH)).encode())
    return path.with_name(f"{path.stem}.{hasher.hexdigest()[:12]}.part")
