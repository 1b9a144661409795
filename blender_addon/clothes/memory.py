"""The moments of rigs that went by as frames were shown, and those that are read where none did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from bpy.types import Object, Scene

from ..rig.moments import ON_FRAME, Clock, Moment, frames_seen
from ..rig.rest import Rest
from ..rig.stage import read_moments
from ..settings import scene_settings
from . import unattended

GAP = 0.25  # seconds without a moment after which what was before is not remembered as motion
MOST = 4096  # moments of a rig


class Arrival(Enum):
    """How a pose has come about."""

    PLAYED = auto()  # a user's frame: what is remembered counts, and nothing is read
    SET = auto()  # a frame that is to be exact, of a script, a render or an export: what is missing is read
    STAYED = auto()  # the frame is as before: somebody may have posed the rig


@dataclass
class Memory:
    """What is known of one rig in one scene."""

    rest: Rest
    seen: dict[int, Moment] = field(default_factory=dict)  # by whole frame
    now: Moment | None = None  # that was shown last
    is_animated: bool = False  # whether the animation has that pose; else somebody has posed it
    is_whole: bool = True  # whether its window was known


_memories: dict[tuple[int, int], Memory] = {}  # by the session_uid of scene and armature


def earlier(
    scene: Scene,
    target: Object,
    rest: Rest,
    now: Moment,
    lags: Sequence[float],  # seconds
    arrival: Arrival,
) -> list[Moment]:
    """The moments before one that a garment looks back at; none where the rig was posed by hand, so that its clothes
    hang at rest. Raises AddonError."""
    memory = _memory(scene, target, rest)
    clock, start = Clock.of(scene), first_seen(scene)
    if arrival is Arrival.SET and not (unattended.is_rendering() or _follows(memory, now, clock)):
        memory.seen.clear()  # a script may have changed the animation
    if arrival is not Arrival.STAYED:
        memory.is_animated = True
    elif not memory.is_animated or memory.now is None or not _alike(memory.now, now):
        memory.is_animated = _alike(read_moments(scene, target, rest, [now.frame])[now.frame], now)
    memory.now = now
    if not memory.is_animated:
        memory.is_whole = True
        return []
    _remember(memory, now)
    # all of them, for the frames that come next
    wanted = range(int(max(math.floor(now.frame - max(lags) * clock.rate), start)), math.ceil(now.frame - ON_FRAME))
    if arrival is not Arrival.PLAYED:
        missing = [frame for frame in _with_blur(scene, wanted, now) if frame not in memory.seen]
        for moment in read_moments(scene, target, rest, missing).values() if missing else ():
            _remember(memory, moment)
    memory.is_whole = all(frame in memory.seen for frame in wanted)
    if not memory.is_whole:
        return _played(memory, wanted, now, clock)
    return [memory.seen[frame] for frame in frames_seen(now.frame, lags, clock, start)]


def read_ahead(scene: Scene, target: Object, rest: Rest, lags: Sequence[float]) -> None:
    """What the first frame of the scene looks back at: playing comes to it again and again. Raises AddonError."""
    memory, first = _memory(scene, target, rest), scene.frame_start
    begin = int(max(math.floor(first - max(lags) * Clock.of(scene).rate), first_seen(scene)))
    missing = [frame for frame in range(begin, first) if frame not in memory.seen]
    for moment in read_moments(scene, target, rest, missing).values() if missing else ():
        _remember(memory, moment)


def is_whole(scene: Scene) -> bool:
    """Whether all that is shown in a scene was shown with its true window."""
    return all(memory.is_whole for (number, _), memory in _memories.items() if number == scene.session_uid)


def forget() -> bool:
    """What moved before counts no more: the animation may be another. Returns whether anything was known."""
    known = bool(_memories)
    _memories.clear()
    return known


def _memory(scene: Scene, target: Object, rest: Rest) -> Memory:
    key = scene.session_uid, target.session_uid
    if key not in _memories or _memories[key].rest is not rest:
        _memories[key] = Memory(rest)
    return _memories[key]


def first_seen(scene: Scene) -> float:
    """The frame before which nothing is looked at: all stood still as they then did."""
    return -math.inf if scene_settings(scene).pre_roll else scene.frame_start


def _with_blur(scene: Scene, wanted: range, now: Moment) -> range:
    """Also what a render that blurs will want: it goes on from within the engine, which lets nobody read."""
    if not (unattended.is_rendering() and scene.render.use_motion_blur and now.frame.is_integer()):
        return wanted
    shutter = math.ceil(scene.render.motion_blur_shutter)  # frames
    return range(wanted.start - shutter, wanted.stop + shutter - 1)


def _follows(memory: Memory, now: Moment, clock: Clock) -> bool:
    return memory.now is not None and 0 < clock.seconds(now.frame - memory.now.frame) <= GAP


def _alike(one: Moment, other: Moment) -> bool:
    arrays = ((each.pose.rotations, each.pose.pelvis, each.matrix) for each in (one, other))
    return one.frame == other.frame and all((a == b).all() for a, b in zip(*arrays, strict=True))


def _remember(memory: Memory, moment: Moment) -> None:
    whole = round(moment.frame)
    if abs(moment.frame - whole) < ON_FRAME:
        memory.seen.pop(whole, None)
        memory.seen[whole] = moment  # the newest last
        while len(memory.seen) > MOST:
            del memory.seen[next(iter(memory.seen))]


def _played(memory: Memory, wanted: range, now: Moment, clock: Clock) -> list[Moment]:
    """Those that are remembered, back to the first gap."""
    moments: list[Moment] = []
    after = now.frame
    for frame in reversed(wanted):
        if clock.seconds(after - frame) > GAP:
            break
        if frame in memory.seen:
            moments.append(memory.seen[frame])
            after = frame
    return moments
