"""The panel Bake: what to, how much, how far it is."""

from __future__ import annotations

from bpy.types import Context, Object, Panel, UILayout

from ..bake import formats, plan
from ..clothes import playback, selection
from ..clothes.playback import is_lost
from ..garments import library
from ..settings import SceneSettings, clothes_settings, scene_settings
from . import bake_operators
from .drawing import WornPanel, draw_sentence


class SCALE_CLOTHING_PT_bake(WornPanel, Panel):
    bl_label = "Bake"
    bl_parent_id = "SCALE_CLOTHING_PT_main"

    def draw(self, context: Context) -> None:
        layout = self.split()
        chosen = scene_settings(context.scene)
        running = bake_operators.running()
        column = layout.column()
        column.enabled = running is None
        worn = bake_operators.chosen_clothes(context, chosen.bake_everyone)
        draw_format(column, context, chosen, worn)
        column.prop(chosen, "bake_folder")
        numbers = column.column(align=True)
        numbers.prop(chosen, "bake_step")
        numbers.prop(chosen, "bake_samples", text="Samples")  # the whole name is too long for a sidebar
        if any(library.entry(clothes_settings(obj).garment).window().lags for obj in worn):
            column.prop(chosen, "pre_roll")
        if len(selection.all_clothes()) > 1:
            column.prop(chosen, "bake_everyone")
        settings = bake_operators.panel_settings(context)
        size = plan.megabytes(plan.size(worn, settings))
        column.label(text=f"Frames {settings.first}–{settings.last}, {size}", icon="TIME")
        if running is not None:
            row = layout.row(align=True)
            row.progress(factor=running.share, text=running.text)
            row.operator("scale_clothing.stop_bake", text="", icon="CANCEL")
            return
        layout.operator("scale_clothing.bake", icon="REC")
        shown = selection.in_context(context)
        if shown is not None and playback.is_baked(shown):
            row = layout.row(align=True)
            status = row.row(align=True)
            status.alert = is_lost(shown)
            if status.alert:
                status.label(text="The bake is missing", icon="ERROR")
            else:
                status.label(text="Playing the bake", icon="CHECKMARK")
            row.operator("scale_clothing.clear_bake", text="Clear")


def draw_format(layout: UILayout, context: Context, chosen: SceneSettings, worn: list[Object]) -> None:
    """What to bake to, and why this Blender or these clothes cannot, where they cannot."""
    layout.prop(chosen, "bake_format")
    if formats.why_missing(chosen.bake_format):
        row = layout.row()
        row.alert = True
        row.label(text=f"No {formats.BY_KEY[chosen.bake_format].title} in this Blender", icon="ERROR")
    elif not formats.BY_KEY[chosen.bake_format].is_sequence:
        for obj in worn:
            if plan.why_no_cache(obj):
                draw_sentence(layout, context, f"'{obj.name}' {plan.why_no_cache(obj)}", "ERROR")


CLASSES = (SCALE_CLOTHING_PT_bake,)
