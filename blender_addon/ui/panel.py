"""The tab SCALE in the sidebar of the 3D Viewport: character, clothes, look, bake, from top to bottom."""

from __future__ import annotations

from bpy.types import Context, Menu, Object, Panel, UILayout

from ..appearance import looks
from ..backend import process
from ..clothes import playback, proportions, request, selection, thickness, unattended
from ..garments import kinds, library
from ..present import present
from ..rig import recognition
from ..rig.shape import body_shape
from ..settings import ClothesSettings, SceneSettings, clothes_settings, scene_settings
from . import garment_panel
from .drawing import (
    STATUS_ICONS,
    Icon,
    SidebarPanel,
    WornPanel,
    draw_error,
    draw_sentence,
    draw_status_buttons,
    draw_update,
    preferences_button,
)


class SCALE_CLOTHING_PT_main(SidebarPanel, Panel):
    bl_label = "SCALE Clothing"

    def draw_header_preset(self, _context: Context) -> None:
        present(self.layout).emboss = "NONE"
        draw_status_buttons(present(self.layout))

    def draw(self, context: Context) -> None:
        state = process.status()
        draw_sentence(present(self.layout), context, state.text, STATUS_ICONS[state.kind])
        if process.status().kind in (process.NOT_SET_UP, process.SETTING_UP, process.FAILED):
            preferences_button(present(self.layout))
        draw_update(present(self.layout), context)
        draw_error(present(self.layout), context)


class SCALE_CLOTHING_PT_character(SidebarPanel, Panel):
    bl_label = "Character"
    bl_parent_id = "SCALE_CLOTHING_PT_main"

    def draw(self, context: Context) -> None:
        layout = self.split()
        chosen = scene_settings(context.scene)
        layout.operator("scale_clothing.add_character", icon="OUTLINER_OB_ARMATURE")
        layout.prop(chosen, "rig", icon="ARMATURE_DATA")
        target = selection.rig_in_context(context)
        other = selection.other_selected(context)
        if other is not None:
            layout.operator("scale_clothing.use_selected", text=f"Use '{other.name}'", icon="RESTRICT_SELECT_OFF")
        if chosen.rig is None and target is not None:
            layout.label(text=f"Selected: {target.name}", icon="RESTRICT_SELECT_OFF")
        if target is not None and not recognition.is_rig(target):
            draw_sentence(layout, context, recognition.problem(target), "ERROR")
        if target is not None and body_shape(target).any():
            layout.operator("scale_clothing.fit_bones", icon="BONE_DATA")
        column = layout.column(align=True)
        if not unattended.is_rendering():  # see computed enums in properties.py
            column.prop(chosen, "motion", icon="ACTION")
        row = column.row(align=True)
        row.operator("scale_clothing.apply_motion", icon="PLAY")
        row.operator("scale_clothing.import_motion", text="", icon="FILE_FOLDER")


class SCALE_CLOTHING_MT_surface(Menu):
    """The surfaces that the chosen garment offers; the property itself knows those of all."""

    bl_label = "Surface"

    def draw(self, context: Context) -> None:
        chosen = scene_settings(context.scene)
        for key in library.entry(chosen.garment).surfaces():
            present(self.layout).prop_enum(chosen, "surface", key)


class SCALE_CLOTHING_MT_part(Menu):
    """The parts that the chosen garment offers."""

    bl_label = "Part"

    def draw(self, context: Context) -> None:
        chosen = scene_settings(context.scene)
        for key in library.entry(chosen.garment).parts():
            present(self.layout).prop_enum(chosen, "part", key)


class SCALE_CLOTHING_PT_clothes(SidebarPanel, Panel):
    bl_label = "Clothes"
    bl_parent_id = "SCALE_CLOTHING_PT_main"

    def draw(self, context: Context) -> None:
        layout = self.split()
        chosen = scene_settings(context.scene)
        garment = library.entry(chosen.garment)
        garment_panel.draw_choice(layout, context, garment)
        if garment.summary is not None:
            self.draw_choices(layout, chosen, garment)
        row = layout.row()
        row.scale_y = 1.4
        row.operator("scale_clothing.generate", icon="MOD_CLOTH")
        worn = selection.in_context(context)
        if worn is not None:
            self.draw_worn(layout, context, worn)

    def draw_choices(self, layout: UILayout, chosen: SceneSettings, garment: library.Entry) -> None:
        """Surface and part, where the garment leaves a choice."""
        shown = dict(zip(("surface", "part"), garment.choose(chosen.surface, chosen.part), strict=True))
        for name, items, offered in (
            ("surface", kinds.SURFACES, garment.surfaces()),
            ("part", kinds.PARTS, garment.parts()),
        ):
            if len(offered) > 1:
                halves = layout.split(factor=0.4)
                label = halves.row()
                label.alignment = "RIGHT"
                label.label(text=name.capitalize())
                item = next(item for item in items if item[0] == shown[name])
                icon: Icon = item[3]
                halves.menu(f"SCALE_CLOTHING_MT_{name}", text=item[1], icon=icon)

    def draw_worn(self, layout: UILayout, context: Context, worn: Object) -> None:
        """What the character wears, and how it follows."""
        settings = clothes_settings(worn)
        layout.separator()
        row = layout.row(align=True)
        row.label(text=worn.name, icon="OUTLINER_OB_MESH")
        row.operator("scale_clothing.update", text="", icon="FILE_REFRESH")
        row.operator("scale_clothing.remove", text="", icon="TRASH")
        column = layout.column()
        live = column.row()
        live.enabled = not playback.is_baked(worn)
        live.prop(settings, "live")
        shape = column.column()
        shape.active = not playback.is_baked(worn)
        if library.entry(settings.garment).window().lags:
            shape.prop(settings, "motion")
        shape.prop(settings, "push_out")
        shape.prop(settings, "fit_to_rig", text=f"Fit to Rig{proportions.fit_told(worn)}")
        if settings.fit_to_rig:
            shape.prop(settings, "fit_to_body")
        if settings.fit_to_rig and settings.fit_to_body and settings.rig is not None:
            shape.prop(clothes_settings(settings.rig), "body", icon="MESH_DATA")
            for sentence in proportions.surface_told(worn):
                draw_sentence(shape, context, sentence, "NONE")
        column.prop(settings, "hide_skin")


class SCALE_CLOTHING_PT_look(WornPanel, Panel):
    bl_label = "Look"
    bl_parent_id = "SCALE_CLOTHING_PT_main"

    def draw(self, context: Context) -> None:
        layout = self.split()
        settings = clothes_settings(present(selection.in_context(context)))
        row = layout.row(align=True)
        row.use_property_split = False  # the names need the width
        for look in looks.offered(settings.id_data):
            row.prop_enum(settings, "look", look)
        if settings.look == "CLOTH":
            row = layout.row(align=True)
            row.prop(settings, "fabric")
            row.operator("scale_clothing.add_fabric_assets", text="", icon="ASSET_MANAGER")
            layout.prop(settings, "color")
            self.draw_behaviour(layout, context, settings)
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

    def draw_behaviour(self, layout: UILayout, context: Context, settings: ClothesSettings) -> None:
        """What the cloth moves as, where the garment knows of fabrics."""
        known = library.entry(settings.garment).fabrics()
        if not known:
            return
        column = layout.column()
        column.enabled = not playback.is_baked(settings.id_data)
        column.prop(settings, "behaves_as")
        if len(known) > 1:
            column.prop(settings, "mixed_with")
        if settings.mixed_with.lower() in known:
            column.prop(settings, "mix", slider=True)
        fabric = request.fabric_of(settings.id_data)
        if fabric not in known:
            draw_sentence(layout, context, f"It moves as {known[0]}: the garment does not know {fabric}", "INFO")

    def draw_normals(self, layout: UILayout, context: Context, settings: ClothesSettings) -> None:
        if settings.surface in kinds.CHANGING:
            draw_sentence(layout, context, "Normals of the faces: these change from frame to frame", "INFO")
        elif kinds.has_choice_of_normals(settings.surface):
            row = layout.row()
            row.enabled = not playback.is_baked(settings.id_data)
            row.prop(settings, "normals")

    def draw_thickness(self, layout: UILayout, context: Context) -> None:
        modifier = thickness.modifier_of(present(selection.in_context(context)))
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
