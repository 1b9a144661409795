"""Bake clothes to a point cache on disk, which plays in any Blender, without the add-on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from bpy.types import Object, Scene

from . import backend, clothes, garments, live, pc2, rig
from .messages import AddonError

BATCH = 8  # frames decoded between two signs of life


@dataclass(frozen=True)
class BakeSettings:
    folder: str  # // is the .blend's folder
    first: int
    last: int
    overwrite: bool = False


@dataclass(frozen=True)
class Progress:
    done: int
    total: int
    text: str


def cache_path(obj: Object, folder: str) -> Path:
    """Where clothes are baked to. Raises AddonError for a folder beside a .blend that is not saved."""
    if folder.startswith("//") and not bpy.data.filepath:
        raise AddonError("Save the .blend file first, or choose a bake folder that does not start with //.")
    name = bpy.path.clean_name(obj.name)
    return Path(bpy.path.abspath(folder)).absolute() / f"{name}.pc2"


def bake(scene: Scene, obj: Object, settings: BakeSettings) -> Iterator[Progress]:
    """Bake in steps; exhaust it, or close it to stop.

    Frames go to a file beside, which becomes the cache when it is whole. A bake that was stopped or died leaves that
    file, and the next one of the same poses goes on from it. Raises AddonError and BackendError.
    """
    target = clothes.wearer(obj)
    found = rig.recognise(target)
    if settings.last < settings.first:
        raise AddonError(f"The last frame ({settings.last}) is before the first ({settings.first}); change the range.")
    path = cache_path(obj, settings.folder)
    if path.exists() and not settings.overwrite:
        raise AddonError(f"{path} is there already; switch Overwrite on to replace it, or choose another folder.")
    frames = range(settings.first, settings.last + 1)
    garment = backend.open_garment(garments.entry(obj.scale_clothing.garment))
    header = pc2.Header(len(obj.data.vertices), float(settings.first), len(frames))
    _check_folder(path.parent, header.file_bytes)

    with live.suspended():
        poses = []
        with contextlib.closing(_poses(scene, target, found, frames)) as reader:
            for pose in reader:
                poses.append(pose)
                yield Progress(len(poses), 2 * len(frames), "Reading poses")
        rotations = np.stack([pose.rotations for pose in poses])
        shape = rig.body_shape(target)
        rest_pelvis = rig.rest_pelvis(target, found, garment.body, shape)
        translation = np.stack([pose.translation(rest_pelvis) for pose in poses])
        frame = rig.rest_frame(target, found)
        poses_hash = _fingerprint(obj, garment, frame, rotations, translation, shape)
        part_file = path.with_name(f"{path.stem}.{poses_hash}.part")
        try:
            done = _frames_there(part_file, header)
            with open(part_file, "r+b" if done else "wb") as file:
                file.write(header.pack())
                file.truncate(pc2.HEADER.size + done * header.frame_bytes)
                file.seek(0, os.SEEK_END)
                with contextlib.closing(_decoded(obj, garment, rotations[done:], translation[done:], shape)) as stream:
                    for points in stream:
                        if points.shape[1] != header.points:
                            raise AddonError(f"'{obj.name}' was edited or its garment has changed; generate it again.")
                        pc2.write_frames(file, frame.to_armature(points))
                        done += len(points)
                        yield Progress(len(frames) + done, 2 * len(frames), "Baking clothes")
                file.flush()
                os.fsync(file.fileno())
            os.replace(part_file, path)
        except OSError as error:
            raise AddonError(
                f"The bake could not be written to {path.parent} ({error.strerror or error}); "
                "make room or choose another folder."
            ) from error
    _drop_leftovers(path)
    play_cache(obj, path, settings.first)


def _check_folder(folder: Path, size: int) -> None:
    """The folder exists, can be written and has room. Raises AddonError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".scale-clothing-{os.getpid()}"
        probe.touch()
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise AddonError(
            f"The bake folder {folder} cannot be written ({error.strerror or error}); choose another folder."
        ) from error
    if size > free:
        raise AddonError(
            f"The bake needs {size / 1e6:.0f} MB and {folder} has {free / 1e6:.0f} MB free; "
            "make room or choose another folder."
        )


def _poses(scene: Scene, target: Object, found: rig.RigJoints, frames: range) -> Iterator[rig.Pose]:
    """The rig's poses. The scene goes back to its frame, also when the bake is stopped on the way."""
    before = scene.frame_current, scene.frame_subframe
    try:
        for frame in frames:
            scene.frame_set(frame)
            yield rig.read_pose(target, bpy.context.evaluated_depsgraph_get(), found)
    finally:
        scene.frame_set(before[0], subframe=before[1])


def _decoded(obj: Object, garment: backend.OpenGarment, rotations, translation, shape) -> Iterator[np.ndarray]:
    """Points [F, M, 3] a batch, SMPL's axes."""
    if not len(rotations):
        return
    settings = obj.scale_clothing
    stream = backend.get().decode_stream(
        garment.id,
        rotations,
        translation,
        shape=shape if shape.any() else None,
        surface=garments.WIRE_NAMES[settings.surface],
        part=garments.WIRE_NAMES[settings.part],
        push_out=settings.push_out,
        batch=BATCH,
    )
    try:
        for _, points, _ in stream:
            yield points
    finally:
        stream.close()


def _fingerprint(obj: Object, garment: backend.OpenGarment, frame: rig.RigFrame, *arrays: np.ndarray) -> str:
    """What a bake depends on: only frames of the very same are gone on from."""
    settings = obj.scale_clothing
    hasher = hashlib.sha256()
    stat = garment.entry.path.stat()
    parts = (garment.entry.key, stat.st_size, stat.st_mtime_ns, settings.surface, settings.part, settings.push_out)
    hasher.update(repr((*parts, frame.unit)).encode())
    for array in (*arrays, frame.rotation):
        hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()[:12]


def _frames_there(part_file: Path, header: pc2.Header) -> int:
    """Frames that an earlier bake of the same left, in whole batches: then the result is the same to the bit."""
    if not part_file.exists():
        return 0
    there = max(part_file.stat().st_size - pc2.HEADER.size, 0) // header.frame_bytes
    return there // BATCH * BATCH if there < header.frames else header.frames


def _drop_leftovers(path: Path) -> None:
    """Parts of bakes with other poses, of no use now."""
    for leftover in path.parent.glob(f"{path.stem}.????????????.part"):
        leftover.unlink(missing_ok=True)


def play_cache(obj: Object, path: Path, first: int) -> None:
    """Have clothes play a point cache, before their other modifiers."""
    modifier = obj.modifiers.get(clothes.CACHE_MODIFIER) or obj.modifiers.new(clothes.CACHE_MODIFIER, "MESH_CACHE")
    modifier.cache_format = "PC2"
    modifier.filepath = bpy.path.relpath(str(path)) if bpy.data.filepath else str(path)
    modifier.frame_start = first
    modifier.interpolation = "LINEAR"
    modifier.forward_axis, modifier.up_axis = "POS_Y", "POS_Z"  # the cache has the object's own axes
    modifier.show_expanded = False
    obj.modifiers.move(obj.modifiers.find(modifier.name), 0)
    live.watch()
