"""Baking in Blender: modal with progress in a window, blocking in background."""

from __future__ import annotations

import time

from bpy.props import BoolProperty, IntProperty, StringProperty
from bpy.types import Context, Event, Operator

from . import bake, clothes, messages
from .operators import SHOWN_ERRORS, ClothesOperator
from .properties import BLEND_RELATIVE

TICK = 0.02  # seconds between steps of a modal bake
SHORTEST_STEP, LONGEST_STEP = 0.05, 0.5  # seconds of work between two redraws


class SCALE_CLOTHING_OT_bake(ClothesOperator, Operator):
    bl_idname = "scale_clothing.bake"
    bl_label = "Bake Frame Range"
    bl_description = (
        "Write the clothes of the scene's frame range to disk, so that they play and render without the backend and in "
        "any Blender. Esc stops; baking again goes on from there"
    )
    bl_options = {"UNDO"}  # no redo panel: a touch there would bake again

    folder: StringProperty(
        name="Folder", description="Empty: the panel's", subtype="DIR_PATH", options={"SKIP_SAVE"} | BLEND_RELATIVE
    )
    use_range: BoolProperty(name="Own Range", description="Other frames than the scene's", options={"SKIP_SAVE"})
    first: IntProperty(name="First Frame", default=1, options={"SKIP_SAVE"})
    last: IntProperty(name="Last Frame", default=250, options={"SKIP_SAVE"})
    overwrite: BoolProperty(name="Overwrite", description="Replace a bake that is there", options={"SKIP_SAVE"})

    running = None  # the one bake in a window
    progress = bake.Progress(0, 1, "")
    stop_asked = False

    def steps(self, context: Context):
        scene, chosen = context.scene, context.scene.scale_clothing
        first, last = (self.first, self.last) if self.use_range else (scene.frame_start, scene.frame_end)
        settings = bake.BakeSettings(
            self.folder or chosen.bake_folder, first, last, self.overwrite or chosen.overwrite
        )
        return bake.bake(scene, clothes.in_context(context), settings)

    def work(self, context: Context) -> str:
        """Blocking: in background and from scripts."""
        total = 0
        for step in self.steps(context):
            total = step.total // 2
        return f"Baked {total} frames"

    def invoke(self, context: Context, _event: Event) -> set[str]:
        kind = type(self)
        if kind.running is not None:
            self.report({"WARNING"}, "A bake is running already")
            return {"CANCELLED"}
        self.todo = self.steps(context)
        self.started = self.rested = time.monotonic()
        kind.progress, kind.stop_asked, kind.running = bake.Progress(0, 1, "Starting"), False, self
        if not self.advance(context):  # what is wrong from the start is told at once
            return self.result
        self.timer = context.window_manager.event_timer_add(TICK, window=context.window)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: Event) -> set[str]:
        if event.type == "ESC" or type(self).stop_asked:
            self.todo.close()
            self.finish(context)
            self.report({"WARNING"}, "Bake stopped; baking again goes on from there")
            return {"CANCELLED"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        if self.advance(context):
            return {"RUNNING_MODAL"}
        self.finish(context)
        return self.result

    def advance(self, context: Context) -> bool:
        """Work for a moment. False when there is nothing left, or it failed: then `result` says how it ended."""
        # as long as Blender took for the redraw before: where drawing is slow, the bake still gets on
        began = time.monotonic()
        until = began + min(max(began - self.rested, SHORTEST_STEP), LONGEST_STEP)
        try:
            while time.monotonic() < until:
                type(self).progress = next(self.todo)
        except StopIteration:
            messages.clear()
            self.report({"INFO"}, f"Baked in {time.monotonic() - self.started:.0f} s")
            self.result = {"FINISHED"}
        except SHOWN_ERRORS as error:
            self.result = self.fail(error)
        else:
            _redraw(context)
            self.rested = time.monotonic()
            return True
        type(self).running = None
        return False

    def finish(self, context: Context) -> None:
        context.window_manager.event_timer_remove(self.timer)
        type(self).running = None
        _redraw(context)


class SCALE_CLOTHING_OT_stop_bake(Operator):
    bl_idname = "scale_clothing.stop_bake"
    bl_label = "Stop"
    bl_description = "Stop baking. Baking again goes on from there"
    bl_options = {"INTERNAL"}

    def execute(self, _context: Context) -> set[str]:
        SCALE_CLOTHING_OT_bake.stop_asked = True
        return {"FINISHED"}


def _redraw(context: Context) -> None:
    for area in context.screen.areas if context.screen else ():
        if area.type == "VIEW_3D":
            area.tag_redraw()


CLASSES = (SCALE_CLOTHING_OT_bake, SCALE_CLOTHING_OT_stop_bake)


def unregister() -> None:
    SCALE_CLOTHING_OT_bake.running = None
