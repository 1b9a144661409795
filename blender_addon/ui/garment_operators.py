"""The library of garments: files added by a button or dropped into the window, and taken out again."""

from __future__ import annotations

from pathlib import Path

from bpy.props import CollectionProperty, StringProperty
from bpy.types import Context, Event, FileHandler, Operator, OperatorFileListElement

from .. import paths
from ..garments import library
from ..present import present
from ..settings import scene_settings
from .operator_kinds import FilePicker, Result, SentenceOperator


class SCALE_CLOTHING_OT_add_garment(SentenceOperator, FilePicker, Operator):
    bl_idname = "scale_clothing.add_garment"
    bl_label = "Add Garment Files"
    bl_description = "Copy garment files into your garment folder, so that they can be chosen"
    bl_options = {"REGISTER"}

    filename_ext = library.SUFFIX
    filter_glob: StringProperty(default=f"*{library.SUFFIX}", options={"HIDDEN"})
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: Context, event: Event) -> Result:
        if self.directory and self.files:  # dropped
            return self.execute(context)
        return self.pick(context, event)

    def work(self, context: Context) -> str:
        chosen = [Path(self.directory, each.name) for each in self.files if each.name]
        added = [library.add_to_library(path) for path in chosen or [Path(self.filepath)]]
        scene_settings(context.scene).garment = added[-1].key
        names = " and ".join(f"'{each.title}'" for each in added)
        return " ".join((f"Added {names}", *filter(None, map(library.body_problem, added))))


class SCALE_CLOTHING_OT_remove_garment(SentenceOperator, Operator):
    bl_idname = "scale_clothing.remove_garment"
    bl_label = "Remove from Library"
    bl_description = "Delete the chosen garment's file from your garment folder. Clothes that use it no longer follow"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not library.is_own(library.entry(scene_settings(context.scene).garment)):
            cls.poll_message_set("Garments that ship with the add-on stay; choose one of your own")
            return False
        return True

    def invoke(self, context: Context, event: Event) -> Result:
        return present(context.window_manager).invoke_confirm(self, event)

    def work(self, context: Context) -> str:
        chosen = scene_settings(context.scene)
        entry = library.entry(chosen.garment)
        library.remove_from_library(entry)
        left = library.library()
        if left:
            chosen.garment = left[0].key
        return f"Removed '{entry.title}'"


class SCALE_CLOTHING_OT_open_garments(SentenceOperator, Operator):
    bl_idname = "scale_clothing.open_garments"
    bl_label = "Open Garment Folder"
    bl_description = "Show the folder of the chosen garment's file in your system's file browser"
    bl_options = {"INTERNAL"}

    def work(self, context: Context) -> None:
        paths.open_outside(library.entry(scene_settings(context.scene).garment).path.parent)


class SCALE_CLOTHING_FH_garment(FileHandler):
    bl_idname = "SCALE_CLOTHING_FH_garment"
    bl_label = "SCALE Garment"
    bl_import_operator = SCALE_CLOTHING_OT_add_garment.bl_idname
    bl_file_extensions = library.SUFFIX

    @classmethod
    def poll_drop(cls, context: Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


CLASSES = (
    SCALE_CLOTHING_OT_add_garment,
    SCALE_CLOTHING_OT_remove_garment,
    SCALE_CLOTHING_OT_open_garments,
    SCALE_CLOTHING_FH_garment,
)
