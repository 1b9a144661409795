"""Motion files come in by menu, by drag and drop and by script, on the character chosen or on a new one."""

from __future__ import annotations

import bpy
import numpy as np
import pytest

from blender_addon import messages
from blender_addon.characters import motion
from blender_addon.rig import recognition, shape
from blender_addon.rig.pose import Pose, read_pose
from blender_addon.ui import motion_operators
from scale_backend.formats import joints
from scale_backend.formats.motion import matrices_from_axis_angle
from tests.addon.rigs import RIGS, build_rig

FRAMES = 5


def write_motion(path, joint_count: int = 24, **keys) -> np.ndarray:  # [F, J, 3]
    """A motion in a world with Y up; returns its rotations."""
    rotations = np.random.default_rng(2).normal(0, 0.3, (FRAMES, joint_count, 3)).astype(np.float32)
    given = {"trans": np.zeros((FRAMES, 3)), "mocap_frame_rate": 24.0, "up_axis": "Y"} | keys
    np.savez(path, poses=rotations.reshape(FRAMES, -1), **given)
    return rotations


def read(armature: bpy.types.Object) -> Pose:
    return read_pose(armature, bpy.context.evaluated_depsgraph_get())


@pytest.mark.parametrize("of_file", [24, 52, 55])
@pytest.mark.parametrize("kind", ["SMPL", "SMPL-H", "SMPL-X"])
def test_joints_of_one_name_move_alike(scene, tmp_path, kind, of_file):
    """Fingers and face too, where file and rig both have them."""
    armature = build_rig(**RIGS[kind])
    scene.scale_clothing.rig = armature
    rotations = write_motion(tmp_path / "some.npz", of_file)
    bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "some.npz"))
    scene.frame_set(4)
    found, pose = recognition.recognise(armature), read(armature)
    names, file_names = joints.JOINT_NAMES[len(found.bones)], joints.JOINT_NAMES[of_file]
    whole = matrices_from_axis_angle(rotations[3])
    expected = [whole[file_names.index(name)] if name in file_names else np.eye(3) for name in names]
    np.testing.assert_allclose(pose.rotations, expected, atol=1e-4)


def test_a_file_without_a_character_brings_one(scene, tmp_path):
    rotations = write_motion(tmp_path / "some.npz")
    bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "some.npz"), start=11)
    assert (scene.frame_start, scene.frame_end, scene.frame_current) == (11, 15, 11)
    first = scene.scale_clothing.rig
    np.testing.assert_allclose(read(first).rotations, matrices_from_axis_angle(rotations[0]), atol=1e-4)
    bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "some.npz"))
    assert scene.scale_clothing.rig == first
    bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "some.npz"), target="NEW")
    second = scene.scale_clothing.rig
    assert second != first and second.animation_data.action != first.animation_data.action


def test_a_bad_file_brings_no_character(scene, tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(RuntimeError, match=r"bad\.npz is no \.npz file"):
        bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "bad.npz"))
    assert not scene.objects and "bad.npz" in messages.last_error()


def test_files_can_be_dropped(scene):
    handler = motion_operators.SCALE_CLOTHING_FH_motion
    assert handler.bl_import_operator == motion_operators.SCALE_CLOTHING_OT_import_motion.bl_idname
    assert handler.is_registered and handler.bl_file_extensions == ".npz"


def test_what_another_motion_left_above_the_pelvis_is_not_added(scene, tmp_path):
    armature = build_rig(**RIGS["SMPL-X"])
    armature.pose.bones["root"].location = (1, 2, 3)
    write_motion(tmp_path / "some.npz", 55)
    settings = motion.MotionSettings(on_floor=False)
    motion.apply_motion_file(scene, armature, tmp_path / "some.npz", settings)
    scene.frame_set(1)
    body = motion.read_body(motion.body_file("neutral"))
    np.testing.assert_allclose(read(armature).translation(body.joints[0]), 0, atol=1e-5)


def test_a_pelvis_that_cannot_travel_is_told(scene, tmp_path):
    armature = build_rig(**RIGS["SMPL-X"])
    bpy.ops.object.mode_set(mode="EDIT")
    bones = armature.data.edit_bones
    bones["root"].tail = bones["pelvis"].head
    bones["pelvis"].use_connect = True
    bpy.ops.object.mode_set(mode="OBJECT")
    write_motion(tmp_path / "some.npz", 55)
    with pytest.raises(messages.AddonError, match=r"'pelvis' of .* is connected"):
        motion.apply_motion_file(scene, armature, tmp_path / "some.npz", motion.MotionSettings())
    assert armature.animation_data is None


def add_mesh(armature: bpy.types.Object, vertices: int) -> bpy.types.Object:
    """A mesh on a rig with as many vertices as a model's body has, and its shape keys."""
    mesh = bpy.data.meshes.new("Body")
    mesh.vertices.add(vertices)
    obj = bpy.data.objects.new("Body", mesh)
    bpy.context.collection.objects.link(obj)
    obj.modifiers.new("Armature", "ARMATURE").object = armature
    for name in ("Basis", *(f"Shape{index:03d}" for index in range(10))):
        obj.shape_key_add(name=name)
    return obj


@pytest.mark.parametrize(
    ("vertices", "gender", "keys", "told"),
    [
        (10475, "female", {"surface_model_type": "smplx_locked_head", "gender": "female"}, ""),
        (10475, "male", {"gender": "female"}, "for a female body and this one is male"),
        (6890, "female", {"gender": "female"}, "the file is for smplx"),
        (500, "female", {"gender": "female"}, "this body is not SMPL's"),
    ],
)
def test_a_shape_is_given_to_bodies_that_it_means_something_for(scene, tmp_path, vertices, gender, keys, told):
    armature = build_rig(**RIGS["SMPL-X"])
    body = add_mesh(armature, vertices)
    body["gender"] = gender
    betas = np.linspace(-3.0, 6.0, 16)
    write_motion(tmp_path / "some.npz", 55, betas=betas, **keys)
    _, note = motion.apply_motion_file(scene, armature, tmp_path / "some.npz", motion.MotionSettings())
    assert note == "" and not shape.body_shape(armature).any()  # unless it is asked for
    settings = motion.MotionSettings(use_shape=True)
    _, note = motion.apply_motion_file(scene, armature, tmp_path / "some.npz", settings)
    assert told in note and bool(note) == bool(told)
    np.testing.assert_allclose(shape.body_shape(armature), np.zeros(10) if told else betas[:10], atol=1e-5)


def test_the_sample_characters_shape_is_its_own(character, scene, tmp_path):
    write_motion(tmp_path / "some.npz", betas=np.ones(10))
    settings = motion.MotionSettings(use_shape=True)
    _, note = motion.apply_motion_file(scene, character, tmp_path / "some.npz", settings)
    assert "this body is not SMPL's" in note and not shape.body_shape(character).any()


def test_a_file_without_a_frame_rate_says_so(character, scene, tmp_path):
    np.savez(tmp_path / "some.npz", poses=np.zeros((31, 72)))
    scene.render.fps = 60
    last, note = motion.apply_motion_file(scene, character, tmp_path / "some.npz", motion.MotionSettings())
    assert last == 61 and "30 was assumed" in note
    settings = motion.MotionSettings(frame_rate=120.0)
    assert motion.apply_motion_file(scene, character, tmp_path / "some.npz", settings) == (16, "")
