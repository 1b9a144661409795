"""Setting up the backend from inside Blender: beside the user's work in a window, blocking in background."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import bpy
from bpy.props import StringProperty
from bpy.types import Context, Event, Operator

from scale_backend.client import requirements

from .. import messages, paths
from ..backend import environment, process
from ..backend import settings as backend_settings
from ..clothes import live
from ..present import present
from .operator_kinds import Awaiting, Beside, Result, SentenceOperator, clear_status, own_operators

TICK = 0.3  # seconds between two looks at the set-up
REPORT_WIDTH = 700  # pixels


def is_idle(cls: type[Operator]) -> bool:
    """For polls: the backend is neither being set up nor started."""
    if process.status().kind in (process.SETTING_UP, process.STARTING):
        cls.poll_message_set("The backend is being set up or started: wait for it, or cancel")
        return False
    return True


class SCALE_CLOTHING_OT_set_up_backend(Awaiting, SentenceOperator, Operator):
    bl_idname = "scale_clothing.set_up_backend"
    bl_label = "Set Up Backend"
    bl_description = (
        "Make a Python environment for the backend and install torch into it. Downloads up to 3 GB. "
        "A set-up that was cancelled is resumed"
    )
    bl_options = {"REGISTER"}

    folder: StringProperty(
        name="Folder",
        description="Where the environment is made. Empty: as in the preferences",
        subtype="DIR_PATH",
        options={"SKIP_SAVE"},
    )
    wheels: StringProperty(
        name="Wheels",
        description="A folder of wheels, to be used instead of the network. Empty: as in the preferences",
        subtype="DIR_PATH",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, _context: Context) -> bool:
        return is_idle(cls)

    def work(self, _context: Context) -> str:
        plan = backend_settings.environment_plan(self.folder, self.wheels)
        if plan.wheels is None and not bpy.app.online_access:
            raise messages.AddonError(
                "Blender may not use the network: tick Edit > Preferences > System > Allow Online Access, "
                "or choose a folder of wheels."
            )
        live.forget()
        process.stop()
        if bpy.app.background:
            process.set_up(plan).run()
            backend_settings.use_environment(plan.folder)
            return "The backend is set up"
        process.set_up(plan).start()
        bpy.app.timers.register(_watch, first_interval=TICK, persistent=True)
        return "Setting up the backend"

    def invoke(self, context: Context, _event: Event) -> Result:
        """The set-up goes on by itself; this is here to be ended by Esc."""
        done = self.execute(context)
        return self.wait(context) if done == {"FINISHED"} and not bpy.app.background else done

    def show(self, context: Context) -> None:
        self.awaited = f"Setting up the backend: {present(process.setting_up()).step}"
        super().show(context)

    def ended(self) -> bool:
        return (work := process.setting_up()) is None or work.ended.is_set()

    def end(self, _context: Context) -> Result:
        return {"FINISHED"}

    def give_up(self) -> None:
        _cancel()


def _watch() -> float | None:
    """Show how the set-up goes on; at its end use what it made."""
    running = process.setting_up()
    messages.redraw_panels()
    if running is None:
        return None
    if not running.ended.is_set():
        return TICK
    if running.succeeded:
        backend_settings.use_environment(running.plan.folder)
        messages.clear()
        messages.keep_report(running.report)
        try:
            process.start_beside()
        except messages.AddonError as error:
            messages.show_error(str(error))
        bpy.app.timers.register(_watch_start, first_interval=TICK, persistent=True)
    elif running.failure:
        messages.show_error(running.failure)
    return None


def _watch_start() -> float | None:
    messages.redraw_panels()
    return TICK if process.status().kind == process.STARTING else None


class SCALE_CLOTHING_OT_cancel_set_up(Operator):
    bl_idname = "scale_clothing.cancel_set_up"
    bl_label = "Cancel"
    bl_description = "Cancel the set-up. What was downloaded is kept, and the next try resumes from there"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: Context) -> bool:
        return process.status().kind == process.SETTING_UP

    def execute(self, _context: Context) -> Result:
        _cancel()
        return {"FINISHED"}


def _cancel() -> None:
    running = process.setting_up()
    if running is not None:
        running.cancel(wait=10.0)
    messages.redraw_panels()


class SCALE_CLOTHING_OT_check_backend(Beside, SentenceOperator, Operator):
    bl_idname = "scale_clothing.check_backend"
    bl_label = "Check Backend"
    bl_description = "Start the backend if it is not running, and show what it found on this computer"
    bl_options = {"REGISTER"}
    awaited = "Asking the backend"
    in_sidebar = False  # the preferences show the report by themselves

    @classmethod
    def poll(cls, _context: Context) -> bool:
        return is_idle(cls)

    def invoke(self, context: Context, event: Event) -> Result:
        self.in_sidebar = context.area is not None and context.area.type == "VIEW_3D"
        return super().invoke(context, event)

    def begin(self, _context: Context) -> Callable[[], dict]:
        launch = process.launch()
        return lambda: process.get(launch).doctor()

    def use(self, _context: Context, report: dict) -> str:
        messages.keep_report(report)
        if self.in_sidebar and not bpy.app.background:
            own_operators().show_report("INVOKE_DEFAULT")
        return process.status().text


class SCALE_CLOTHING_OT_restart_backend(Beside, SentenceOperator, Operator):
    bl_idname = "scale_clothing.restart_backend"
    bl_label = "Restart Backend"
    bl_description = "Close the backend and start it again, with the current settings"
    bl_options = {"REGISTER"}
    awaited = "Starting the backend"

    @classmethod
    def poll(cls, _context: Context) -> bool:
        return is_idle(cls)

    def begin(self, _context: Context) -> Callable[[], object]:
        live.forget()  # nobody is to be told that the old one is gone
        process.stop()
        return partial(process.get, process.launch())

    def use(self, context: Context, _backend: object) -> str:
        live.update(present(context.scene), context.evaluated_depsgraph_get(), waits=bpy.app.background)
        return process.status().text


class SCALE_CLOTHING_OT_show_log(SentenceOperator, Operator):
    bl_idname = "scale_clothing.show_log"
    bl_label = "Show Log"
    bl_description = "Open what the set-up wrote, in the program that your system uses for text"
    bl_options = {"INTERNAL"}

    def work(self, _context: Context) -> None:
        log = backend_settings.environment_folder() / environment.LOG
        if not log.is_file():
            raise messages.AddonError("There is no log: the backend was not set up here.")
        paths.open_outside(log)


class SCALE_CLOTHING_OT_show_report(Operator):
    bl_idname = "scale_clothing.show_report"
    bl_label = "Show Report"
    bl_description = "Show what the backend found on this computer when it was last checked"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: Context) -> bool:
        return bool(messages.report())

    def invoke(self, context: Context, _event: Event) -> Result:
        return present(context.window_manager).invoke_popup(self, width=REPORT_WIDTH)

    def draw(self, _context: Context) -> None:
        from . import drawing

        drawing.draw_report(present(self.layout), REPORT_WIDTH - drawing.MARGIN)

    def execute(self, _context: Context) -> Result:
        return {"FINISHED"}


class SCALE_CLOTHING_OT_copy_report(Operator):
    bl_idname = "scale_clothing.copy_report"
    bl_label = "Copy Report"
    bl_description = "Copy what the backend found on this computer, so that you can paste it into a message"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: Context) -> bool:
        return bool(messages.report())

    def execute(self, context: Context) -> Result:
        present(context.window_manager).clipboard = requirements.describe(messages.report(), in_blender=True)
        self.report({"INFO"}, "The report is in the clipboard")
        return {"FINISHED"}


def unregister() -> None:
    _cancel()
    clear_status()
    for timer in (_watch, _watch_start):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)


CLASSES = (
    SCALE_CLOTHING_OT_set_up_backend,
    SCALE_CLOTHING_OT_cancel_set_up,
    SCALE_CLOTHING_OT_check_backend,
    SCALE_CLOTHING_OT_restart_backend,
    SCALE_CLOTHING_OT_show_log,
    SCALE_CLOTHING_OT_show_report,
    SCALE_CLOTHING_OT_copy_report,
)
