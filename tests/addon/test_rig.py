"""Rigs are recognised by their bones, and poses are read exactly, whatever the rig is like."""

from __future__ import annotations

import math

import bpy
import numpy as np
import pytest
from mathutils import Matrix

from blender_addon.blender import meshes
from blender_addon.clothes import dressing, mesh, proportions
from blender_addon.garments import library
from blender_addon.paths import body_file
from blender_addon.rig import recognition, shape
from blender_addon.rig.body_data import read_body
from blender_addon.rig.pose import Pose, pose_at_rest, read_pose
from blender_addon.rig.rest import rest_of
from scale_backend.formats import joints
from tests.addon.rigs import A_POSE, RIGS, body_joints, build_rig, mix_rotation_modes, put_pose, random_pose, turns_of


def read(armature: bpy.types.Object) -> Pose:
    return read_pose(armature, bpy.context.evaluated_depsgraph_get(), rest_of(armature))


@pytest.mark.parametrize("kind", RIGS)
def test_a_random_pose_is_read_back(scene, kind):
    options = RIGS[kind]
    armature = build_rig(**options)
    mix_rotation_modes(armature)
    armature.scale = (0.01, 0.01, 0.01) if options.get("unit") == 100.0 else (1.7, 1.7, 1.7)
    armature.rotation_euler, armature.location = (math.pi / 2, 0.3, 0.2), (3, -2, 1)
    names = tuple(options.get("prefix", "") + name for name in options["names"])
    rotations, moved = random_pose(len(names), seed=8), np.array([0.3, -0.2, 0.5])
    axes = {key: options[key] for key in ("to_armature", "unit") if key in options}
    put_pose(armature, names, rotations, moved, turns=turns_of(kind), **axes)

    pose = read(armature)

    # with fingers, in float32, it is Blender's own rounding when the pose is put on that adds up
    np.testing.assert_allclose(pose.rotations, rotations, atol=1e-5 if len(names) == 24 else 3e-5)
    rest = body_joints(len(names))[0] + np.array(options.get("offset", (0, 0, 0)))
    np.testing.assert_allclose(pose.translation(rest), moved, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in RIGS if "A-pose" not in kind])
def test_rest_is_the_identity(scene, kind):
    pose = read(build_rig(**RIGS[kind]))
    np.testing.assert_allclose(pose.rotations, np.broadcast_to(np.eye(3), pose.rotations.shape), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "family"), [("SMPL", "SMPL"), ("prefixed", "SMPL"), ("SMPL-H", "SMPL-H"), ("SMPL-X", "SMPL-X")]
)
def test_the_family_is_known_by_the_bones(scene, kind, family):
    assert recognition.recognise(build_rig(**RIGS[kind])).family == family


@pytest.mark.parametrize("kind", ["A-pose", "A-pose in centimetres"])
def test_the_arms_of_an_a_pose_hang_at_rest(scene, kind):
    armature = build_rig(**RIGS[kind])
    rotations = read(armature).rotations
    turns = turns_of(kind)
    for joint in range(24):  # shoulders and hips are turned, all else goes along
        expected = turns[joint] if joint in A_POSE else np.eye(3)
        np.testing.assert_allclose(rotations[joint], expected, atol=1e-5)
    assert np.degrees(np.arccos((np.trace(rotations[16]) - 1) / 2)) == pytest.approx(40, abs=0.01)
    np.testing.assert_allclose(pose_at_rest(rest_of(armature)).rotations, rotations, atol=1e-5)


@pytest.mark.parametrize("kind", ["SMPL add-on", "SUPR"])
def test_limbs_of_other_proportions_are_no_a_pose(scene, kind):
    armature = build_rig(**RIGS[kind])
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    found = recognition.recognise(armature)
    for bone in (armature.data.edit_bones[found.bones[joint]] for joint in (16, 17, 18, 19)):
        bone.head.z -= 0.04
    bpy.ops.object.mode_set(mode="OBJECT")
    np.testing.assert_array_equal(rest_of(armature).turns, np.broadcast_to(np.eye(3), (len(found.bones), 3, 3)))


def test_constraints_count(scene):
    armature = build_rig(seed=3)
    target = bpy.data.objects.new("Target", None)
    scene.collection.objects.link(target)
    target.rotation_euler = (0.4, -0.9, 0.2)
    constraint = armature.pose.bones["left_elbow"].constraints.new("COPY_ROTATION")
    constraint.target = target
    bpy.context.view_layer.update()
    turned = np.array(target.matrix_world)[:3, :3] @ np.array(armature.data.bones["left_elbow"].matrix_local)[:3, :3].T
    expected = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    np.testing.assert_allclose(read(armature).rotations[18], expected.T @ turned @ expected, atol=1e-5)


def test_a_scaled_bone_gives_a_rotation(scene):
    armature = build_rig()
    armature.pose.bones["left_hip"].scale = (1.0, 2.0, 0.5)
    bpy.context.view_layer.update()
    rotations = read(armature).rotations
    np.testing.assert_allclose(rotations @ np.swapaxes(rotations, -1, -2), np.broadcast_to(np.eye(3), (24, 3, 3)),
                               atol=1e-5)  # fmt: skip


def test_missing_hands_stay_still(scene):
    armature = build_rig(names=joints.SMPL)
    bpy.context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    for name in ("left_hand", "right_hand"):
        armature.data.edit_bones.remove(armature.data.edit_bones[name])
    bpy.ops.object.mode_set(mode="OBJECT")
    rotations = random_pose(24, seed=2)
    rotations[22:] = np.eye(3)
    put_pose(armature, (*joints.SMPL[:22], "left_wrist", "right_wrist"), rotations, np.zeros(3))
    np.testing.assert_allclose(read(armature).rotations, rotations, atol=1e-5)


def test_missing_bones_are_named(scene):
    armature = build_rig()
    armature.data.bones["left_knee"].name = "knee"
    with pytest.raises(recognition.RigError, match=r"looks like SMPL, but has no left_knee: choose"):
        recognition.recognise(armature)


def test_another_rig_is_refused(scene):
    armature = bpy.data.objects.new("Metarig", bpy.data.armatures.new("Metarig"))
    with pytest.raises(recognition.RigError, match=r"'Metarig' is no humanoid rig that is known: choose its bones"):
        recognition.recognise(armature)
    with pytest.raises(recognition.RigError, match="No armature is chosen"):
        recognition.recognise(None)


def test_the_rig_of_what_is_selected(character):
    body = bpy.data.objects["SCALE Body"]
    assert shape.rig_of(body) == shape.rig_of(character) == character
    assert shape.rig_of(None) is None


def test_shape_keys_are_the_bodys_shape(character):
    blocks = bpy.data.objects["SCALE Body"].data.shape_keys.key_blocks
    blocks["Shape000"].value, blocks["Shape003"].value = 1.5, -2.0
    np.testing.assert_allclose(shape.body_shape(character), [1.5, 0, 0, -2, 0, 0, 0, 0, 0, 0])


def test_shape_keys_of_another_model_are_left_out(character):
    """The same numbers would be another shape. A body in other axes and units is the same body."""
    body = read_body(body_file("neutral"))
    skin = bpy.data.objects["SCALE Body"]
    skin.scale_clothing.is_sample_body = False
    blocks = skin.data.shape_keys.key_blocks
    blocks["Shape000"].value = 1.5
    skin.data.transform(Matrix.Rotation(0.7, 4, (1, 2, 3)) @ Matrix.Scale(100, 4), shape_keys=True)
    assert shape.body_shape(character, body)[0] == 1.5
    first, second = (blocks[name] for name in ("Shape000", "Shape001"))
    second.data.foreach_set("co", meshes.key_positions(first).ravel())
    for vertex in range(0, len(first.data), 3):
        first.data[vertex].co.x += 10.0
    assert shape.body_shape(character)[0] == 1.5
    assert not shape.body_shape(character, body).any()


def test_nobody_is_dressed_for_a_shape_that_means_something_else(character, scene, garment_files):
    skin = bpy.data.objects["SCALE Body"]
    skin.scale_clothing.is_sample_body = False
    plain = dressing.dress(bpy.context, character, garment_files["skirt"], "MESH", "CLOTHES")
    before = meshes.get_positions(plain.data)
    blocks = skin.data.shape_keys.key_blocks
    blocks["Shape000"].data.foreach_set("co", meshes.key_positions(blocks["Shape003"]).ravel())
    blocks["Shape000"].value = 2.0
    mesh.follow(plain, bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(meshes.get_positions(plain.data), before, atol=1e-5)
    entry = library.entry(garment_files["skirt"])
    assert "not those of the body that the garment was trained on" in proportions.warning(character, entry)
