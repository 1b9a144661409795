"""The box in which a rig's bones are told by hand: what is guessed for each joint, corrections, and keeping them."""

from __future__ import annotations

import re

import bpy
from bpy.props import PointerProperty, StringProperty
from bpy.types import Armature, Context, Operator, Panel, PropertyGroup, UILayout

from scale_backend.formats import joints

from .. import messages, paths
from ..clothes import live, selection
from ..rig import bone_tables, recognition
from .drawing import SidebarPanel, draw_sentence
from .operator_kinds import SentenceOperator

SIDES = ("left", "right")
BODY = (
    *("pelvis", "spine1", "spine2", "spine3", "neck", "head"),
    *(f"{side}_{joint}" for side in SIDES for joint in ("collar", "shoulder", "elbow", "wrist", "hand")),
    *(f"{side}_{joint}" for side in SIDES for joint in ("hip", "knee", "ankle", "foot")),
)
LABELS = 0.28  # of a field's width: bones have long names
HANDS_AND_FACE = tuple(joint for joint in bone_tables.JOINTS if joint not in BODY)


def label(joint: str) -> str:
    """ "left_index1" as "Left Index 1"."""
    return re.sub(r"(\d)", r" \1", joint.replace("_", " ")).title()


def _corrected(self: BoneMapping, context: Context) -> None:
    _follow(self.id_data, context)


def _follow(armature: Armature, context: Context) -> None:
    """Let clothes follow the bones as they are told now."""
    for obj in selection.all_clothes():
        if obj.scale_clothing.rig is not None and obj.scale_clothing.rig.data == armature:
            live.toggled(obj, context)


def _field(joint: str) -> StringProperty:
    return StringProperty(
        name=label(joint),
        description="Bone that is this joint. Empty: the joint lies between its neighbours, or follows the one before",
        get=lambda self: recognition.guessed(self.id_data).bones.get(joint, ""),
        set=lambda self, bone: recognition.say(self.id_data, joint, bone),
        update=_corrected,
    )


class BoneMapping(PropertyGroup):
    """A bone for each joint: the fields show what is guessed, and keep what is said instead."""

    __annotations__ = {joint: _field(joint) for joint in bone_tables.JOINTS}


def _armature(context: Context) -> Armature | None:
    target = selection.rig_in_context(context)
    return None if target is None else target.data


class RigOperator(SentenceOperator):
    """Works on the bones of the chosen character."""

    @classmethod
    def poll(cls, context: Context) -> bool:
        armature = _armature(context)
        if armature is None:
            cls.poll_message_set("Select a character's armature first")
            return False
        return True


class SCALE_CLOTHING_OT_save_bones(RigOperator, Operator):
    bl_idname = "scale_clothing.save_bones"
    bl_label = "Save as Family"
    bl_description = "Keep these bones as a family of rigs: other characters with bones of these names are then known"
    bl_options = {"REGISTER"}

    name: StringProperty(name="Name", description="What the family is called", default="My Rig")

    def invoke(self, context: Context, _event: object) -> set[str]:
        return context.window_manager.invoke_props_dialog(self, confirm_text="Save")

    def work(self, context: Context) -> str:
        guess = recognition.guessed(_armature(context))
        if guess.missing:
            raise messages.AddonError(f"There is no bone yet for {', '.join(guess.missing)}; choose some first.")
        file = re.sub(r"\W+", "_", self.name.strip().lower()).strip("_")
        if not file:
            raise messages.AddonError("A family of rigs needs a name with letters in it; give it another.")
        path = bone_tables.own_folder() / f"{file}.toml"
        try:
            bone_tables.write_table(path, self.name.strip(), guess.bones, guess.is_smpl)
        except OSError as error:
            raise messages.AddonError(f"{path} could not be written: {error.strerror}.") from error
        return f"Saved '{self.name.strip()}' as {path.name}"


class SCALE_CLOTHING_OT_reset_bones(RigOperator, Operator):
    bl_idname = "scale_clothing.reset_bones"
    bl_label = "Use the Guess"
    bl_description = "Forget what was corrected, and go back to what is guessed by the bones' names"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not super().poll(context):
            return False
        if not recognition.said_of(_armature(context)):
            cls.poll_message_set("Nothing was corrected")
            return False
        return True

    def work(self, context: Context) -> None:
        recognition.forget(_armature(context))
        _follow(_armature(context), context)


class SCALE_CLOTHING_OT_open_rigs(SentenceOperator, Operator):
    bl_idname = "scale_clothing.open_rigs"
    bl_label = "Open Folder of Families"
    bl_description = "Show the folder in which your own families of rigs are kept"
    bl_options = {"INTERNAL"}

    def work(self, _context: Context) -> None:
        paths.open_outside(bone_tables.own_folder())


class BonesPanel(SidebarPanel):
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        return _armature(context) is not None

    def draw_fields(self, layout: UILayout, armature: Armature, fields: tuple[str, ...]) -> None:
        guess, said = recognition.guessed(armature), dict(recognition.said_of(armature))
        column = layout.column(align=True)
        column.use_property_split = False
        for joint in fields:
            halves = column.split(factor=LABELS, align=True)
            halves.alert = bool(guess.missing) and joint in recognition.NEEDED and joint not in guess.bones
            row = halves.row()
            row.alignment = "RIGHT"
            row.label(text=label(joint).replace("Left ", "L ").replace("Right ", "R "))  # in a narrow panel
            icon = "GREASEPENCIL" if joint in said else "BONE_DATA"
            halves.prop_search(armature.scale_clothing, joint, armature, "bones", text="", icon=icon)


class SCALE_CLOTHING_PT_bones(BonesPanel, Panel):
    bl_label = "Bone Mapping"
    bl_parent_id = "SCALE_CLOTHING_PT_character"

    def draw(self, context: Context) -> None:
        layout, armature = self.split(), _armature(context)
        row = layout.row(align=True)
        row.label(text=recognition.guessed(armature).family, icon="ARMATURE_DATA")
        row.operator("scale_clothing.reset_bones", text="", icon="LOOP_BACK")
        row.operator("scale_clothing.save_bones", text="", icon="FILE_TICK")
        row.operator("scale_clothing.open_rigs", text="", icon="FILE_FOLDER")
        for problem in bone_tables.families().problems:
            draw_sentence(layout, context, problem, "ERROR")
        self.draw_fields(layout, armature, BODY)
        without = self.without(context)
        if without:
            draw_sentence(layout, context, without, "INFO")

    def without(self, context: Context) -> str:
        """Where joints of the body without a bone take their rotation from."""
        target = selection.rig_in_context(context)
        if not recognition.is_rig(target):
            return ""
        found = recognition.recognise(target)
        body = range(recognition.BODY_JOINTS)
        told = [f"{label(joints.BODY[joint])} {found.source(joint)}" for joint in body if found.bones[joint] is None]
        return f"Without a bone: {'; '.join(told)}" if told else ""


class SCALE_CLOTHING_PT_hand_bones(BonesPanel, Panel):
    bl_label = "Hands and Face"
    bl_parent_id = "SCALE_CLOTHING_PT_bones"

    def draw(self, context: Context) -> None:
        self.draw_fields(self.split(), _armature(context), HANDS_AND_FACE)


CLASSES = (
    BoneMapping,
    SCALE_CLOTHING_OT_save_bones,
    SCALE_CLOTHING_OT_reset_bones,
    SCALE_CLOTHING_OT_open_rigs,
    SCALE_CLOTHING_PT_bones,
    SCALE_CLOTHING_PT_hand_bones,
)


def register() -> None:
    bpy.types.Armature.scale_clothing = PointerProperty(type=BoneMapping)


def unregister() -> None:
    del bpy.types.Armature.scale_clothing
