"""Operators that put motions on characters: those that ship, and files chosen or dropped into the window."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, FloatProperty, IntProperty, StringProperty
from bpy.types import Context, Event, FileHandler, Menu, Object, Operator, OperatorFileListElement

from scale_backend.formats.errors import UserError
from scale_backend.formats.motion import Motion
from scale_backend.formats.values_file import SUFFIXES

from .. import messages
from ..characters import motion, sample
from ..clothes import selection
from ..present import present
from ..settings import scene_settings
from .operator_kinds import FilePicker, Result, SentenceOperator, can_change_objects


class MotionOptions:
    """What applying a motion asks for, however it was chosen."""

    start: IntProperty(name="Start Frame", description="Frame of the motion's first pose", default=1)
    on_floor: BoolProperty(
        name="Stand on Floor",
        description="Move the motion up or down so that the soles are on the floor of the scene",
        default=True,
    )
    set_range: BoolProperty(name="Set Scene Range", description="Make the scene as long as the motion", default=True)

    def key(self, context: Context, target: Object, moved: Motion, settings: motion.MotionSettings) -> str:
        last, note = motion.key_motion(present(context.scene), target, moved, settings)
        present(context.scene).frame_set(self.start)
        return f"'{target.name}' moves from frame {self.start} to {last}{note}"


class SCALE_CLOTHING_OT_apply_motion(MotionOptions, SentenceOperator, Operator):
    bl_idname = "scale_clothing.apply_motion"
    bl_label = "Apply Motion"
    bl_description = "Key the chosen motion on the character, at the scene's frame rate"

    motion: StringProperty(
        name="Motion", description="Name of a motion that ships. Empty: the one chosen in the panel", options={"HIDDEN"}
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        if selection.rig_in_context(context) is None:
            cls.poll_message_set("Select a character's armature, or add the sample character")
            return False
        return True

    def work(self, context: Context) -> str:
        name = self.motion or scene_settings(context.scene).motion
        path = next((path for path in motion.shipped_motions() if path.stem == name), None)
        if path is None:
            raise messages.AddonError(f"No motion is called '{name}'; choose one from the menu.")
        settings = motion.MotionSettings(self.start, self.on_floor, self.set_range, up_axis="Z")
        target = present(selection.rig_in_context(context))  # else it is greyed out
        return self.key(context, target, motion.read_motion_file(path, settings), settings)


class SCALE_CLOTHING_OT_import_motion(MotionOptions, SentenceOperator, FilePicker, Operator):
    bl_idname = "scale_clothing.import_motion"
    bl_label = "Import Motion"
    bl_description = (
        "Key a motion of SMPL's family on a character: AMASS, AIST++, CAPE, or what a program saw in a video. "
        "A folder, or several files, of one pose each make a motion too"
    )

    filename_ext = ""
    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in SUFFIXES), options={"HIDDEN"})
    filepath: StringProperty(
        name="File Path", description="The motion file", subtype="FILE_PATH", options={"HIDDEN", "SKIP_SAVE"}
    )
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    target: EnumProperty(
        name="Character",
        description="Who moves",
        items=(
            ("CHOSEN", "Selected", "The chosen or selected character; a new sample character where there is none"),
            ("NEW", "New Sample", "A new sample character"),
        ),
        default="CHOSEN",
        options={"SKIP_SAVE"},
    )
    up_axis: EnumProperty(
        name="Up Axis",
        description="Which way is up in the file",
        items=(
            ("AUTO", "Automatic", "As the file says, else as usual for its kind of file, else as the body stands"),
            ("Y", "Y", "As in SMPL, and in many research data sets"),
            ("Z", "Z", "As in AMASS and in Blender"),
            ("-Y", "-Y", "As a camera sees it: Y points down"),
            ("-Z", "-Z", "Z points down"),
        ),
        default="AUTO",
    )
    frame_rate: FloatProperty(
        name="Frame Rate",
        description="Poses a second in the file. 0: as the file says, or 30 if it does not say",
        default=0.0,
        min=0.0,
        soft_max=240.0,
        max=10000.0,
    )
    person: StringProperty(
        name="Person",
        description="Who, in a file with several people. Empty: the one with most poses; the message names all",
        search=lambda self, _context, _text: self.people(),
        options={"SKIP_SAVE"},
    )
    scale: FloatProperty(
        name="Travel Scale",
        description="By which places in the file are multiplied to be metres: 0.01 for a file in centimetres",
        default=1.0,
        min=1e-6,
        soft_min=0.001,
        soft_max=10.0,
    )
    use_shape: BoolProperty(
        name="Body Shape",
        description="Set the body's shape keys to the shape that the motion was recorded with, where both are of the "
        "same body model. Bones do not move along: use your rig's own add-on for that",
        default=False,
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        return can_change_objects(cls, context)

    def invoke(self, context: Context, event: Event) -> Result:
        if selection.rig_in_context(context) is None:
            self.target = "NEW"
        if self.filepath or self.files:  # dropped
            source = self.source()
            title = f"{len(source)} files" if isinstance(source, list) else source.name
            return present(context.window_manager).invoke_props_dialog(self, title=title, confirm_text="Import Motion")
        return self.pick(context, event)

    def draw(self, _context: Context) -> None:
        layout = present(self.layout)
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(self, "target")
        layout.prop(self, "start")
        layout.prop(self, "up_axis")
        layout.prop(self, "frame_rate")
        layout.prop(self, "scale")
        layout.prop(self, "person")
        column = layout.column(heading="Adjust")
        column.prop(self, "set_range", text="Scene Range")
        column.prop(self, "on_floor")
        column.prop(self, "use_shape")

    def settings(self) -> motion.MotionSettings:
        return motion.MotionSettings(
            self.start, self.on_floor, self.set_range, None if self.up_axis == "AUTO" else self.up_axis,
            self.frame_rate or None, self.person, self.scale, self.use_shape,
        )  # fmt: skip

    def source(self) -> Path | list[Path]:
        """The file, or the folder or the files of a pose each."""
        folder = Path(bpy.path.abspath(self.directory))
        files = [folder / file.name for file in self.files if file.name]
        if len(files) > 1:
            return files
        return Path(bpy.path.abspath(self.filepath)) if self.filepath else (files or [folder])[0]

    def people(self) -> tuple[str, ...]:
        try:
            return motion.read_motion_file(self.source(), motion.MotionSettings()).people
        except UserError:
            return ()

    def work(self, context: Context) -> str:
        settings = self.settings()
        moved = motion.read_motion_file(self.source(), settings)  # no character for a file that cannot be read
        target = selection.rig_in_context(context)
        if self.target == "NEW" or target is None:
            if context.mode != "OBJECT":
                raise messages.AddonError("A new character can be added in Object Mode; switch to it first.")
            target = sample.add_character(context)
            scene_settings(context.scene).rig = target
        return self.key(context, target, moved, settings)


class SCALE_CLOTHING_FH_motion(FileHandler):
    bl_idname = "SCALE_CLOTHING_FH_motion"
    bl_label = "SMPL Motion"
    bl_import_operator = SCALE_CLOTHING_OT_import_motion.bl_idname
    bl_file_extensions = ";".join(SUFFIXES)

    @classmethod
    def poll_drop(cls, context: Context) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"


def import_menu(self: Menu, _context: Context) -> None:
    present(self.layout).operator(SCALE_CLOTHING_OT_import_motion.bl_idname, text="SMPL Motion (.npz, .npy, .pkl, .pt)")


CLASSES = (
    SCALE_CLOTHING_OT_apply_motion,
    SCALE_CLOTHING_OT_import_motion,
    SCALE_CLOTHING_FH_motion,
)


def register() -> None:
    bpy.types.TOPBAR_MT_file_import.append(import_menu)


def unregister() -> None:
    bpy.types.TOPBAR_MT_file_import.remove(import_menu)
