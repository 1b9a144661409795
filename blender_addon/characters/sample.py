"""The sample character: the embedded body with an armature to pose, shape keys and skin."""

from __future__ import annotations

import bpy
import numpy as np
from bpy.types import ArmatureModifier, Context, EditBone, Object
from mathutils import Vector

from scale_backend.formats import joints

from ..appearance import materials
from ..blender import meshes
from ..blender.objects import armature_of, new_modifier
from ..paths import body_file
from ..present import present
from ..rig import axes, shape
from ..rig.body_data import BodyData, read_body
from ..settings import clothes_settings

# the joint a bone points at; where the body ends, a direction in SMPL's axes, metres
TAILS = {0: 3, 1: 4, 2: 5, 3: 6, 4: 7, 5: 8, 6: 9, 7: 10, 8: 11, 9: 12, 12: 15, 13: 16, 14: 17, 16: 18, 17: 19,
         18: 20, 19: 21, 20: 22, 21: 23}  # fmt: skip
ENDS = {10: (0.0, 0.0, 0.07), 11: (0.0, 0.0, 0.07), 15: (0.0, 0.18, 0.0), 22: (0.09, 0.0, 0.0), 23: (-0.09, 0.0, 0.0)}
ARMS = frozenset((13, 14, 16, 17, 18, 19, 20, 21, 22, 23))
FRONT, UP = Vector((0.0, -1.0, 0.0)), Vector((0.0, 0.0, 1.0))
SHAPE_LIMIT = 4.0


def add_character(context: Context) -> Object:
    """Add the sample character at the world's origin, standing on the floor. Returns its armature object."""
    body = read_body(body_file("neutral"))
    lift = np.array([0.0, -body.template[:, 1].min(), 0.0])  # soles on the floor
    rig = _add_armature(context, body.joints + lift)
    skin = _add_body(context, body, lift)
    skin.parent = rig
    new_modifier(skin, "Armature", ArmatureModifier).object = rig
    for other in context.selected_objects:
        other.select_set(False)
    rig.select_set(True)
    present(context.view_layer).objects.active = rig
    return rig


def _add_armature(context: Context, rest: np.ndarray) -> Object:  # [J, 3] SMPL's axes
    armature = bpy.data.armatures.new("SCALE Character")
    armature.display_type = "STICK"
    rig = bpy.data.objects.new("SCALE Character", armature)
    rig.show_in_front = True
    present(context.collection).objects.link(rig)
    present(context.view_layer).objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    bones: list[EditBone] = []
    for index, name in enumerate(joints.SMPL):
        bone = armature.edit_bones.new(name)
        _place(bone, rest, index)
        if index:
            bone.parent = bones[joints.SMPL_PARENTS[index]]
        bones.append(bone)
    bpy.ops.object.mode_set(mode="OBJECT")
    for posed in present(rig.pose).bones:
        posed.lock_location = (posed.parent is not None,) * 3
        posed.lock_scale = (True,) * 3
    return rig


def fit_bones(context: Context, rig: Object) -> None:
    """Move the bones of a sample character to the joints of the shape that its shape keys give it."""
    body = read_body(body_file("neutral"))
    lift = np.array([0.0, -body.template[:, 1].min(), 0.0])
    rest = body.rest_joints(shape.body_shape(rig).astype(np.float64)) + lift
    present(context.view_layer).objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for index, name in enumerate(joints.SMPL):
        _place(armature_of(rig).edit_bones[name], rest, index)
    bpy.ops.object.mode_set(mode="OBJECT")


def _place(bone: EditBone, rest: np.ndarray, index: int) -> None:  # [J, 3] SMPL's axes
    bone.head = axes.change(rest[index], axes.BLENDER).tolist()
    bone.tail = axes.change(_tail(rest, index), axes.BLENDER).tolist()
    bone.align_roll(UP if index in ARMS else FRONT)


def _tail(rest: np.ndarray, index: int) -> np.ndarray:  # [J, 3] -> [3]
    return rest[TAILS[index]] if index in TAILS else rest[index] + np.array(ENDS[index])


def _add_body(context: Context, body: BodyData, lift: np.ndarray) -> Object:
    points = axes.change(body.template + lift, axes.BLENDER)
    mesh = meshes.make_mesh("SCALE Body", points, body.triangles)
    if len(body.uv):
        meshes.set_uv(mesh, body.uv[body.uv_triangles.ravel()])
    mesh.materials.append(materials.skin())
    skin = bpy.data.objects.new("SCALE Body", mesh)
    clothes_settings(skin).is_sample_body = True
    present(context.collection).objects.link(skin)
    for index, name in enumerate(joints.SMPL):
        group = skin.vertex_groups.new(name=name)
        for vertex in np.flatnonzero(body.weights[:, index] > 0).tolist():
            group.add((vertex,), float(body.weights[vertex, index]), "REPLACE")
    skin.shape_key_add(name="Basis", from_mix=False)
    for index in range(body.shapes.shape[-1]):
        key = skin.shape_key_add(name=f"Shape{index:03d}", from_mix=False)
        moved = points + axes.change(body.shapes[..., index], axes.BLENDER)
        key.data.foreach_set("co", moved.ravel())
        key.value, key.slider_min, key.slider_max = 0.0, -SHAPE_LIMIT, SHAPE_LIMIT
    skin.active_shape_key_index = 0
    return skin
