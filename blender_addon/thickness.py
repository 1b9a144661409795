"""Thickness of cloth: Blender's own Solidify modifier, outwards, so that the cloth stays off the skin."""

from __future__ import annotations

from bpy.types import Context, Object, Operator, SolidifyModifier

from . import clothes, rig
from .operator_kinds import ClothesOperator

MODIFIER = "Thickness"
THICKNESS = 0.0015  # metres: a firm cotton


def modifier_of(obj: Object) -> SolidifyModifier | None:
    modifier = obj.modifiers.get(MODIFIER)
    return modifier if modifier is not None and modifier.type == "SOLIDIFY" else None


def add(obj: Object) -> SolidifyModifier:
    """Give clothes a thickness, after all that moves them. Raises AddonError."""
    target = clothes.wearer(obj)
    modifier = modifier_of(obj) or obj.modifiers.new(MODIFIER, "SOLIDIFY")
    modifier.thickness = THICKNESS * rig.rest_frame(target, rig.recognise(target)).unit
    modifier.offset = 1.0  # outwards
    modifier.use_even_offset = modifier.use_quality_normals = True
    return modifier


class SCALE_CLOTHING_OT_add_thickness(ClothesOperator, Operator):
    bl_idname = "scale_clothing.add_thickness"
    bl_label = "Add Thickness"
    bl_description = "Give the cloth a thickness, with hems that are seen, by a Solidify modifier"

    def work(self, context: Context) -> None:
        add(clothes.in_context(context))


class SCALE_CLOTHING_OT_remove_thickness(ClothesOperator, Operator):
    bl_idname = "scale_clothing.remove_thickness"
    bl_label = "Remove Thickness"
    bl_description = "Remove the modifier that gives the cloth its thickness"

    def work(self, context: Context) -> None:
        obj = clothes.in_context(context)
        modifier = modifier_of(obj)
        if modifier is not None:
            obj.modifiers.remove(modifier)


CLASSES = (SCALE_CLOTHING_OT_add_thickness, SCALE_CLOTHING_OT_remove_thickness)
