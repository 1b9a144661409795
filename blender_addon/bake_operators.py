"""Baking in Blender: modal with progress in a window, blocking in background."""

from __future__ import annotations

import time

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty, StringProperty
from bpy.types import Context, Event, Object, Operator

from . import bake, bake_formats, clothes, messages
from .operators import SHOWN_ERRORS, ClothesOperator
from .properties import BLEND_RELATIVE

TICK = 0.02  # seconds between steps of a modal bake
SHORTEST_STEP, LONGEST_STEP = 0.05, 0.5  # seconds of work between two redraws
PANEL = ("PANEL", "As in the Panel", "The format chosen in the panel", "NONE", len(bake_formats.ITEMS))


def chosen_clothes(context: Context, everyone: bool) -> list[Object]:
    """What a bake is about: the clothes that the panel shows, or all of the scene."""
    if everyone:
        return [obj for obj in clothes.all_clothes() if obj.name in context.scene.objects]
    worn = clothes.in_context(context)
    return [] if worn is None else [worn]


def panel_settings(context: Context) -> bake.BakeSettings:
    """What the panel asks for."""
    scene, chosen = context.scene, context.scene.scale_clothing
    return bake.BakeSettings(
        chosen.bake_folder,
        scene.frame_start,
        scene.frame_end,
        format=chosen.bake_format,
        step=chosen.bake_step,
        per_frame=chosen.bake_samples,
    )


class BakeOptions:
    """What a bake may be asked for beside the panel's choices."""

    folder: StringProperty(
        name="Folder", description="Empty: the panel's", subtype="DIR_PATH", options={"SKIP_SAVE"} | BLEND_RELATIVE
    )
    use_range: BoolProperty(name="Own Range", description="Other frames than the scene's", options={"SKIP_SAVE"})
    first: IntProperty(name="First Frame", default=1, options={"SKIP_SAVE"})
    last: IntProperty(name="Last Frame", default=250, options={"SKIP_SAVE"})
    overwrite: BoolProperty(name="Overwrite", description="Replace a bake that is there", options={"SKIP_SAVE"})
    format: EnumProperty(name="Format", items=(PANEL, *bake_formats.ITEMS), default="PANEL", options={"SKIP_SAVE"})
    step: IntProperty(name="Step", description="0: the panel's", min=0, max=100, options={"SKIP_SAVE"})
    samples: IntProperty(name="Samples per Step", description="0: the panel's", min=0, max=16, options={"SKIP_SAVE"})
    everyone: BoolProperty(
        name="All Characters", description="Bake the clothes of the whole scene", options={"SKIP_SAVE"}
    )

    def settings(self, context: Context) -> bake.BakeSettings:
        panel = panel_settings(context)
        return bake.BakeSettings(
            self.folder or panel.folder,
            self.first if self.use_range else panel.first,
            self.last if self.use_range else panel.last,
            self.overwrite,
            panel.format if self.format == "PANEL" else self.format,
            self.step or panel.step,
            self.samples or panel.per_frame,
        )

    def worn(self, context: Context) -> list[Object]:
        return chosen_clothes(context, self.everyone or context.scene.scale_clothing.bake_everyone)


class SCALE_CLOTHING_OT_bake(BakeOptions, ClothesOperator, Operator):
    bl_idname = "scale_clothing.bake"
    bl_label = "Bake Frame Range"
    bl_description = (
        "Write the clothes of the scene's frame range to disk, so that they play and render without the backend and in "
        "any Blender, or for other programs. Esc stops; baking again goes on from there"
    )
    bl_options = {"UNDO"}  # no redo panel: a touch there would bake again

    running = None  # the one bake in a window
    progress = bake.Progress(0, 1, "")
    stop_asked = False

    def steps(self, context: Context):
        return bake.bake(context.scene, self.worn(context), self.settings(context))

    def work(self, context: Context) -> str:
        """Blocking: in background and from scripts."""
        for _ in self.steps(context):
            pass
        return self.told(context)

    def told(self, context: Context) -> str:
        settings, worn = self.settings(context), self.worn(context)
        names = f"'{worn[0].name}'" if len(worn) == 1 else f"{len(worn)} characters' clothes"
        return f"Baked {settings.sampling.count} samples of {names}, {bake.size(worn, settings) / 1e6:,.0f} MB"

    def invoke(self, context: Context, event: Event) -> set[str]:
        kind = type(self)
        if kind.running is not None:
            self.report({"WARNING"}, "A bake is running already")
            return {"CANCELLED"}
        try:
            asks = not self.overwrite and bake.in_the_way(self.worn(context), self.settings(context))
        except SHOWN_ERRORS as error:
            return self.fail(error)
        if asks:
            bpy.ops.scale_clothing.replace_bake("INVOKE_DEFAULT", **self.as_keywords())
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
            self.report({"INFO"}, f"{self.told(context)}, in {time.monotonic() - self.started:.0f} s")
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


class SCALE_CLOTHING_OT_replace_bake(BakeOptions, ClothesOperator, Operator):
    bl_idname = "scale_clothing.replace_bake"
    bl_label = "Replace Bake"
    bl_description = "Bake again, and replace the files that are there"
    bl_options = {"INTERNAL"}

    def invoke(self, context: Context, event: Event) -> set[str]:
        found = bake.in_the_way(self.worn(context), self.settings(context))
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return context.window_manager.invoke_confirm(
            self, event, title="Replace the bake?", message=f"{found[0].name}{more} will be written anew",
            confirm_text="Replace", icon="WARNING",
        )  # fmt: skip

    def execute(self, _context: Context) -> set[str]:
        bpy.ops.scale_clothing.bake("INVOKE_DEFAULT", **{**self.as_keywords(), "overwrite": True})
        return {"FINISHED"}


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


CLASSES = (SCALE_CLOTHING_OT_bake, SCALE_CLOTHING_OT_replace_bake, SCALE_CLOTHING_OT_stop_bake)


def unregister() -> None:
    SCALE_CLOTHING_OT_bake.running = None
