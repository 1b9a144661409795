"""The panel Bake: what to, how much, how far it is."""

from __future__ import annotations

from bpy.types import Context, Panel, UILayout

from . import bake, bake_formats, bake_operators, clothes
from .panel import WornPanel


class SCALE_CLOTHING_PT_bake(WornPanel, Panel):
    bl_label = "Bake"
    bl_parent_id = "SCALE_CLOTHING_PT_main"

    def draw(self, context: Context) -> None:
        layout = self.split()
        chosen = context.scene.scale_clothing
        running = bake_operators.running()
        column = layout.column()
        column.enabled = running is None
        draw_formats(column, chosen)
        column.prop(chosen, "bake_folder")
        numbers = column.column(align=True)
        numbers.prop(chosen, "bake_step")
        numbers.prop(chosen, "bake_samples")
        if len(clothes.all_clothes()) > 1:
            column.prop(chosen, "bake_everyone")
        settings = bake_operators.panel_settings(context)
        worn = bake_operators.chosen_clothes(context, chosen.bake_everyone)
        size = bake.size(worn, settings) / 1e6
        column.label(text=f"Frames {settings.first}–{settings.last}, {size:,.0f} MB", icon="TIME")
        if running is not None:
            row = layout.row(align=True)
            row.progress(factor=running.share, text=running.text)
            row.operator("scale_clothing.stop_bake", text="", icon="CANCEL")
            return
        layout.operator("scale_clothing.bake", icon="REC")
        shown = clothes.in_context(context)
        if clothes.is_baked(shown):
            row = layout.row(align=True)
            row.label(text="Playing the bake", icon="CHECKMARK")
            row.operator("scale_clothing.clear_bake", text="Clear")


def draw_formats(layout: UILayout, chosen) -> None:
    """The formats; those that this Blender cannot write are grey, with the reason below."""
    column = layout.column(align=True)
    column.use_property_split = False
    for row_of in (bake_formats.FORMATS[:3], bake_formats.FORMATS[3:]):
        row = column.row(align=True)
        for each in row_of:
            cell = row.row(align=True)
            cell.enabled = not bake_formats.why_missing(each.key)
            cell.prop_enum(chosen, "bake_format", each.key)
    missing = [each.title for each in bake_formats.FORMATS if bake_formats.why_missing(each.key)]
    if missing:
        layout.label(text=f"This build of Blender has no {' and no '.join(missing)}", icon="INFO")


CLASSES = (SCALE_CLOTHING_PT_bake,)
