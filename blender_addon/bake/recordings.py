"""Recordings: the poses of a rig over some frames, recorded for the clothes that it wears."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import bpy
import numpy as np
from bpy.types import Depsgraph, Object, Scene

from scale_backend.client.backend import BackendError
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.formats.wearer import Wearer

from ..backend.process import Launch, launch
from ..clothes import request, selection
from ..garments import library, opened
from ..messages import AddonError
from ..rig import fitting
from ..rig.pose import read_pose
from ..rig.rest import Rest, RigFrame, rest_of
from .frame_files import Topology
from .sampling import BATCH, Sampling

Item = TypeVar("Item")

# what the last bits of a decoded point depend on, beside the pose
COMPUTED_BY = ("version", "torch", "device", "device_name", "threads", "precisions")


@dataclass
class Recording:
    """One character's clothes and what was recorded for them, F samples."""

    obj: Object
    target: Object
    rest: Rest
    garment: opened.OpenGarment
    frame: RigFrame
    launch: Launch  # to start the backend again from another thread, where it dies
    fitted: fitting.FittedBody  # at the take's beginning; a wearer's body stays what it was then
    rotations: list[np.ndarray] = field(default_factory=list)  # F of [J, 3, 3]
    translations: list[np.ndarray] = field(default_factory=list)  # F of [3] metres
    shapes: list[np.ndarray] = field(default_factory=list)  # F of [S]
    matrices: list[np.ndarray] = field(default_factory=list)  # F of [4, 4] from the clothes' space to the world

    @property
    def wearer(self) -> Wearer | None:
        return self.fitted.wearer

    @classmethod
    def of(cls, obj: Object) -> Recording:
        """An empty recording. Raises AddonError and BackendError."""
        target = selection.wearer(obj)
        rest = rest_of(target)
        garment = opened.open_garment(library.entry(obj.scale_clothing.garment))
        fitted = _fitted(obj, target, rest, garment)
        return cls(obj, target, rest, garment.worn_by(fitted.wearer), fitted.frame(rest.frame), launch(), fitted)

    def add(self, depsgraph: Depsgraph) -> None:
        """Record the pose of the present frame."""
        pose = read_pose(self.target, depsgraph, self.rest)
        fitted = self.fitted if self.wearer is not None else _fitted(self.obj, self.target, self.rest, self.garment)
        self.rotations.append(pose.rotations)
        self.translations.append(fitted.translation(pose))
        self.shapes.append(fitted.shape)
        self.matrices.append(np.array(self.obj.evaluated_get(depsgraph).matrix_world))

    def digest(self) -> bytes:
        """What a bake of it depends on."""
        settings = self.obj.scale_clothing
        stat = self.garment.entry.path.stat()
        hasher = hashlib.sha256()
        parts = (self.garment.entry.key, stat.st_size, stat.st_mtime_ns, settings.surface, settings.part,
                 settings.push_out, request.shown_normals(self.obj), self.frame.unit,
                 *(() if self.wearer is None else (self.wearer.digest,)), *self._computed_by())  # fmt: skip
        hasher.update(repr(parts).encode())
        for array in (self.rotations, self.translations, self.shapes, self.matrices, self.frame.rotation):
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.digest()

    def decode(self, sampling: Sampling, batches: range) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Points and normals [BATCH, M, 3] of each batch, in the clothes' space. Raises BackendError, AddonError.

        What it needs of Blender is read at once; what it gives may be taken from any thread.
        """
        poses = self._poses(lambda values: sampling.filled(values, batches))
        options, count, name = self._options(), len(self.obj.data.vertices), self.obj.name

        def from_batch(done: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            stream = self.garment.stream(poses[done * BATCH :], options, BATCH)
            return self._in_armature(stream, count, name)

        return self._outliving(from_batch)

    def decode_meshes(self, samples: range) -> Iterator[tuple[np.ndarray, np.ndarray, Topology]]:
        """Points, normals [M, 3] and faces of each sample, for clothes that have other faces in each. As `decode`."""
        poses, options = self._poses(lambda values: values[samples.start : samples.stop]), self._options()
        return self._outliving(lambda done: self._meshes_in_armature(self.garment.meshes(poses[done:], options)))

    def _outliving(self, stream_from: Callable[[int], Iterator[Item]]) -> Iterator[Item]:
        """What a stream gives. Where the backend dies on the way it goes on with another from where it was, but not
        twice from the same place. Raises BackendError, AddonError."""
        done, died_at = 0, -1
        while True:
            try:
                with contextlib.closing(stream_from(done)) as stream:
                    for item in stream:
                        yield item
                        done += 1
                return
            except BackendError as error:
                if died_at == done:
                    raise
                died_at, computed_by = done, self._computed_by()
                self.garment = opened.renewed(self.garment, error, self.launch)
                if self._computed_by() != computed_by:  # parts of a bake are to be one
                    raise

    def _computed_by(self) -> tuple[object, ...]:
        return tuple(self.garment.backend.info.get(name) for name in COMPUTED_BY)

    def _options(self) -> DecodeOptions:
        settings = self.obj.scale_clothing
        return request.options_of(self.obj).on_wire(settings.surface, settings.part)

    def _meshes_in_armature(
        self, stream: Iterator[tuple[int, dict[str, np.ndarray]]]
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Topology]]:
        """Runs in any thread: touches nothing of Blender's."""
        with contextlib.closing(stream):
            for _, mesh in stream:
                points, normals = self.frame.to_armature(mesh["points"]), self.frame.turn_to_armature(mesh["normals"])
                yield points, normals, Topology(mesh["triangles"], mesh["patch"])

    def _poses(self, chosen: Callable[[np.ndarray], np.ndarray]) -> Poses:
        """The chosen ones of the recorded poses; one shape for all where it stays, None where it is the mean."""
        shapes = np.stack(self.shapes)
        changing = (shapes != shapes[0]).any()
        shape = chosen(shapes) if changing else shapes[0] if shapes[0].any() else None
        return Poses(chosen(np.stack(self.rotations)), chosen(np.stack(self.translations)), shape)

    def _in_armature(
        self, stream: Iterator[tuple[int, np.ndarray, np.ndarray]], count: int, name: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Runs in any thread: touches nothing of Blender's."""
        with contextlib.closing(stream):
            for points, normals in _whole_batches(stream):
                if points.shape[1] != count:
                    raise AddonError(f"'{name}' was edited or its garment has changed; generate it again.")
                yield self.frame.to_armature(points), self.frame.turn_to_armature(normals)

    def to_world(self, points: np.ndarray, sample: int) -> np.ndarray:  # [M, 3]
        matrix = self.matrices[sample].astype(np.float32)
        return points @ matrix[:3, :3].T + matrix[:3, 3]

    def turn_to_world(self, normals: np.ndarray, sample: int) -> np.ndarray:  # [M, 3]
        turned = normals @ np.linalg.inv(self.matrices[sample][:3, :3]).astype(np.float32)
        return turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)


def _fitted(obj: Object, target: Object, rest: Rest, garment: opened.OpenGarment) -> fitting.FittedBody:
    settings = obj.scale_clothing
    return fitting.body_for(target, rest, garment.body, settings.fit_to_rig, settings.fit_to_body)


def _whole_batches(stream: Iterator[tuple[int, np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A backend that is short of memory sends batches in pieces."""
    pieces: list[tuple[np.ndarray, np.ndarray]] = []
    for _, points, normals in stream:
        pieces.append((points, normals))
        if sum(len(piece[0]) for piece in pieces) == BATCH:
            yield pieces[0] if len(pieces) == 1 else tuple(map(np.concatenate, zip(*pieces, strict=True)))
            pieces = []


def record(scene: Scene, recordings: Sequence[Recording], sampling: Sampling) -> Iterator[int]:
    """Go through the frames, and tell how many are done. The scene goes back to its frame, also when it is stopped."""
    before = scene.frame_current, scene.frame_subframe
    try:
        for done, (frame, subframe) in enumerate(sampling.times(), 1):
            scene.frame_set(frame, subframe=subframe)
            for recording in recordings:
                recording.add(bpy.context.evaluated_depsgraph_get())
            yield done
    finally:
        scene.frame_set(before[0], subframe=before[1])
