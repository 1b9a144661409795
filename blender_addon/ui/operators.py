"""The add-on's operators: thin, over the functions of the other modules. Errors become one sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import bpy
from bpy.props import StringProperty
from bpy.types import Context, Menu, Object, Operator

from scale_backend.formats.wearer import Wearer

from .. import messages
from ..backend import process
from ..blender.objects import mesh_of
from ..characters import sample
from ..clothes import dressing, live, mesh, playback, selection
from ..clothes.request import Options, options_of
from ..garments import library, opened
from ..present import present
from ..rig import fitting, recognition, shape, wearer
from ..rig.rest import rest_of
from ..settings import clothes_settings, scene_settings
from .operator_kinds import Beside, ClothesOperator, Result, SentenceOperator, can_change_objects, waiting


class SCALE_CLOTHING_OT_add_character(SentenceOperator, Operator):
    bl_idname = "scale_clothing.add_character"
    bl_label = "Add Sample Character"
    bl_description = "Add a body with an armature, ready to be animated and dressed"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if context.mode != "OBJECT":
            cls.poll_message_set("Switch to Object Mode first")
            return False
        return True

    def work(self, context: Context) -> str:
        added = sample.add_character(context)
        scene_settings(context.scene).rig = added
        return f"Added '{added.name}'"


class SCALE_CLOTHING_OT_use_selected(Operator):
    bl_idname = "scale_clothing.use_selected"
    bl_label = "Use Selected"
    bl_description = "Use the selected character in this panel instead of the one chosen here"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if selection.other_selected(context) is None:
            cls.poll_message_set("Select another character, or something that it wears")
            return False
        return True

    def execute(self, context: Context) -> Result:
        scene_settings(context.scene).rig = selection.other_selected(context)
        return {"FINISHED"}


class SCALE_CLOTHING_OT_fit_bones(SentenceOperator, Operator):
    bl_idname = "scale_clothing.fit_bones"
    bl_label = "Fit Bones to Shape"
    bl_description = "Move the sample character's bones to the joints of the body that its shape keys give"

    @classmethod
    def poll(cls, context: Context) -> bool:
        target = selection.rig_in_context(context)
        if context.mode != "OBJECT" or target is None or not shape.is_sample(target):
            cls.poll_message_set("Choose a sample character, in Object Mode")
            return False
        return True

    def work(self, context: Context) -> None:
        sample.fit_bones(context, present(selection.rig_in_context(context)))
        live.update(present(context.scene), context.evaluated_depsgraph_get())


class SCALE_CLOTHING_OT_generate(Beside, SentenceOperator, Operator):
    bl_idname = "scale_clothing.generate"
    bl_label = "Generate Clothes"
    bl_description = "Put the chosen garment on the character, in its current pose. What it wears is replaced"

    garment: StringProperty(
        name="Garment",
        description="Name or file of a garment. Empty: the one chosen in the panel",
        options={"SKIP_SAVE", "HIDDEN"},
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        return can_change_objects(cls, context)

    def begin(self, context: Context) -> Callable[[], object]:
        """What is wrong with the rig is told before the backend is started and the garment opened."""
        target = selection.rig_in_context(context)
        recognition.recognise(target)
        target = present(target)  # else it would not be recognised
        self.target = target.name
        self.key = self.garment or scene_settings(context.scene).garment
        entry = library.entry(self.key)
        return self.opening(entry, self.wearer(target, entry))

    def wearer(self, target: Object, entry: library.Entry) -> Wearer | None:
        """The body that the garment will be laid onto. Raises AddonError."""
        wearer.look_again(target)
        worn = selection.clothes_of(target)
        options = options_of(worn[0]) if worn else Options()
        fitted = fitting.body_for(target, rest_of(target), entry.body(), options.fit_to_rig, options.fit_to_body)
        return fitted.wearer

    def opening(self, entry: library.Entry, body: Wearer | None) -> Callable[[], object]:
        self.awaited = f"Opening '{entry.title}'" if process.running() else "Starting the backend"
        if body is not None:
            self.awaited += " and laying it onto the character"
        return partial(_open_and_fit, entry, body, process.launch())

    def use(self, context: Context, _opened: object) -> str:
        chosen = scene_settings(context.scene)
        target = present(context.scene).objects.get(self.target)
        with waiting(context):
            obj = dressing.dress(context, target, self.key, chosen.surface, chosen.part)
        live.watch()
        shown = mesh_of(obj)
        size = f"{len(shown.vertices):,} {'vertices' if len(shown.polygons) else 'points'}"
        return f"'{self.target}' wears '{library.entry(self.key).title}', {size}"


def _open_and_fit(entry: library.Entry, body: Wearer | None, launch: process.Launch) -> None:
    opened.open_garment(entry, launch).worn_by(body)


class SCALE_CLOTHING_OT_update(ClothesOperator, Operator):
    bl_idname = "scale_clothing.update"
    bl_label = "Update Clothes"
    bl_description = "Compute the clothes for the character's current pose"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not super().poll(context):
            return False
        if playback.is_baked(present(selection.in_context(context))):
            cls.poll_message_set("These clothes play a bake; clear it first")
            return False
        return can_change_objects(cls, context)

    def work(self, context: Context) -> None:
        wearer.look_again(clothes_settings(self.clothes(context)).rig)
        with waiting(context):
            mesh.follow(self.clothes(context), context.evaluated_depsgraph_get())


class SCALE_CLOTHING_OT_remove(ClothesOperator, Operator):
    bl_idname = "scale_clothing.remove"
    bl_label = "Remove Clothes"
    bl_description = "Take the clothes off the character. Baked files stay on disk"

    @classmethod
    def poll(cls, context: Context) -> bool:
        return super().poll(context) and can_change_objects(cls, context)

    def work(self, context: Context) -> None:
        dressing.remove(self.clothes(context))
        live.watch()


class SCALE_CLOTHING_OT_clear_bake(ClothesOperator, Operator):
    bl_idname = "scale_clothing.clear_bake"
    bl_label = "Clear Bake"
    bl_description = "Let the clothes follow the pose again. The baked file stays on disk"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not super().poll(context):
            return False
        if not playback.is_baked(present(selection.in_context(context))):
            cls.poll_message_set("These clothes play no bake")
            return False
        return True

    def work(self, context: Context) -> None:
        obj = self.clothes(context)
        playback.clear_bake(obj)
        live.watch()
        if clothes_settings(obj).live:
            live.update(present(context.scene), context.evaluated_depsgraph_get())


class SCALE_CLOTHING_OT_dismiss_error(Operator):
    bl_idname = "scale_clothing.dismiss_error"
    bl_label = "Dismiss"
    bl_description = "Hide this message"
    bl_options = {"INTERNAL"}

    def execute(self, _context: Context) -> Result:
        messages.clear()
        return {"FINISHED"}


def add_menu(self: Menu, _context: Context) -> None:
    present(self.layout).operator(
        SCALE_CLOTHING_OT_add_character.bl_idname, text="SCALE Character", icon="OUTLINER_OB_ARMATURE"
    )


CLASSES = (
    SCALE_CLOTHING_OT_add_character,
    SCALE_CLOTHING_OT_use_selected,
    SCALE_CLOTHING_OT_fit_bones,
    SCALE_CLOTHING_OT_generate,
    SCALE_CLOTHING_OT_update,
    SCALE_CLOTHING_OT_remove,
    SCALE_CLOTHING_OT_clear_bake,
    SCALE_CLOTHING_OT_dismiss_error,
)


def register() -> None:
    bpy.types.VIEW3D_MT_add.append(add_menu)


def unregister() -> None:
    bpy.types.VIEW3D_MT_add.remove(add_menu)
