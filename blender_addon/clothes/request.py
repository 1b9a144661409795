"""What is asked of the backend for one pose of a rig, and what comes back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from bpy.types import Depsgraph, Object

from scale_backend.formats.fabric_mix import fabric_weights
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.formats.topology import Topology
from scale_backend.formats.wearer import Wearer

from ..backend import process
from ..garments import kinds, library, opened
from ..present import present
from ..rig import fitting
from ..rig.moments import Clock, Felt, Moment, felt, frame_of
from ..rig.pose import Pose, read_pose
from ..rig.rest import Rest, RigFrame, rest_of
from ..settings import clothes_settings
from . import memory
from .memory import Arrival
from .selection import wearer


@dataclass(frozen=True)
class Decoded:
    """One frame of clothes."""

    points: np.ndarray  # [M, 3]
    normals: np.ndarray  # [M, 3]
    topology: Topology | None = None  # where each frame has its own
    colors: np.ndarray | None = None  # [M, 3] in 0..1, sRGB


@dataclass(frozen=True)
class Request:
    """A pose and what is to be decoded for it. Nothing in it is Blender's: any thread may decode it."""

    entry: library.Entry
    poses: Poses  # of one frame
    options: DecodeOptions
    frame: RigFrame
    wearer: Wearer | None = None  # the character's own body; None: the garment's

    def decode(self, launch: process.Launch | None = None) -> Decoded:
        """The clothes in the armature's space; a backend that dies on the way is started again once. Raises AddonError
        and BackendError."""
        return opened.with_garment(self.entry, self._decode, launch)

    def _decode(self, garment: opened.OpenGarment) -> Decoded:
        garment = garment.worn_by(self.wearer)
        topology = colors = None
        if self.options.surface in kinds.CHANGING_ON_WIRE:
            with contextlib.closing(garment.meshes(self.poses, self.options)) as frames:
                _, mesh = next(frames)
            points, normals, topology = mesh["points"], mesh["normals"], Topology.of(mesh)
        else:
            (points,), (normals,) = garment.decode(self.poses, self.options)
            colors = garment.colors(self.poses, self.options)
        first = None if colors is None else colors[0]
        return Decoded(self.frame.to_armature(points), self.frame.turn_to_armature(normals), topology, first)


@dataclass(frozen=True)
class Options:
    """How clothes are decoded, beside what they are."""

    push_out: bool = True
    fit_to_rig: bool = True
    fit_to_body: bool = True
    normals: str = "FACES"  # where the surface leaves the choice
    motion: float = 1.0  # how much of what moved the cloth feels
    fabric: str = ""  # that it behaves as
    mixed_with: str = ""  # another
    mix: float = 0.0  # how much of that, from 0 to 1

    def on_wire(self, surface: str, part: str, fabrics: Sequence[str] = ()) -> DecodeOptions:
        """Blender's names as the backend's. fabrics: that the garment can be made of."""
        normals = self.normals if kinds.has_choice_of_normals(surface) else "FACES"
        names = kinds.WIRE_NAMES
        weights = fabric_weights(fabrics, self.fabric, self.mixed_with, self.mix)
        return DecodeOptions(names[surface], names[part], self.push_out, names[normals], self.motion, weights)


def fabric_of(obj: Object) -> str:
    """What clothes behave as: what they look like, unless another is said."""
    settings = clothes_settings(obj)
    return (settings.behaves_as or settings.fabric).strip().lower()


def options_of(obj: Object) -> Options:
    settings = clothes_settings(obj)
    return Options(
        settings.push_out,
        settings.fit_to_rig,
        settings.fit_to_body,
        settings.normals,
        settings.motion,
        fabric_of(obj),
        settings.mixed_with.strip().lower(),
        settings.mix,
    )


def shown_normals(obj: Object) -> str:
    """What clothes are shaded with: the model's normals or those of the faces."""
    settings = clothes_settings(obj)
    return settings.normals if kinds.has_choice_of_normals(settings.surface) else "FACES"


def request(
    target: Object,
    rest: Rest,
    pose: Pose,
    entry: library.Entry,
    surface: str,
    part: str,
    options: Options,
    felt_by: Callable[[fitting.FittedBody, RigFrame], Felt] | None = None,
) -> Request:
    """What decoding a garment for a pose of a rig needs. Raises AddonError.

    felt_by: what it feels beside the pose, for the body that it is decoded on; None: it hangs at rest, upright.
    """
    fitted = fitting.body_for(target, rest, entry.body(), options.fit_to_rig, options.fit_to_body)
    shape = fitted.shape if fitted.shape.any() else None
    frame = fitted.frame(rest.frame)
    feels = {} if felt_by is None else felt_by(fitted, frame).named()
    poses = Poses(pose.rotations[None], fitted.translation(pose)[None], shape, **feels)
    return Request(entry, poses, options.on_wire(surface, part, entry.fabrics()), frame, fitted.wearer)


def present_request(obj: Object, depsgraph: Depsgraph, arrival: Arrival = Arrival.STAYED) -> Request:
    """What bringing clothes to their rig's present pose needs. Raises AddonError."""
    settings = clothes_settings(obj)
    entry = library.entry(settings.garment)
    return request_now(wearer(obj), depsgraph, entry, settings.surface, settings.part, options_of(obj), arrival)


def request_now(
    target: Object,
    depsgraph: Depsgraph,
    entry: library.Entry,
    surface: str,
    part: str,
    options: Options,
    arrival: Arrival,
) -> Request:
    """What putting a garment on a rig in its present pose needs. Raises AddonError."""
    rest, window = rest_of(target), entry.window()
    if not (window.lags or window.gravity):
        return request(target, rest, read_pose(target, depsgraph, rest), entry, surface, part, options)
    scene = present(present(depsgraph.scene).original)
    now = Moment.read(target, depsgraph, rest, frame_of(scene))
    window = window if options.motion else window.at_rest()
    seen = memory.earlier(scene, target, rest, now, window.lags, arrival) if window.lags else []

    def felt_by(fitted: fitting.FittedBody, frame: RigFrame) -> Felt:
        return felt(now, seen, fitted, frame, window, Clock.of(scene))

    return request(target, rest, now.pose, entry, surface, part, options, felt_by)
