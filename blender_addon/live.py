"""Clothes that follow their rig: handlers that are there only while there are clothes to move."""

from __future__ import annotations

from collections.abc import Callable

import bpy
from bpy.app.handlers import persistent
from bpy.types import Context, Depsgraph, Object, Scene

from . import backend, clothes, messages

AFTER_POSING = 0.05  # seconds from a bone's last move to the update
_suspended = 0
_updating = False


class suspended:
    """No live updates inside: baking goes through the frames itself."""

    def __enter__(self) -> None:
        global _suspended
        _suspended += 1

    def __exit__(self, *_error) -> None:
        global _suspended
        _suspended -= 1


def followers(scene: Scene) -> list[Object]:
    """Clothes of a scene that move with their rig and have no bake."""
    return [
        obj
        for obj in scene.objects
        if obj.type == "MESH"
        and obj.scale_clothing.is_clothes
        and obj.scale_clothing.live
        and not clothes.is_baked(obj)
    ]


def toggled(obj: Object, context: Context) -> None:
    """Live update, or something that it depends on, was switched."""
    if _updating:
        return  # the list of handlers must not change while Blender goes through it
    watch()
    if obj.scale_clothing.is_clothes and obj.scale_clothing.live and not clothes.is_baked(obj):
        update(context.scene, context.evaluated_depsgraph_get())


def watch() -> None:
    """Add the handlers if there are clothes that follow, take them away if not."""
    wanted = any(followers(scene) for scene in bpy.data.scenes)
    for handlers, handler in ((bpy.app.handlers.frame_change_post, _frame_changed),
                              (bpy.app.handlers.depsgraph_update_post, _scene_changed)):  # fmt: skip
        if wanted and handler not in handlers:
            handlers.append(handler)
        elif not wanted and handler in handlers:
            handlers.remove(handler)


def update(scene: Scene, depsgraph: Depsgraph) -> None:
    """Move all following clothes of a scene to the pose of the frame. What fails is told and switched off."""
    global _updating
    if _suspended or _updating:
        return
    following = followers(scene)
    if not following:
        return
    if not backend.running() and not bpy.app.background and not _ready_soon():
        return
    _updating = True
    try:
        for obj in following:
            _follow(obj, depsgraph)
    finally:
        _updating = False


def _follow(obj: Object, depsgraph: Depsgraph) -> None:
    try:
        clothes.follow(obj, depsgraph)
    except (messages.AddonError, backend.BackendError) as error:
        obj.scale_clothing.live = False
        messages.show_error(f"{error} Live update of '{obj.name}' is off until you switch it on again.")
        _soon(watch)


def _ready_soon() -> bool:
    """Have the backend started beside, so that scrubbing goes on meanwhile. True: use it now and hear what is wrong."""
    if backend.failure():
        return True
    try:
        backend.start_beside()
    except messages.AddonError:
        return True
    _soon(_catch_up, 0.2)
    return False


def _catch_up() -> float | None:
    """Once the backend has started, bring the clothes to the frame they missed."""
    if backend.status().kind == backend.STARTING:
        return 0.2
    _update_now()
    return None


def _update_now() -> None:
    scene = bpy.context.scene
    if scene is not None:
        update(scene, bpy.context.evaluated_depsgraph_get())


def _soon(function: Callable, seconds: float = 0.0) -> None:
    """Call a function when Blender has a moment. There are no such moments in background."""
    if not bpy.app.background and not bpy.app.timers.is_registered(function):
        bpy.app.timers.register(function, first_interval=seconds, persistent=True)


@persistent
def _frame_changed(scene: Scene, depsgraph: Depsgraph) -> None:
    update(scene, depsgraph)


@persistent
def _scene_changed(scene: Scene, depsgraph: Depsgraph) -> None:
    """A bone was moved, or an object went: update a moment later, and not for every step of a drag."""
    screen = bpy.context.screen
    if _suspended or bpy.app.background or (screen is not None and screen.is_animation_playing):
        return
    rigs = {obj.scale_clothing.rig for obj in followers(scene)}
    moved = any(u.is_updated_transform or u.is_updated_geometry for u in depsgraph.updates if u.id.original in rigs)
    if moved:
        _soon(_update_now, AFTER_POSING)


@persistent
def _file_loaded(*_) -> None:
    messages.clear()
    watch()


@persistent
def _undone(*_) -> None:
    watch()


def _own_handlers() -> list[tuple]:
    handlers = bpy.app.handlers
    return [
        (handlers.load_post, _file_loaded),
        (handlers.undo_post, _undone),
        (handlers.redo_post, _undone),
    ]


def register() -> None:
    for handlers, handler in _own_handlers():
        handlers.append(handler)
    _soon(watch)  # while add-ons are being registered there may be no scene to look at yet


def unregister() -> None:
    for handlers, handler in (
        *_own_handlers(),
        (bpy.app.handlers.frame_change_post, _frame_changed),
        (bpy.app.handlers.depsgraph_update_post, _scene_changed),
    ):
        if handler in handlers:
            handlers.remove(handler)
    for timer in (_catch_up, _update_now, watch):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
