"""The box in which a rig's bones are told by hand: what is guessed for each joint, corrections, and keeping them."""

from __future__ import annotations

import re
from typing import Any

from bpy.props import PointerProperty, StringProperty
from bpy.types import Armature, Context, Operator, Panel, PropertyGroup, UILayout

from scale_backend.formats import joints

from .. import messages, paths
from ..clothes import live, selection
from ..present import present
from ..rig import bone_tables, recognition
from ..settings import clothes_settings
from .drawing import Icon, SidebarPanel, draw_sentence
from .operator_kinds import Result, SentenceOperator

SIDES = ("left", "right")
BODY = (
    *("pelvis", "spine1", "spine2", "spine3", "neck", "head"),
    *(f"{side}_{joint}" for side in SIDES for joint in ("collar", "shoulder", "elbow", "wrist", "hand")),
    *(f"{side}_{joint}" for side in SIDES for joint in ("hip", "knee", "ankle", "foot")),
)
LABELS = 0.28  # of a field's width: bones have long names
NAME = "scale_clothing"  # of what Blender's armatures get
HANDS_AND_FACE = tuple(joint for joint in bone_tables.JOINTS if joint not in BODY)


def label(joint: str) -> str:
    """ "left_index1" as "Left Index 1"."""
    return re.sub(r"(\d)", r" \1", joint.replace("_", " ")).title()


def _corrected(self: BoneMapping, context: Context) -> None:
    _follow(_owner(self), context)


def _owner(mapping: BoneMapping) -> Armature:
    assert isinstance(mapping.id_data, Armature)
    return mapping.id_data


def _follow(armature: Armature, context: Context) -> None:
    """Let clothes follow the bones as they are told now."""
    for obj in selection.all_clothes():
        rig = clothes_settings(obj).rig
        if rig is not None and rig.data == armature:
            live.toggled(obj, context)


def _field(joint: str) -> Any:
    return StringProperty(
        name=label(joint),
        description="Bone that is this joint. Empty: the joint lies between its neighbours, or follows the one before",
        get=lambda self: recognition.guessed(_owner(self)).bones.get(joint, ""),
        set=lambda self, bone: recognition.say(_owner(self), joint, bone),
        update=_corrected,
    )


class BoneMapping(PropertyGroup):
    """A bone for each joint: the fields show what is guessed, and keep what is said instead."""

    __annotations__ = {joint: _field(joint) for joint in bone_tables.JOINTS}


def _armature(context: Context) -> Armature | None:
    target = selection.rig_in_context(context)
    return target.data if target is not None and isinstance(target.data, Armature) else None


def _mapping(armature: Armature) -> BoneMapping:
    return armature.scale_clothing  # type: ignore[attr-defined]  # registered below


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

    def invoke(self, context: Context, _event: object) -> Result:
        return present(context.window_manager).invoke_props_dialog(self, confirm_text="Save")

    def work(self, context: Context) -> str:
        guess = recognition.guessed(present(_armature(context)))
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
        if not recognition.said_of(present(_armature(context))):
            cls.poll_message_set("Nothing was corrected")
            return False
        return True

    def work(self, context: Context) -> None:
        armature = present(_armature(context))
        recognition.forget(armature)
        _follow(armature, context)


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
            icon: Icon = "GREASEPENCIL" if joint in said else "BONE_DATA"
            halves.prop_search(_mapping(armature), joint, armature, "bones", text="", icon=icon)


class SCALE_CLOTHING_PT_bones(BonesPanel, Panel):
    bl_label = "Bone Mapping"
    bl_parent_id = "SCALE_CLOTHING_PT_character"

    def draw(self, context: Context) -> None:
        layout, armature = self.split(), present(_armature(context))
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
        rig_joints = recognition.recognise(target)
        body = range(recognition.BODY_JOINTS)
        without = [joint for joint in body if rig_joints.bones[joint] is None]
        sources = [f"{label(joints.BODY[joint])} {rig_joints.source(joint)}" for joint in without]
        return f"Without a bone: {'; '.join(sources)}" if sources else ""


class SCALE_CLOTHING_PT_hand_bones(BonesPanel, Panel):
    bl_label = "Hands and Face"
    bl_parent_id = "SCALE_CLOTHING_PT_bones"

    def draw(self, context: Context) -> None:
        self.draw_fields(self.split(), present(_armature(context)), HANDS_AND_FACE)


CLASSES = (
    BoneMapping,
    SCALE_CLOTHING_OT_save_bones,
    SCALE_CLOTHING_OT_reset_bones,
    SCALE_CLOTHING_OT_open_rigs,
    SCALE_CLOTHING_PT_bones,
    SCALE_CLOTHING_PT_hand_bones,
)


def register() -> None:
    setattr(Armature, NAME, PointerProperty(type=BoneMapping))  # type: ignore[func-returns-value]  # it does


def unregister() -> None:
    delattr(Armature, NAME)
