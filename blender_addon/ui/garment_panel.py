"""The garment in the panel Clothes: its picture, what it says of itself, and whether it fits the character."""

from __future__ import annotations

from bpy.types import Context, UILayout

from scale_backend.formats.garment_summary import GarmentSummary

from .. import messages
from ..clothes import proportions, selection, unattended
from ..garments import library
from ..present import present
from ..settings import clothes_settings, scene_settings


def draw_choice(layout: UILayout, context: Context, garment: library.Entry) -> None:
    """The menu of garments with pictures, and what is to be known of the chosen one."""
    from . import drawing

    chosen = scene_settings(context.scene)
    if unattended.is_rendering():  # see computed enums in properties.py
        layout.label(text=garment.title, icon="MOD_CLOTH")
        return
    pictures = layout.row()
    pictures.template_icon_view(chosen, "garment", show_labels=True, scale=4.0, scale_popup=5.0)
    row = layout.row(align=True)
    row.prop(chosen, "garment")
    row.operator("scale_clothing.add_garment", text="", icon="ADD")
    if garment.summary is None:
        if chosen.garment != library.NONE and garment.problem not in messages.last_error():  # which stands above
            drawing.draw_sentence(layout, context, garment.problem, "ERROR")
        return
    target = selection.rig_in_context(context)
    worn = selection.in_context(context)
    to_bones = worn is None or clothes_settings(worn).fit_to_rig
    to_mesh = worn is None or clothes_settings(worn).fit_to_body
    warning = proportions.warning(target, garment, to_bones, to_mesh) if target is not None else ""
    if warning:
        drawing.draw_sentence(layout.box(), context, warning, "ERROR", drawing.BOX_MARGIN)
    header, body = layout.panel("SCALE_CLOTHING_garment_info", default_closed=True)
    header.label(text="About This Garment")
    if body is not None:
        draw_info(body, context, garment)


def draw_info(layout: UILayout, context: Context, garment: library.Entry) -> None:
    """What the file says of itself."""
    from . import drawing

    summary = present(garment.summary)
    if summary.description:
        drawing.draw_sentence(layout, context, summary.description, "BLANK1")
    column = layout.column(align=True)
    for name, value in facts(summary):
        halves = column.split(factor=0.36)
        label = halves.row()
        label.alignment = "RIGHT"
        label.label(text=name)
        width = (
            0.64 * context.region.width / present(context.preferences).system.ui_scale - 48 if context.region else 200
        )
        lines = halves.column(align=True)
        for line in messages.wrapped(value, width):
            lines.label(text=line)
    row = layout.row()
    row.use_property_split = False
    row.operator("scale_clothing.open_garments", text="Open Folder", icon="FILE_FOLDER")
    if library.is_own(garment):
        row.operator("scale_clothing.remove_garment", text="Remove", icon="TRASH")


def facts(summary: GarmentSummary) -> list[tuple[str, str]]:
    """Name and value of what a garment file tells: licence, author, body, size and error."""
    known = [
        ("Licence", summary.licence or "not stated"),
        ("Author", summary.author or "not stated"),
        ("Body", summary.body_name),
    ]
    if summary.patches is not None and summary.points_per_patch is not None:
        known.append(("Detail", f"{summary.patches:,} patches of {summary.points_per_patch} points"))
    if isinstance(summary.training.get("frames"), int):
        known.append(("Trained on", f"{summary.training['frames']:,} poses"))
    held_out = summary.training.get("held_out")
    whole = held_out.get("all") if isinstance(held_out, dict) else None
    if isinstance(whole, dict) and isinstance(whole.get("to_truth_mean"), int | float):
        error = f"{whole['to_truth_mean']:.1f} mm"
        if isinstance(whole.get("normal_angle"), int | float):
            error += f", {whole['normal_angle']:.0f}°"
        known.append(("Mean error", f"{error} in new poses"))
    return known
