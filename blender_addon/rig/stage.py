"""Moments of a rig that the scene does not show: read in a scene made for it, so that the user's own stays where it
is, with its simulations, other add-ons' handlers and what is posed by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import bpy
from bpy.types import ArmatureConstraint, Object, Scene

from ..messages import AddonError
from ..present import present
from .moments import Moment
from .rest import Rest

NAME = "SCALE Moments"
COPIED = ("fps", "fps_base", "frame_map_old", "frame_map_new")  # of a scene, what its animation is evaluated by
BUSY = "Blender was too busy to look at what moved before this frame; render again, or bake the clothes first."
CLOSED = "Blender does not let anybody look at what moved before this frame; bake the clothes, or start Blender again."
PATIENCE = 10.0  # seconds that a render waits for Blender's main thread

Result = TypeVar("Result")

_open = False  # handlers are told of the frames that are set here too


def read_moments(scene: Scene, target: Object, rest: Rest, frames: Iterable[float]) -> dict[float, Moment]:
    """Where a rig is at some frames, as its animation has it: IK, constraints, drivers, strips and parents count.

    Equal to the bit to what the scene shows there. The bones that are read are evaluated alone, with what they depend
    on. From a render's thread it is the main one that does it. Raises AddonError where that is too busy.
    """

    def read() -> dict[float, Moment]:
        global _open
        _open = True
        try:
            with _stage(scene, target, rest) as stage:
                return {frame: _at(stage, target, rest, frame) for frame in frames}
        finally:
            _open = False

    return _in_main_thread(read)


def is_open() -> bool:
    """Whether moments are being read: what is told of frames then is not about a user's scene."""
    return _open


def _at(stage: Scene, target: Object, rest: Rest, frame: float) -> Moment:
    whole = int(frame // 1)
    stage.frame_set(whole, subframe=frame - whole)
    return Moment.read(target, present(stage.view_layers[0].depsgraph), rest, frame)


@contextmanager
def _stage(scene: Scene, target: Object, rest: Rest) -> Iterator[Scene]:
    """A scene with nothing in it but an object that depends on these bones, so that the rig may be hidden. Raises
    AddonError where Blender lets nothing be changed, as within a render engine."""
    stage = bpy.data.scenes.new(NAME)
    follower = bpy.data.objects.new(NAME, None)
    try:
        try:
            _set(stage, follower, scene, target, rest)
        except AttributeError as error:
            raise AddonError(CLOSED) from error
        yield stage
    finally:
        bpy.data.batch_remove([stage, follower])  # to remove a scene alone, Blender wants a window, or crashes


def _set(stage: Scene, follower: Object, scene: Scene, target: Object, rest: Rest) -> None:
    for setting in COPIED:
        setattr(stage.render, setting, getattr(scene.render, setting))
    stage.collection.objects.link(follower)
    constraint = follower.constraints.new("ARMATURE")
    assert isinstance(constraint, ArmatureConstraint)
    for name in dict.fromkeys(rest.rig_joints.bones):
        if name is not None:
            bone = constraint.targets.new()
            bone.target, bone.subtarget = target, name


def _in_main_thread(work: Callable[[], Result]) -> Result:
    """Data-blocks are made by the main thread alone: a render's asks for it, and waits."""
    if threading.current_thread() is threading.main_thread():
        return work()
    ended = threading.Event()
    outcomes: list[Result | Exception] = []
    waits = True

    def answer() -> None:
        try:
            if waits:
                outcomes.append(work())
        except Exception as error:
            outcomes.append(error)
        ended.set()

    bpy.app.timers.register(answer)
    if not ended.wait(PATIENCE):
        waits = False
        raise AddonError(BUSY)
    (outcome,) = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
