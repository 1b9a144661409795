"""Clothes that follow their rig: handlers that are there only while there are clothes to move.

Where a script, a render or an export goes to a frame, the clothes are there, exactly, when it goes on. Where a user
plays, scrubs or poses, Blender waits for a moment at most: what takes longer is decoded beside, the newest pose wins,
and the last result stays until it is there.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import bpy
from bpy.app.handlers import persistent
from bpy.types import ID, Depsgraph, Object, Scene

from scale_backend.formats.errors import UserError

from .. import messages, paths
from ..backend import process
from ..blender.jobs import is_job_running
from ..blender.objects import mesh_of
from ..garments import library
from ..present import present
from ..rig import stage, wearer
from ..rig.rest import rest_of
from ..settings import clothes_settings
from ..tasks.background import DecodingThread
from . import memory, mesh, playback, selection, unattended
from .memory import Arrival
from .request import Decoded, present_request

PATIENCE = 0.1  # seconds that a user's frame waits for its clothes: Blender still answers ten times a second
AFTER_POSING = 0.05  # seconds from a bone's last move to the update
PAUSE = 0.15  # seconds without another frame after which a user is looking at one
LOOK = 0.01  # seconds between two looks for what was decoded beside
NOT_FOLLOWED = {"EDIT", "SCULPT"}  # modes that have the mesh to themselves
POSING = ("TRANSFORM_OT_", "POSE_OT_")  # operators that drag bones
PLAYBLAST = "RENDER_OT_opengl"

_suspended = 0
_updating = False
_beside: DecodingThread[Decoded] = DecodingThread()
_last_frame = 0.0  # when a user's frame came without its true window
_last_seconds: dict[int, float] = {}  # what the clothes last took to decode, by session_uid


@contextmanager
def suspended() -> Iterator[None]:
    """No live updates inside: baking goes through the frames itself."""
    global _suspended
    _suspended += 1
    _beside.forget()
    try:
        yield
    finally:
        _suspended -= 1


def followers(scene: Scene) -> list[Object]:
    """Clothes of a scene that move with their rig and have no bake."""
    return [
        obj
        for obj in scene.objects
        if obj.type == "MESH"
        and clothes_settings(obj).is_clothes
        and clothes_settings(obj).live
        and obj.mode not in NOT_FOLLOWED
        and not playback.is_baked(obj)
    ]


def toggled(obj: Object, context: bpy.types.Context) -> None:
    """Live update, or something that it depends on, was switched."""
    if _updating:
        return  # the list of handlers must not change while Blender goes through it
    watch()
    if clothes_settings(obj).is_clothes and clothes_settings(obj).live and not playback.is_baked(obj):
        update(present(context.scene), context.evaluated_depsgraph_get(), waits=not _by_user())


def watch() -> None:
    """Add the handlers if there are clothes that follow, take them away if not."""
    wanted = any(followers(scene) for scene in bpy.data.scenes)
    for handlers, handler in _while_followed():
        if wanted and handler not in handlers:
            handlers.append(handler)
        elif not wanted and handler in handlers:
            handlers.remove(handler)


def update(scene: Scene, depsgraph: Depsgraph, waits: bool = True, arrival: Arrival = Arrival.STAYED) -> None:
    """Move all following clothes of a scene to the pose of the frame. What fails is told and switched off.

    waits: come back when they are there; else after PATIENCE at most, and what is late comes later.
    """
    global _updating
    if _suspended or _updating:
        return
    following = followers(scene)
    if not following:
        return
    _updating = True
    try:
        if waits:
            _beside.forget()
            for obj in following:
                with _failures_shown(obj, scene if _must_be_exact() else None):
                    mesh.follow(obj, depsgraph, arrival)
        else:
            _update_beside(following, depsgraph, arrival)
    finally:
        _updating = False


def forget() -> None:
    """Drop what is decoded beside: the backend is about to be closed."""
    _beside.forget()


def _update_beside(following: list[Object], depsgraph: Depsgraph, arrival: Arrival) -> None:
    late = _beside.busy  # with an older pose: what is asked now has to wait for it
    for obj in following:
        with _failures_shown(obj):
            request = present_request(obj, depsgraph, arrival)
            _beside.ask(obj.session_uid, partial(request.decode, process.launch()))
    # where the last one took longer there is no use in waiting for this one
    if not late and sum(_last_seconds.get(obj.session_uid, 0.0) for obj in following) < PATIENCE:
        _beside.wait(PATIENCE)
    _put_decoded()
    if _beside.busy:
        _soon(_collect, LOOK)
        if not process.running():
            messages.redraw_panels()  # the panel says that it starts


def _put_decoded() -> bool:
    """Put what has been decoded beside into its scenes, if anything has. Clothes that went meanwhile need none."""
    done = _beside.collect()
    has_come = bool(done)
    unforeseen: Exception | None = None
    for obj in [obj for scene in bpy.data.scenes for obj in followers(scene)] if done else ():
        outcome = done.pop(obj.session_uid, None)  # an object may be in several scenes
        if outcome is None:
            continue
        _last_seconds[obj.session_uid] = outcome.seconds
        try:
            with _failures_shown(obj):
                if outcome.error is not None:
                    raise outcome.error
                mesh.put(obj, present(outcome.value))
        except Exception as error:  # the others' clothes are not to be lost with it
            unforeseen = unforeseen or error
    if unforeseen is not None:
        raise unforeseen
    return has_come


def _collect() -> float | None:
    """Put into the scene what has come, until nothing more is awaited."""
    global _updating
    if _must_be_exact():  # a render or an export has its own clothes; afterwards those of the present frame are wanted
        _beside.forget()
        _soon(_update_soon, AFTER_POSING)
        return None
    awaited = _beside.busy
    _updating = True
    try:
        has_come = _put_decoded()
    finally:
        _updating = False
    if has_come:
        messages.redraw_panels()
    return LOOK if awaited else None


@contextmanager
def _failures_shown(obj: Object, unseen: Scene | None = None) -> Iterator[None]:
    """What fails inside for clothes is shown as a sentence, and they are no longer followed.

    unseen: the scene of a frame that nobody looks at; None: a user reads what is shown.
    """
    try:
        yield
    except UserError as error:
        clothes_settings(obj).live = False
        sentence = f"{error} Live update of '{obj.name}' is off until you switch it on again."
        messages.show_error(sentence)
        if unseen is not None:
            unattended.failed(unseen, sentence)
        _soon(watch)


def _by_user() -> bool:
    """Whether this is about something that a user does in a window, and not a script, a render or an export."""
    bottom = sys._getframe()
    while bottom.f_back is not None:
        bottom = bottom.f_back
    # when nobody's Python but this add-on's is beneath, Blender has called it by itself
    return bottom.f_globals.get("__name__", "").startswith(f"{paths.PACKAGE}.") and not _must_be_exact()


def _must_be_exact() -> bool:
    return (
        bpy.app.background
        or threading.current_thread() is not threading.main_thread()  # of a render or an export
        or is_job_running("RENDER")
        or PLAYBLAST in _modal_operators()
    )


def _modal_operators() -> Iterator[str]:
    """Names of what users are in the middle of, in all windows."""
    for window in present(bpy.context.window_manager).windows:
        for operator in window.modal_operators:
            yield operator.bl_idname


def _update_soon() -> float | None:
    """Update what the windows show, once nobody is dragging bones."""
    if _must_be_exact() or any(name.startswith(POSING) for name in _modal_operators()):
        return AFTER_POSING
    windows = present(bpy.context.window_manager).windows
    shown = {(window.scene.session_uid, window.view_layer.name): window for window in windows}
    for window in shown.values():
        depsgraph = window.view_layer.depsgraph
        if depsgraph is not None:
            update(window.scene, depsgraph, waits=False)
    return None


def _wait_for_a_pause() -> None:
    """Once no frame has come for a moment, what was shown without its true window is shown with it."""
    global _last_frame
    _last_frame = time.monotonic()
    _soon(_pause, PAUSE)


def _pause() -> float | None:
    playing = any(window.screen.is_animation_playing for window in present(bpy.context.window_manager).windows)
    rest = PAUSE if playing else _last_frame + PAUSE - time.monotonic()
    return rest if rest > 0 else _update_soon()


def _soon(function: Callable, seconds: float = 0.0) -> None:
    """Call a function when Blender has a moment. There are no such moments in background."""
    if not bpy.app.background and not bpy.app.timers.is_registered(function):
        bpy.app.timers.register(function, first_interval=seconds, persistent=True)


@persistent
def _frame_changed(scene: Scene, depsgraph: Depsgraph) -> None:
    if stage.is_open():
        return
    by_user = _by_user()
    update(scene, depsgraph, waits=not by_user, arrival=Arrival.PLAYED if by_user else Arrival.SET)
    if by_user and not memory.is_whole(scene):
        _wait_for_a_pause()


@persistent
def _scene_changed(scene: Scene, depsgraph: Depsgraph) -> None:
    """A bone was moved, or an object went: update a moment later, and not for every step of a drag."""
    screen = bpy.context.screen
    playing = screen is not None and screen.is_animation_playing
    if _suspended or stage.is_open() or playing or unattended.is_rendering():
        return
    if depsgraph.id_type_updated("ACTION") and memory.forget():
        _soon(_update_soon, AFTER_POSING)
    if bpy.app.background:
        return
    updated = [present(u.id).original for u in depsgraph.updates if u.is_updated_transform or u.is_updated_geometry]
    posed = {_rig_of(each) for each in updated} - {None}
    if not posed and not depsgraph.id_type_updated("SCENE"):
        return
    following = followers(scene)
    if not following:
        _soon(watch)
    elif posed & {clothes_settings(obj).rig for obj in following}:
        memory.forget()  # not all that poses a rig by hand can be told from what changes its animation
        _soon(_update_soon, AFTER_POSING)


def _rig_of(changed: ID | None) -> Object | None:
    """The armature that clothes may hang on: itself, or that of a body with shape keys."""
    if not isinstance(changed, Object):
        return None
    if changed.type == "MESH" and mesh_of(changed).shape_keys is not None:
        return changed.find_armature()
    return changed if changed.type == "ARMATURE" else None


@persistent
def _file_loaded(*_: object) -> None:
    _beside.forget()
    wearer.forget()
    memory.forget()
    _last_seconds.clear()
    messages.clear()
    watch()


@persistent
def _undone(*_: object) -> None:
    """Undo brings back the pose, and the clothes as they were when it was remembered: perhaps of a pose before."""
    _beside.forget()
    memory.forget()
    watch()
    _soon(_update_soon)


@persistent
def _playing_begins(scene: Scene, *_: object) -> None:
    for obj in followers(scene):
        with _failures_shown(obj):
            settings = clothes_settings(obj)
            lags = library.entry(settings.garment).window().lags
            if lags and settings.motion:
                target = selection.wearer(obj)
                memory.read_ahead(scene, target, rest_of(target), lags)


@persistent
def _render_begins(*_: object) -> None:
    """What is rendered is the animation as it is now, whatever was changed since its frames were shown."""
    memory.forget()


@persistent
def _imported(*_: object) -> None:
    watch()


def _while_followed() -> list[tuple]:
    handlers = bpy.app.handlers
    return [
        (handlers.frame_change_post, _frame_changed),
        (handlers.depsgraph_update_post, _scene_changed),
        (handlers.animation_playback_pre, _playing_begins),
    ]


def _always() -> list[tuple]:
    handlers = bpy.app.handlers
    always = [(handlers.load_post, _file_loaded), (handlers.undo_post, _undone), (handlers.redo_post, _undone),
              (handlers.render_init, _render_begins)]  # fmt: skip
    if hasattr(handlers, "blend_import_post"):  # from 4.3 on: clothes may come with what is appended
        always.append((handlers.blend_import_post, _imported))
    return always


def register() -> None:
    for handlers, handler in _always():
        handlers.append(handler)
    _soon(watch)  # while add-ons are being registered there may be no scene to look at yet


def unregister() -> None:
    for handlers, handler in (*_always(), *_while_followed()):
        if handler in handlers:
            handlers.remove(handler)
    for timer in (_collect, _update_soon, _pause, watch):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
    _beside.forget()
    memory.forget()
    _last_seconds.clear()
