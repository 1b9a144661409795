"""What several panels draw: the backend's status, sentences, errors, reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy
from bpy.types import Context, UILayout

from scale_backend.client import requirements

from .. import messages, paths
from ..backend import environment, process
from ..backend import settings as backend_settings
from ..clothes import selection
from ..present import present

if TYPE_CHECKING:  # it is mixed into panels; Blender would want to register what is one itself
    from bpy.types import Panel as Base
else:
    Base = object

Icon = Any  # a name; Blender's types list some hundred
STATUS_ICONS: dict[str, Icon] = {
    process.NOT_SET_UP: "ERROR",
    process.SETTING_UP: "IMPORT",
    process.NOT_STARTED: "RADIOBUT_OFF",
    process.STARTING: "SORTTIME",
    process.READY: "CHECKMARK",
    process.FAILED: "ERROR",
}

# pixels of a sidebar's width that a text beside an icon cannot have: alone, in a box, and for a button at its right
MARGIN, BOX_MARGIN, BUTTON = 84.0, 98.0, 28.0


def draw_status(layout: UILayout) -> None:
    """How the backend is, and the button that mends or checks it."""
    row = layout.row(align=True)
    row.label(text=process.status().text, icon=STATUS_ICONS[process.status().kind])
    draw_status_buttons(row)


def draw_status_buttons(layout: UILayout) -> None:
    """Pictures alone, they are explained when the mouse rests on them."""
    state = process.status()
    buttons = layout.row(align=True)
    if state.kind == process.SETTING_UP:
        buttons.operator("scale_clothing.cancel_set_up", text="", icon="CANCEL")
    elif state.kind not in (process.STARTING, process.NOT_SET_UP):
        buttons.operator("scale_clothing.check_backend", text="", icon="INFO")
        icon: Icon = "PLAY" if state.kind == process.NOT_STARTED else "FILE_REFRESH"
        buttons.operator("scale_clothing.restart_backend", text="", icon=icon)


def draw_set_up(layout: UILayout) -> None:
    """How the set-up of the backend's environment goes on, or the button that begins it."""
    work = process.setting_up()
    if going_on := work is not None and not work.ended.is_set():
        layout.progress(factor=work.fraction, text=work.step)
    row = layout.row()
    row.use_property_split = False
    if going_on:
        row.operator("scale_clothing.cancel_set_up", icon="CANCEL")
    else:
        broken_off = work is not None and not work.succeeded
        done = environment.is_set_up(backend_settings.environment_folder())
        text = "Continue Set-up" if broken_off else "Set Up Again" if done else "Set Up Backend"
        text = "Update Backend" if backend_settings.is_outdated() else text
        row.operator("scale_clothing.set_up_backend", text=text, icon="IMPORT")
    if (backend_settings.environment_folder() / environment.LOG).is_file():
        row.operator("scale_clothing.show_log", icon="TEXT")


def draw_update(layout: UILayout, context: Context) -> None:
    """After an update of the add-on: a button that updates the backend too. Nothing is fetched unasked."""
    idle = process.status().kind not in (process.SETTING_UP, process.STARTING)
    if idle and backend_settings.is_outdated():
        draw_sentence(layout, context, "The backend was set up by another version of the add-on", "INFO")
        layout.operator("scale_clothing.set_up_backend", text="Update Backend", icon="IMPORT")


def draw_sentence(layout: UILayout, context: Context, sentence: str, icon: Icon, margin: float = MARGIN) -> None:
    """A text, whole: labels do not wrap by themselves. margin: pixels of the panel's width that it cannot have."""
    scale = present(context.preferences).system.ui_scale
    lines = messages.wrapped(sentence, context.region.width / scale - margin if context.region else 300)
    column = layout.column(align=True)
    for index, line in enumerate(lines):
        column.label(text=line, icon=icon if index == 0 else "BLANK1")


def draw_error(layout: UILayout, context: Context) -> None:
    """The last error; where it was dismissed, why there is no backend."""
    sentence = messages.last_error() or process.failure()
    if not sentence:
        return
    row = layout.box().row()
    column = row.column()
    column.alert = True
    draw_sentence(column, context, sentence, "ERROR", BOX_MARGIN + BUTTON)
    if messages.last_error():
        row.operator("scale_clothing.dismiss_error", text="", icon="X", emboss=False)


def draw_report(layout: UILayout, width: float) -> None:
    """What the backend's doctor found, in lines of so many pixels."""
    if not messages.report():
        return
    box = layout.box()
    box.operator("scale_clothing.copy_report", icon="COPYDOWN")
    column = box.column(align=True)
    for line in requirements.describe(messages.report(), in_blender=True).splitlines():
        for part in messages.wrapped(line, width):
            column.label(text=part)


class SidebarPanel(Base):
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SCALE"

    def split(self) -> UILayout:
        layout = present(self.layout)
        layout.use_property_split, layout.use_property_decorate = True, False
        return layout


def preferences_button(layout: UILayout) -> None:
    if paths.PACKAGE in present(bpy.context.preferences).addons:
        shown = layout.operator("preferences.addon_show", text="Backend Settings…", icon="PREFERENCES")
        shown.module = paths.PACKAGE


class WornPanel(SidebarPanel):
    @classmethod
    def poll(cls, context: Context) -> bool:
        return selection.in_context(context) is not None
