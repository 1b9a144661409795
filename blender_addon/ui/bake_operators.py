"""Baking in Blender: modal with progress in a window, blocking in background."""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent
from bpy.props import BoolProperty, EnumProperty, IntProperty, StringProperty
from bpy.types import Context, Event, Object, Operator

from scale_backend.formats.errors import UserError

from .. import messages
from ..bake import baking, formats, plan
from ..bake.run import Run
from ..clothes import selection
from ..present import present
from ..settings import scene_settings
from .operator_kinds import ClothesOperator, Result, clear_status, keywords_of, own_operators, show_status
from .properties import BLEND_RELATIVE

TICK = 0.02  # seconds between steps of a modal bake
PATIENCE = 0.01  # seconds that a step waits for the backend
STOPPED = "Bake stopped; bake again to resume it"
PANEL = ("PANEL", "As in the Panel", "The format chosen in the panel", "NONE", len(formats.ITEMS))


def chosen_clothes(context: Context, everyone: bool) -> list[Object]:
    """What a bake is about: the clothes that the panel shows, or all of the scene."""
    if everyone:
        return [obj for obj in selection.all_clothes() if obj.name in present(context.scene).objects]
    worn = selection.in_context(context)
    return [] if worn is None else [worn]


def panel_settings(context: Context) -> plan.BakeSettings:
    """What the panel asks for."""
    scene, chosen = present(context.scene), scene_settings(context.scene)
    return plan.BakeSettings(
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
        name="Folder", description="Empty: as in the panel", subtype="DIR_PATH", options={"SKIP_SAVE"} | BLEND_RELATIVE
    )
    use_range: BoolProperty(
        name="Own Range",
        description="Bake from First Frame to Last Frame, not the scene's frames",
        options={"SKIP_SAVE"},
    )
    first: IntProperty(name="First Frame", description="Of Own Range", default=1, options={"SKIP_SAVE"})
    last: IntProperty(name="Last Frame", description="Of Own Range", default=250, options={"SKIP_SAVE"})
    overwrite: BoolProperty(name="Overwrite", description="Replace an existing bake", options={"SKIP_SAVE"})
    format: EnumProperty(
        name="Format",
        description="What clothes are baked to",
        items=(PANEL, *formats.ITEMS),
        default="PANEL",
        options={"SKIP_SAVE"},
    )
    step: IntProperty(name="Step", description="0: as in the panel", min=0, max=100, options={"SKIP_SAVE"})
    samples: IntProperty(
        name="Samples per Step", description="0: as in the panel", min=0, max=16, options={"SKIP_SAVE"}
    )
    everyone: BoolProperty(
        name="All Characters", description="Bake the clothes of the whole scene", options={"SKIP_SAVE"}
    )

    def settings(self, context: Context) -> plan.BakeSettings:
        panel = panel_settings(context)
        return plan.BakeSettings(
            self.folder or panel.folder,
            self.first if self.use_range else panel.first,
            self.last if self.use_range else panel.last,
            self.overwrite,
            panel.format if self.format == "PANEL" else self.format,
            self.step or panel.step,
            self.samples or panel.per_frame,
        )

    def worn(self, context: Context) -> list[Object]:
        return chosen_clothes(context, self.everyone or scene_settings(context.scene).bake_everyone)


_run: Run | None = None


def running() -> Run | None:
    """The one bake that goes on in a window."""
    return _run


@persistent
def _scene_goes(*_: object) -> None:
    """Undo, redo and another file replace what the bake holds."""
    if _run is not None:
        _run.stop(STOPPED)


def _watched() -> tuple[list, ...]:
    handlers = bpy.app.handlers
    return handlers.undo_pre, handlers.redo_pre, handlers.load_pre


class SCALE_CLOTHING_OT_bake(BakeOptions, ClothesOperator, Operator):
    bl_idname = "scale_clothing.bake"
    bl_label = "Bake Frame Range"
    bl_description = (
        "Write the clothes of the scene's frame range to disk, so that they play and render without the backend and in "
        "any Blender, or for other programs. Esc stops it; bake again to resume"
    )
    bl_options = {"UNDO"}  # no redo panel: a touch there would bake again

    @classmethod
    def poll(cls, context: Context) -> bool:
        if _run is not None:
            cls.poll_message_set("A bake is running; wait for it or stop it")
            return False
        return super().poll(context)

    def begin(self, context: Context, patience: float | None = None) -> Run:
        worn, settings = self.worn(context), self.settings(context)
        return Run(worn, settings, baking.bake(present(context.scene), worn, settings, patience))

    def work(self, context: Context) -> str:
        """Blocking: in background and from scripts."""
        run = self.begin(context)
        for _ in run.steps:
            pass
        return run.summary()

    def invoke(self, context: Context, event: Event) -> Result:
        global _run
        try:
            asks = not self.overwrite and plan.in_the_way(self.worn(context), self.settings(context))
        except UserError as error:
            return self.fail(error)
        if asks:
            own_operators().replace_bake("INVOKE_DEFAULT", **keywords_of(self))
            return {"CANCELLED"}
        if present(context.screen).is_animation_playing:  # the bake goes through the frames itself
            bpy.ops.screen.animation_cancel(restore_frame=False)
        _run = self.begin(context, PATIENCE)
        ended = self.advance()  # what is wrong from the start is told at once
        if ended:
            _run = None
            return ended
        for handlers in _watched():
            handlers.append(_scene_goes)
        self.timer = present(context.window_manager).event_timer_add(TICK, window=context.window)
        present(context.window_manager).modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: Event) -> Result:
        if _run is None:  # the add-on was disabled
            return {"CANCELLED"}
        if event.type == "ESC" and event.value == "PRESS":
            _run.stop(STOPPED)
        if _run.stopped:
            self.report({"WARNING"}, _run.stopped)
            self.finish(context)
            return {"CANCELLED"}
        if event.type != "TIMER":
            waits = _run.progress.moves_frames and not _is_over_sidebar(context, event)
            return {"RUNNING_MODAL"} if waits else {"PASS_THROUGH"}
        ended = self.advance()
        if ended:
            self.finish(context)
            return ended
        show_status(f"{_run.progress.text}: {_run.text}   |   Esc: stop")
        messages.redraw_panels()
        return {"RUNNING_MODAL"}

    def advance(self) -> Result:
        """Work for a moment; how it ended, if it did."""
        run = present(_run)
        try:
            if run.advance():
                return set()
        except UserError as error:
            return self.fail(error)
        messages.clear()
        self.report({"INFO"}, run.summary())
        return {"FINISHED"}

    def cancel(self, context: Context) -> None:
        """Its window was closed, or another file is loaded."""
        if _run is not None:
            _run.stop(STOPPED)
            self.finish(context)

    def finish(self, context: Context) -> None:
        present(context.window_manager).event_timer_remove(self.timer)
        clear_status()
        _forget_run()
        messages.redraw_panels()


def _is_over_sidebar(context: Context, event: Event) -> bool:
    """There the bake's own button has to work, also while the scene goes through its frames."""
    return any(
        region.type == "UI"
        and 0 <= event.mouse_x - region.x < region.width
        and 0 <= event.mouse_y - region.y < region.height
        for area in present(context.window).screen.areas
        if area.type == "VIEW_3D"
        for region in area.regions
    )


def _forget_run() -> None:
    global _run
    _run = None
    for handlers in _watched():
        if _scene_goes in handlers:
            handlers.remove(_scene_goes)


class SCALE_CLOTHING_OT_replace_bake(BakeOptions, ClothesOperator, Operator):
    bl_idname = "scale_clothing.replace_bake"
    bl_label = "Replace Bake"
    bl_description = "Bake again, and replace the files that are there"
    bl_options = {"INTERNAL"}

    def invoke(self, context: Context, event: Event) -> Result:
        replaced = plan.in_the_way(self.worn(context), self.settings(context))
        more = f" and {len(replaced) - 1} more" if len(replaced) > 1 else ""
        return present(context.window_manager).invoke_confirm(
            self, event, title="Replace the bake?", message=f"{replaced[0].name}{more} will be replaced",
            confirm_text="Replace", icon="WARNING",
        )  # fmt: skip

    def execute(self, _context: Context) -> Result:
        own_operators().bake("INVOKE_DEFAULT", **{**keywords_of(self), "overwrite": True})
        return {"FINISHED"}


class SCALE_CLOTHING_OT_stop_bake(Operator):
    bl_idname = "scale_clothing.stop_bake"
    bl_label = "Stop"
    bl_description = "Stop baking. Bake again to resume"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: Context) -> bool:
        return _run is not None

    def execute(self, _context: Context) -> Result:
        if _run is not None:
            _run.stop(STOPPED)
        return {"FINISHED"}


CLASSES = (SCALE_CLOTHING_OT_bake, SCALE_CLOTHING_OT_replace_bake, SCALE_CLOTHING_OT_stop_bake)


def unregister() -> None:
    if _run is not None:
        _run.stop("The add-on was disabled")
    _forget_run()
