"""Operators for how clothes look: thickness, and fabrics in the Asset Browser."""

from __future__ import annotations

from bpy.types import Context, Operator

from ..appearance import fabrics
from ..appearance.fabric_assets import LIBRARY, register_library, write
from ..blender.jobs import is_job_running
from ..clothes.thickness import add, remove
from .operator_kinds import ClothesOperator, SentenceOperator, waiting


class SCALE_CLOTHING_OT_add_fabric_assets(SentenceOperator, Operator):
    bl_idname = "scale_clothing.add_fabric_assets"
    bl_label = "Fabrics to Asset Browser"
    bl_description = "Add the fabrics to an asset library as materials that you can drag onto any object"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if is_job_running("RENDER"):
            cls.poll_message_set("Wait until the render has ended")
            return False
        return True

    def work(self, context: Context) -> str:
        with waiting(context):
            path = write()
        register_library(path.parent)
        return f"The Asset Browser has the library '{LIBRARY}' with {len(fabrics.FABRICS)} fabrics"


class SCALE_CLOTHING_OT_add_thickness(ClothesOperator, Operator):
    bl_idname = "scale_clothing.add_thickness"
    bl_label = "Add Thickness"
    bl_description = "Give the cloth a thickness and visible hems, by a Solidify modifier"

    def work(self, context: Context) -> None:
        add(self.clothes(context))


class SCALE_CLOTHING_OT_remove_thickness(ClothesOperator, Operator):
    bl_idname = "scale_clothing.remove_thickness"
    bl_label = "Remove Thickness"
    bl_description = "Remove the modifier that gives the cloth its thickness"

    def work(self, context: Context) -> None:
        remove(self.clothes(context))


CLASSES = (
    SCALE_CLOTHING_OT_add_fabric_assets,
    SCALE_CLOTHING_OT_add_thickness,
    SCALE_CLOTHING_OT_remove_thickness,
)
