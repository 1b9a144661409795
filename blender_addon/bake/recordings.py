"""Recordings: the poses of a rig over some frames, recorded for the clothes that it wears."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import bpy
import numpy as np
from bpy.types import Depsgraph, Object, Scene

from scale_backend.client.backend import BackendError
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.formats.wearer import Wearer
from scale_backend.formats.window import Window

from ..backend.process import Launch, launch
from ..blender.objects import mesh_of
from ..clothes import memory, request, selection
from ..garments import library, opened
from ..messages import AddonError
from ..rig import fitting
from ..rig.moments import Clock, Felt, Moment, felt, frame_of, frames_seen
from ..rig.rest import Rest, RigFrame, rest_of
from ..settings import clothes_settings
from .frame_files import Faces
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
    feels: list[Felt] = field(default_factory=list)  # F of one pose each, of a garment that feels more than the pose
    earlier: dict[float, Moment] = field(default_factory=dict)  # by frame, those that the next samples look back at

    @property
    def wearer(self) -> Wearer | None:
        return self.fitted.wearer

    @classmethod
    def of(cls, obj: Object) -> Recording:
        """An empty recording. Raises AddonError and BackendError."""
        target = selection.wearer(obj)
        rest = rest_of(target)
        garment = opened.open_garment(library.entry(clothes_settings(obj).garment))
        fitted = _fitted(obj, target, rest, garment)
        return cls(obj, target, rest, garment.worn_by(fitted.wearer), fitted.frame(rest.frame), launch(), fitted)

    @property
    def window(self) -> Window:
        """What the garment sees beside the pose."""
        window = self.garment.entry.window()
        return window if clothes_settings(self.obj).motion else window.at_rest()

    def look(self, scene: Scene, depsgraph: Depsgraph) -> Moment:
        """Remember the present frame as one that later samples look back at."""
        now = Moment.read(self.target, depsgraph, self.rest, frame_of(scene))
        if self.window.lags:
            self.earlier[now.frame] = now
        return now

    def add(self, scene: Scene, depsgraph: Depsgraph) -> None:
        """Record the pose of the present frame, after all those that its window looks back at."""
        now, window, clock = self.look(scene, depsgraph), self.window, Clock.of(scene)
        fitted = self.fitted if self.wearer is not None else _fitted(self.obj, self.target, self.rest, self.garment)
        self.rotations.append(now.pose.rotations)
        self.translations.append(fitted.translation(now.pose))
        self.shapes.append(fitted.shape)
        self.matrices.append(np.array(self.obj.evaluated_get(depsgraph).matrix_world))
        if window.lags or window.gravity:
            wanted = frames_seen(now.frame, window.lags, clock, memory.first_seen(scene))
            seen = [self.earlier[frame] for frame in wanted]
            self.feels.append(felt(now, seen, fitted, fitted.frame(self.rest.frame), window, clock))
            for frame in [frame for frame in self.earlier if wanted and frame < min(wanted)]:
                del self.earlier[frame]

    def digest(self) -> bytes:
        """What a bake of it depends on."""
        settings = clothes_settings(self.obj)
        stat = self.garment.entry.path.stat()
        hasher = hashlib.sha256()
        parts = (self.garment.entry.key, stat.st_size, stat.st_mtime_ns, settings.surface, settings.part,
                 settings.push_out, request.shown_normals(self.obj), self.frame.unit,
                 *(() if self.wearer is None else (self.wearer.digest,)), *self._computed_by())  # fmt: skip
        options, feels = self._options(), Felt.stacked(self.feels).named()
        parts += (options.motion, options.fabrics) if feels or options.fabrics else ()
        hasher.update(repr(parts).encode())
        arrays = (self.rotations, self.translations, self.shapes, self.matrices, self.frame.rotation)
        for array in (*arrays, *feels.values()):
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.digest()

    def decode(self, sampling: Sampling, batches: range) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
        """Points and normals [BATCH, M, 3] of each batch, in the clothes' space. Raises BackendError, AddonError.

        What it needs of Blender is read at once; what it gives may be taken from any thread.
        """
        poses = self._poses(lambda values: sampling.filled(values, batches))
        options, count, name = self._options(), len(mesh_of(self.obj).vertices), self.obj.name

        def from_batch(done: int) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
            stream = self.garment.stream(poses[done * BATCH :], options, BATCH)
            return self._in_armature(stream, count, name)

        return self._outliving(from_batch)

    def decode_meshes(self, samples: range) -> Generator[tuple[np.ndarray, np.ndarray, Faces], None, None]:
        """Points, normals [M, 3] and faces of each sample, for clothes that have other faces in each. As `decode`."""
        poses, options = self._poses(lambda values: values[samples.start : samples.stop]), self._options()
        return self._outliving(lambda done: self._meshes_in_armature(self.garment.meshes(poses[done:], options)))

    def _outliving(self, stream_from: Callable[[int], Generator[Item, None, None]]) -> Generator[Item, None, None]:
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
        settings = clothes_settings(self.obj)
        fabrics = self.garment.entry.fabrics()
        return request.options_of(self.obj).on_wire(settings.surface, settings.part, fabrics)

    def _meshes_in_armature(
        self, stream: Generator[tuple[int, dict[str, np.ndarray]], None, None]
    ) -> Generator[tuple[np.ndarray, np.ndarray, Faces], None, None]:
        """Runs in any thread: touches nothing of Blender's."""
        with contextlib.closing(stream):
            for _, mesh in stream:
                points, normals = self.frame.to_armature(mesh["points"]), self.frame.turn_to_armature(mesh["normals"])
                yield points, normals, Faces(mesh["triangles"], mesh["patch"])

    def _poses(self, chosen: Callable[[np.ndarray], np.ndarray]) -> Poses:
        """The chosen ones of the recorded poses; one shape for all where it stays, None where it is the mean."""
        shapes = np.stack(self.shapes)
        changing = (shapes != shapes[0]).any()
        shape = chosen(shapes) if changing else shapes[0] if shapes[0].any() else None
        feels = {name: chosen(array) for name, array in Felt.stacked(self.feels).named().items()}
        return Poses(chosen(np.stack(self.rotations)), chosen(np.stack(self.translations)), shape, **feels)

    def _in_armature(
        self, stream: Generator[tuple[int, np.ndarray, np.ndarray], None, None], count: int, name: str
    ) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
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
    settings = clothes_settings(obj)
    return fitting.body_for(target, rest, garment.body, settings.fit_to_rig, settings.fit_to_body)


def _whole_batches(stream: Iterator[tuple[int, np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A backend that is short of memory sends batches in pieces."""
    pieces: list[tuple[np.ndarray, np.ndarray]] = []
    for _, points, normals in stream:
        pieces.append((points, normals))
        if sum(len(piece[0]) for piece in pieces) == BATCH:
            points, normals = zip(*pieces, strict=True)
            yield pieces[0] if len(pieces) == 1 else (np.concatenate(points), np.concatenate(normals))
            pieces = []


def record(scene: Scene, recordings: Sequence[Recording], sampling: Sampling) -> Iterator[int]:
    """Go through the frames, and tell how many are done. The scene goes back to its frame, also when it is stopped.

    Clothes that feel motion look at what is between the samples too, and before the first.
    """
    before = scene.frame_current, scene.frame_subframe
    clock, start = Clock.of(scene), memory.first_seen(scene)
    lags = sorted({lag for recording in recordings for lag in recording.window.lags})
    samples = {frame + float(np.float32(part)): (frame, part) for frame, part in sampling.times()}  # as Blender has it
    seen = {frame for sample in samples for frame in frames_seen(sample, lags, clock, start)} - samples.keys()
    done = 0
    try:
        for time in sorted(samples.keys() | seen):
            frame, subframe = samples.get(time, (int(time), 0.0))
            scene.frame_set(frame, subframe=subframe)
            depsgraph = bpy.context.evaluated_depsgraph_get()
            for recording in recordings:
                (recording.add if time in samples else recording.look)(scene, depsgraph)
            done += time in samples
            yield done
    finally:
        scene.frame_set(before[0], subframe=before[1])
