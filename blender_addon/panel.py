"""The tab SCALE in the sidebar of the 3D Viewport: character, clothes, look, bake, from top to bottom."""

from __future__ import annotations

import bpy
from bpy.types import Context, Panel, UILayout

from scale_backend import doctor

from . import backend, clothes, environment, garments, messages, paths, preferences, rig

STATUS_ICONS = {
    backend.NOT_SET_UP: "ERROR",
    backend.SETTING_UP: "IMPORT",
    backend.NOT_STARTED: "RADIOBUT_OFF",
    backend.STARTING: "SORTTIME",
    backend.READY: "CHECKMARK",
    backend.FAILED: "ERROR",
}


def draw_status(layout: UILayout) -> None:
    """How the backend is, and the button that mends or checks it."""
    state = backend.status()
    row = layout.row(align=True)
    row.label(text=state.text, icon=STATUS_ICONS[state.kind])
    buttons = row.row(align=True)  # pictures alone: a narrow sidebar has no room for words beside the state
    if state.kind == backend.SETTING_UP:
        buttons.operator("scale_clothing.cancel_set_up", text="", icon="CANCEL")
    elif state.kind not in (backend.STARTING, backend.NOT_SET_UP):
        buttons.operator("scale_clothing.check_backend", text="", icon="INFO")
        icon = "PLAY" if state.kind == backend.NOT_STARTED else "FILE_REFRESH"
        buttons.operator("scale_clothing.restart_backend", text="", icon=icon)


def draw_set_up(layout: UILayout) -> None:
    """How the set-up of the backend's environment goes on, or the button that begins it."""
    work = backend.setting_up()
    going_on = work is not None and not work.ended.is_set()
    if going_on:
        layout.progress(factor=work.fraction, text=work.step)
    row = layout.row()
    row.use_property_split = False
    if going_on:
        row.operator("scale_clothing.cancel_set_up", icon="CANCEL")
    else:
        broken_off = work is not None and not work.succeeded
        row.operator(
            "scale_clothing.set_up_backend", text="Continue Set-up" if broken_off else "Set Up Backend", icon="IMPORT"
        )
    if (preferences.environment_folder() / environment.LOG).is_file():
        row.operator("scale_clothing.show_log", icon="TEXT")


def draw_error(layout: UILayout, context: Context) -> None:
    """The last error, whole: labels do not wrap by themselves."""
    sentence = messages.last_error()
    if not sentence:
        return
    scale = context.preferences.system.ui_scale
    box = layout.box()
    row = box.row()
    lines = messages.wrapped(sentence, (context.region.width - 60 * scale) / scale if context.region else 300)
    column = row.column(align=True)
    column.alert = True
    for index, line in enumerate(lines):
        column.label(text=line, icon="ERROR" if index == 0 else "BLANK1")
    row.operator("scale_clothing.dismiss_error", text="", icon="X", emboss=False)


def draw_report(layout: UILayout) -> None:
    """What the backend's doctor found."""
    if not messages.report():
        return
    box = layout.box()
    box.operator("scale_clothing.copy_report", icon="COPYDOWN")
    column = box.column(align=True)
    for line in doctor.describe(messages.report()).splitlines():
        column.label(text=line)


class SidebarPanel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SCALE"

    def split(self) -> UILayout:
        self.layout.use_property_split = True
        self.layout.use_property_decorate = False
        return self.layout


class SCALE_CLOTHING_PT_main(SidebarPanel, Panel):
    bl_label = "SCALE Clothing"

    def draw(self, context: Context) -> None:
        draw_status(self.layout)
        if backend.status().kind in (backend.NOT_SET_UP, backend.SETTING_UP, backend.FAILED):
            preferences_button(self.layout)
        draw_error(self.layout, context)


def preferences_button(layout: UILayout) -> None:
    if paths.PACKAGE in bpy.context.preferences.addons:
        shown = layout.operator("preferences.addon_show", text="Backend Settings…", icon="PREFERENCES")
        shown.module = paths.PACKAGE


class SCALE_CLOTHING_PT_character(SidebarPanel, Panel):
    bl_label = "Character"
    bl_parent_id = "SCALE_CLOTHING_PT_main"

    def draw(self, context: Context) -> None:
        layout = self.split()
        chosen = context.scene.scale_clothing
        layout.operator("scale_clothing.add_character", icon="OUTLINER_OB_ARMATURE")
        layout.prop(chosen, "rig", icon="ARMATURE_DATA")
        target = clothes.rig_in_context(context)
        if chosen.rig is None and target is not None:
            layout.label(text=f"Selected: {target.name}", icon="RESTRICT_SELECT_OFF")
        if target is not None and not rig.is_rig(target):
            layout.label(text="Not an SMPL-family rig", icon="ERROR")
        if target is not None and rig.body_shape(target).any():
            layout.operator("scale_clothing.fit_bones", icon="BONE_DATA")
        column = layout.column(align=True)
        column.prop(chosen, "motion", icon="ACTION")
        row = column.row(align=True)
        row.operator("scale_clothing.apply_motion", icon="PLAY")
        row.operator("scale_clothing.import_motion", text="", icon="FILE_FOLDER")


class SCALE_CLOTHING_PT_clothes(SidebarPanel, Panel):
    bl_label = "Clothes"
    bl_parent_id = "SCALE_CLOTHING_PT_main"

    def draw(self, context: Context) -> None:
        layout = self.split()
        chosen = context.scene.scale_clothing
        row = layout.row(align=True)
        row.prop(chosen, "garment")
        row.operator("scale_clothing.add_garment", text="", icon="ADD")
        garment = garments.entry(chosen.garment)
        if chosen.garment not in ("", garments.NONE):
            self.draw_choices(layout, chosen, garment)
        row = layout.row()
        row.scale_y = 1.4
        worn = clothes.in_context(context)
        row.operator("scale_clothing.generate", icon="MOD_CLOTH")
        if worn is not None:
            settings = worn.scale_clothing
            layout.separator()
            row = layout.row(align=True)
            row.label(text=worn.name, icon="OUTLINER_OB_MESH")
            row.operator("scale_clothing.update", text="", icon="FILE_REFRESH")
            row.operator("scale_clothing.remove", text="", icon="TRASH")
            column = layout.column(heading="")
            live = column.row()
            live.enabled = not clothes.is_baked(worn)
            live.prop(settings, "live")
            column.prop(settings, "push_out")
            column.prop(settings, "hide_skin")

    def draw_choices(self, layout: UILayout, chosen, garment: garments.Entry) -> None:
        """Surface and part, where the garment leaves a choice."""
        if garment.summary is None:
            layout.label(text="This file cannot be used", icon="ERROR")
            return
        for name, items, offered in (
            ("surface", garments.SURFACES, garment.surfaces()),
            ("part", garments.PARTS, garment.parts()),
        ):
            if len(offered) > 1:
                layout.row(align=True).prop(chosen, name, expand=True)
            else:
                halves = layout.split(factor=0.4)
                name_row = halves.row()
                name_row.alignment = "RIGHT"
                name_row.label(text=name.capitalize())
                halves.label(text=next(item[1] for item in items if item[0] == offered[0]))


class WornPanel(SidebarPanel):
    @classmethod
    def poll(cls, context: Context) -> bool:
        return clothes.in_context(context) is not None


class SCALE_CLOTHING_PT_look(WornPanel, Panel):
    bl_label = "Look"
    bl_parent_id = "SCALE_CLOTHING_PT_main"

    def draw(self, context: Context) -> None:
        layout = self.split()
        settings = clothes.in_context(context).scale_clothing
        row = layout.row(align=True)
        row.use_property_split = False  # the names need the width
        row.prop(settings, "look", expand=True)
        if settings.look == "CLOTH":
            layout.prop(settings, "fabric")
            layout.prop(settings, "color")
        if settings.surface == "POINTS":
            layout.prop(settings, "radius")


CLASSES = (
    SCALE_CLOTHING_PT_main,
    SCALE_CLOTHING_PT_character,
    SCALE_CLOTHING_PT_clothes,
    SCALE_CLOTHING_PT_look,
)
