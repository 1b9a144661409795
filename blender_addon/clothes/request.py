"""What is asked of the backend for one pose of a rig, and what comes back."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
from bpy.types import Depsgraph, Object

from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.formats.wearer import Wearer

from ..backend import process
from ..garments import kinds, library, opened
from ..rig import fitting
from ..rig.pose import Pose, read_pose
from ..rig.rest import Rest, RigFrame, rest_of
from .selection import wearer


@dataclass(frozen=True)
class Decoded:
    """One frame of clothes."""

    points: np.ndarray  # [M, 3]
    normals: np.ndarray  # [M, 3]
    topology: dict[str, np.ndarray] | None = None  # triangles [T, 3], patch [M]: where each frame has its own
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
                _, topology = next(frames)
            points, normals = topology["points"], topology["normals"]
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

    def on_wire(self, surface: str, part: str) -> DecodeOptions:
        """Blender's names as the backend's."""
        normals = self.normals if kinds.has_choice_of_normals(surface) else "FACES"
        names = kinds.WIRE_NAMES
        return DecodeOptions(names[surface], names[part], self.push_out, names[normals])


def options_of(obj: Object) -> Options:
    settings = obj.scale_clothing
    return Options(settings.push_out, settings.fit_to_rig, settings.fit_to_body, settings.normals)


def shown_normals(obj: Object) -> str:
    """What clothes are shaded with: the model's normals or those of the faces."""
    settings = obj.scale_clothing
    return settings.normals if kinds.has_choice_of_normals(settings.surface) else "FACES"


def request(
    target: Object,
    rest: Rest,
    pose: Pose,
    entry: library.Entry,
    surface: str,
    part: str,
    options: Options,
) -> Request:
    """What decoding a garment for a pose of a rig needs. Raises AddonError."""
    fitted = fitting.body_for(target, rest, entry.body(), options.fit_to_rig, options.fit_to_body)
    shape = fitted.shape if fitted.shape.any() else None
    poses = Poses(pose.rotations[None], fitted.translation(pose)[None], shape)
    return Request(entry, poses, options.on_wire(surface, part), fitted.frame(rest.frame), fitted.wearer)


def present_request(obj: Object, depsgraph: Depsgraph) -> Request:
    """What bringing clothes to their rig's present pose needs. Raises AddonError."""
    target = wearer(obj)
    settings = obj.scale_clothing
    rest = rest_of(target)
    pose = read_pose(target, depsgraph, rest)
    entry = library.entry(settings.garment)
    return request(target, rest, pose, entry, settings.surface, settings.part, options_of(obj))
