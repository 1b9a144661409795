"""The tab SCALE in the sidebar of the 3D Viewport: character, clothes, look, bake, from top to bottom."""

from __future__ import annotations

import bpy
from bpy.types import Context, Menu, Object, Panel, UILayout

from scale_backend import doctor

from . import (
    backend,
    clothes,
    environment,
    garment_panel,
    garments,
    looks,
    messages,
    paths,
    preferences,
    proportions,
    rig,
    thickness,
)

STATUS_ICONS = {
    backend.NOT_SET_UP: "ERROR",
    backend.SETTING_UP: "IMPORT",
    backend.NOT_STARTED: "RADIOBUT_OFF",
    backend.STARTING: "SORTTIME",
    backend.READY: "CHECKMARK",
    backend.FAILED: "ERROR",
}

# pixels of a sidebar's width that a text beside an icon cannot have: alone, in a box, and for a button at its right
MARGIN, BOX_MARGIN, BUTTON = 84.0, 98.0, 28.0


def draw_status(layout: UILayout) -> None:
    """How the backend is, and the button that mends or checks it."""
    row = layout.row(align=True)
    row.label(text=backend.status().text, icon=STATUS_ICONS[backend.status().kind])
    draw_status_buttons(row)


def draw_status_buttons(layout: UILayout) -> None:
    """Pictures alone, they are explained when the mouse rests on them."""
    state = backend.status()
    buttons = layout.row(align=True)
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
        done = environment.is_set_up(preferences.environment_folder())
        text = "Continue Set-up" if broken_off else "Set Up Again" if done else "Set Up Backend"
        row.operator("scale_clothing.set_up_backend", text=text, icon="IMPORT")
    if (preferences.environment_folder() / environment.LOG).is_file():
        row.operator("scale_clothing.show_log", icon="TEXT")


def draw_sentence(layout: UILayout, context: Context, sentence: str, icon: str, margin: float = MARGIN) -> None:
    """A text, whole: labels do not wrap by themselves. margin: pixels of the panel's width that it cannot have."""
    scale = context.preferences.system.ui_scale
    lines = messages.wrapped(sentence, context.region.width / scale - margin if context.region else 300)
    column = layout.column(align=True)
    for index, line in enumerate(lines):
        column.label(text=line, icon=icon if index == 0 else "BLANK1")


def draw_error(layout: UILayout, context: Context) -> None:
    """The last error; where it was dismissed, why there is no backend."""
    sentence = messages.last_error() or backend.failure()
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
    for line in doctor.describe(messages.report(), in_blender=True).splitlines():
        for part in messages.wrapped(line, width):
            column.label(text=part)


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

    def draw_header_preset(self, _context: Context) -> None:
        self.layout.emboss = "NONE"
        draw_status_buttons(self.layout)

    def draw(self, context: Context) -> None:
        state = backend.status()
        draw_sentence(self.layout, context, state.text, STATUS_ICONS[state.kind])
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
        other = clothes.other_selected(context)
        if other is not None:
            layout.operator("scale_clothing.use_selected", text=f"Use '{other.name}'", icon="RESTRICT_SELECT_OFF")
        if chosen.rig is None and target is not None:
            layout.label(text=f"Selected: {target.name}", icon="RESTRICT_SELECT_OFF")
        if target is not None and not rig.is_rig(target):
            draw_sentence(layout, context, "Its bones are not those of an SMPL character", "ERROR")
        if target is not None and rig.body_shape(target).any():
            layout.operator("scale_clothing.fit_bones", icon="BONE_DATA")
        column = layout.column(align=True)
        column.prop(chosen, "motion", icon="ACTION")
        row = column.row(align=True)
        row.operator("scale_clothing.apply_motion", icon="PLAY")
        row.operator("scale_clothing.import_motion", text="", icon="FILE_FOLDER")


class SCALE_CLOTHING_MT_surface(Menu):
    """The surfaces that the chosen garment offers; the property itself knows those of all."""

    bl_label = "Surface"

    def draw(self, context: Context) -> None:
        chosen = context.scene.scale_clothing
        for key in garments.entry(chosen.garment).surfaces():
            self.layout.prop_enum(chosen, "surface", key)


class SCALE_CLOTHING_MT_part(Menu):
    """The parts that the chosen garment offers."""

    bl_label = "Part"

    def draw(self, context: Context) -> None:
        chosen = context.scene.scale_clothing
        for key in garments.entry(chosen.garment).parts():
            self.layout.prop_enum(chosen, "part", key)


class SCALE_CLOTHING_PT_clothes(SidebarPanel, Panel):
    bl_label = "Clothes"
    bl_parent_id = "SCALE_CLOTHING_PT_main"

    def draw(self, context: Context) -> None:
        layout = self.split()
        chosen = context.scene.scale_clothing
        garment = garments.entry(chosen.garment)
        garment_panel.draw_choice(layout, context, garment)
        if garment.summary is not None:
            self.draw_choices(layout, chosen, garment)
        row = layout.row()
        row.scale_y = 1.4
        row.operator("scale_clothing.generate", icon="MOD_CLOTH")
        worn = clothes.in_context(context)
        if worn is not None:
            self.draw_worn(layout, worn)

    def draw_choices(self, layout: UILayout, chosen, garment: garments.Entry) -> None:
        """Surface and part, where the garment leaves a choice."""
        shown = dict(zip(("surface", "part"), garment.choose(chosen.surface, chosen.part), strict=True))
        for name, items, offered in (
            ("surface", garments.SURFACES, garment.surfaces()),
            ("part", garments.PARTS, garment.parts()),
        ):
            if len(offered) > 1:
                halves = layout.split(factor=0.4)
                label = halves.row()
                label.alignment = "RIGHT"
                label.label(text=name.capitalize())
                item = next(item for item in items if item[0] == shown[name])
                halves.menu(f"SCALE_CLOTHING_MT_{name}", text=item[1], icon=item[3])

    def draw_worn(self, layout: UILayout, worn: Object) -> None:
        """What the character wears, and how it follows."""
        settings = worn.scale_clothing
        layout.separator()
        row = layout.row(align=True)
        row.label(text=worn.name, icon="OUTLINER_OB_MESH")
        row.operator("scale_clothing.update", text="", icon="FILE_REFRESH")
        row.operator("scale_clothing.remove", text="", icon="TRASH")
        column = layout.column()
        live = column.row()
        live.enabled = not clothes.is_baked(worn)
        live.prop(settings, "live")
        shape = column.column()
        shape.active = not clothes.is_baked(worn)
        shape.prop(settings, "push_out")
        shape.prop(settings, "fit_to_rig", text=f"Fit to Rig{proportions.fit_told(worn)}")
        column.prop(settings, "hide_skin")


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
        for look in looks.offered(settings.id_data):
            row.prop_enum(settings, "look", look)
        if settings.look == "CLOTH":
            row = layout.row(align=True)
            row.prop(settings, "fabric")
            row.operator("scale_clothing.add_fabric_assets", text="", icon="ASSET_MANAGER")
            layout.prop(settings, "color")
            for piece in settings.pieces:
                layout.prop(piece, "is_apart", text=f"Own Fabric: {piece.name}")
                if piece.is_apart:
                    layout.prop(piece, "fabric")
                    layout.prop(piece, "color")
        self.draw_normals(layout, context, settings)
        if settings.surface == "POINTS":
            layout.prop(settings, "radius")
        else:
            self.draw_thickness(layout, context)

    def draw_normals(self, layout: UILayout, context: Context, settings) -> None:
        if settings.surface in garments.CHANGING:
            draw_sentence(layout, context, "Normals of the faces: these change from frame to frame", "INFO")
        elif garments.has_choice_of_normals(settings.surface):
            row = layout.row()
            row.enabled = not clothes.is_baked(settings.id_data)
            row.prop(settings, "normals")

    def draw_thickness(self, layout: UILayout, context: Context) -> None:
        modifier = thickness.modifier_of(clothes.in_context(context))
        if modifier is None:
            layout.operator("scale_clothing.add_thickness", icon="MOD_SOLIDIFY")
            return
        row = layout.row(align=True)
        row.prop(modifier, "thickness")
        row.operator("scale_clothing.remove_thickness", text="", icon="X")


CLASSES = (
    SCALE_CLOTHING_MT_surface,
    SCALE_CLOTHING_MT_part,
    SCALE_CLOTHING_PT_main,
    SCALE_CLOTHING_PT_character,
    SCALE_CLOTHING_PT_clothes,
    SCALE_CLOTHING_PT_look,
)
