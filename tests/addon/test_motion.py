"""Motion files come in by menu, by drag and drop and by script, on the character chosen or on a new one."""

from __future__ import annotations

import pickle

import bpy
import numpy as np
import pytest

from blender_addon import messages
from blender_addon.characters import motion
from blender_addon.rig import recognition, shape
from blender_addon.rig.pose import Pose, read_pose
from blender_addon.rig.rest import rest_of
from blender_addon.ui import motion_operators
from scale_backend.formats import joints
from scale_backend.formats.motion import matrices_from_axis_angle
from tests.addon.rigs import RIGS, build_rig

FRAMES = 5
STANDING = {"Y": 0.0, "Z": np.pi / 2, "-Y": np.pi, "-Z": -np.pi / 2}  # a root's rotation about X that lets it stand


def write_motion(path, joint_count: int = 24, **keys) -> np.ndarray:  # [F, J, 3]
    """A motion in a world with Y up; returns its rotations."""
    rotations = np.random.default_rng(2).normal(0, 0.3, (FRAMES, joint_count, 3)).astype(np.float32)
    given = {"trans": np.zeros((FRAMES, 3)), "mocap_frame_rate": 24.0, "up_axis": "Y"} | keys
    np.savez(path, poses=rotations.reshape(FRAMES, -1), **given)
    return rotations


def read(armature: bpy.types.Object) -> Pose:
    return read_pose(armature, bpy.context.evaluated_depsgraph_get(), rest_of(armature))


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
    with pytest.raises(RuntimeError, match=r"bad\.npz could not be read: it is no \.npz"):
        bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "bad.npz"))
    assert not scene.objects and "bad.npz" in messages.last_error()


def test_files_can_be_dropped(scene):
    handler = motion_operators.SCALE_CLOTHING_FH_motion
    assert handler.bl_import_operator == motion_operators.SCALE_CLOTHING_OT_import_motion.bl_idname
    assert handler.is_registered and {".npz", ".npy", ".pkl"} <= set(handler.bl_file_extensions.split(";"))


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
        (10475, "", {"gender": "female"}, "this body does not say whether it is female"),
        (10475, "female", {}, "the file does not say whether it is female"),
        (10475, "SMPLX-mesh-female", {"gender": "female"}, ""),
        (10475, "SMPLX-mesh-male.001", {"gender": "female"}, "for a female body and this one is male"),
    ],
)
def test_a_shape_is_given_to_bodies_that_it_means_something_for(scene, tmp_path, vertices, gender, keys, told):
    armature = build_rig(**RIGS["SMPL-X"])
    body = add_mesh(armature, vertices)
    if "mesh" in gender:
        body.name = gender
    elif gender:
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
    assert "; Y was taken to be up, as the body mostly stands along it" in note
    settings = motion.MotionSettings(frame_rate=120.0, up_axis="Y")
    assert motion.apply_motion_file(scene, character, tmp_path / "some.npz", settings) == (16, "")


@pytest.mark.parametrize("up", STANDING)
def test_a_body_stands_on_the_rig_whichever_way_is_up(character, scene, tmp_path, up):
    """As a camera sees it, Y points down. Places turn along: what is up in the file is up in Blender."""
    poses = np.zeros((2, 24, 3))
    poses[:, 0, 0] = STANDING[up]
    places = np.zeros((2, 3))
    places[1, "XYZ".index(up[-1])] = -1 if up[0] == "-" else 1
    np.savez(tmp_path / "some.npz", pose=poses.reshape(2, 72), transl=places, fps=scene.render.fps)
    for axis in ("AUTO", up):
        bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "some.npz"), up_axis=axis, on_floor=False)
        heights = []
        for frame in (1, 2):
            scene.frame_set(frame)
            assert read(character).rotations[0][:, 1] == pytest.approx([0, 1, 0], abs=1e-5)
            assert read(character).rotations[0][:, 0] == pytest.approx([1, 0, 0], abs=1e-5)
            heights.append(character.pose.bones["pelvis"].head[2])
        assert heights[1] - heights[0] == pytest.approx(1, abs=1e-5)


def write_people(path) -> np.ndarray:  # [F, 72]
    """Two people of a program that follows people in videos."""
    poses = np.random.default_rng(3).normal(0, 0.2, (FRAMES, 72)).astype(np.float32)
    first = {"pose_world": poses, "trans_world": np.zeros((FRAMES, 3)), "betas": np.zeros((FRAMES, 10))}
    path.write_bytes(pickle.dumps({0: first, 7: {key: value[:3] + 0.1 for key, value in first.items()}}))
    return poses


def test_a_person_is_chosen_and_all_are_listed(scene, tmp_path, capfd):
    poses = write_people(tmp_path / "wham_output.pkl")
    scene.render.fps = 30
    bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "wham_output.pkl"))
    assert "the file has 2 people, 0 (5 poses), 7 (3 poses); 0 was taken; the file names no" in capfd.readouterr().out
    assert scene.frame_end == FRAMES
    bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "wham_output.pkl"), person="7")
    assert scene.frame_end == 3
    np.testing.assert_allclose(
        read(scene.scale_clothing.rig).rotations[1:],
        matrices_from_axis_angle(poses[0].reshape(24, 3) + 0.1)[1:],
        atol=1e-4,
    )
    with pytest.raises(RuntimeError, match=r"no person '2'; there are 0 \(5 poses\), 7 \(3 poses\)"):
        bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "wham_output.pkl"), person="2")


def test_a_folder_of_a_file_a_frame_and_several_dropped_files(scene, tmp_path):
    poses = np.random.default_rng(4).normal(0, 0.2, (12, 72)).astype(np.float32)
    for number, pose in enumerate(poses):
        np.savez(tmp_path / f"walk.{number}.npz", pose=pose, transl=np.zeros(3))
    scene.render.fps = 30
    bpy.ops.scale_clothing.import_motion(filepath=f"{tmp_path}/", up_axis="Y")
    assert scene.frame_end == 12
    scene.frame_set(11)
    expected = matrices_from_axis_angle(poses[10].reshape(24, 3))
    np.testing.assert_allclose(read(scene.scale_clothing.rig).rotations, expected, atol=1e-4)
    files = [{"name": f"walk.{number}.npz"} for number in (3, 4)]
    bpy.ops.scale_clothing.import_motion(directory=str(tmp_path), files=files, up_axis="Y")
    assert scene.frame_end == 2


def test_fingers_that_the_rig_has_no_bones_for_are_told(scene, tmp_path):
    write_motion(tmp_path / "fingers.npz", 52)
    for kind, told in (("SMPL", "; the fingers were left out"), ("SMPL-H", ""), ("SMPL-X", "")):
        _, note = motion.apply_motion_file(
            scene, build_rig(**RIGS[kind]), tmp_path / "fingers.npz", motion.MotionSettings()
        )
        assert told in note and bool(told) == ("left out" in note)


def test_travel_can_be_scaled(character, scene, tmp_path):
    places = np.linspace(0, 30_000, FRAMES)[:, None] * [1, 0, 0]
    write_motion(tmp_path / "cm.npz", trans=places)
    _, note = motion.apply_motion_file(scene, character, tmp_path / "cm.npz", motion.MotionSettings())
    assert "the body travels 30,000 m: if that is too far" in note
    settings = motion.MotionSettings(scale=0.0001)
    assert motion.apply_motion_file(scene, character, tmp_path / "cm.npz", settings)[1] == ""
    ends = []
    for frame in (1, FRAMES):
        scene.frame_set(frame)
        ends.append(character.pose.bones["pelvis"].head[0])
    assert ends[1] - ends[0] == pytest.approx(3, abs=1e-3)
