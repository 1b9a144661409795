"""The sample character deforms exactly as the backend's body, and moves as a motion file says."""

from __future__ import annotations

import time

import bpy
import numpy as np
import pytest
import torch
from mathutils import Matrix

from blender_addon.blender import actions, meshes
from blender_addon.characters import motion
from blender_addon.clothes import selection
from blender_addon.rig import shape
from blender_addon.rig.pose import read_pose
from blender_addon.rig.rest import rest_of
from scale_backend.formats import joints
from scale_backend.formats.motion import Motion, matrices_from_axis_angle, save_motion
from scale_backend.geometry.body import load_body, pose_vertices
from tests.addon.rigs import BLENDER, RIGS, build_rig, put_pose, random_pose


def test_stands_on_the_floor_at_the_origin(character):
    points = meshes.get_positions(bpy.data.objects["SCALE Body"].data)
    assert abs(points[:, 2].min()) < 1e-6
    assert 1.6 < points[:, 2].max() < 1.8
    assert abs(points[:, :2].mean(0)).max() < 0.1


def test_deforms_as_the_backends_body(character):
    body = load_body()
    rotations, moved = random_pose(24, seed=1), np.array([0.1, 0.2, -0.3])
    put_pose(character, joints.SMPL, rotations, moved)
    skin = bpy.data.objects["SCALE Body"]
    skin.data.shape_keys.key_blocks["Shape001"].value = 0.0
    posed = meshes.evaluated_positions(skin, bpy.context.evaluated_depsgraph_get())
    expected = pose_vertices(body, torch.tensor(rotations[None]).float(), torch.tensor(moved[None]).float())[0].numpy()
    lift = np.array([0.0, -body.template[:, 1].min().item(), 0.0])
    np.testing.assert_allclose(posed, (expected + lift) @ BLENDER.T, atol=2e-5)


def test_two_characters_have_names_of_their_own(character, scene):
    bpy.ops.scale_clothing.add_character()
    assert scene.scale_clothing.rig != character
    assert len(shape.meshes_of(character)) == len(shape.meshes_of(scene.scale_clothing.rig)) == 1


def some_motion(frames: int = 40, count: int = 24, up_axis: str = "Y", frame_rate: float = 60.0) -> Motion:
    generator = np.random.default_rng(3)
    steps = generator.normal(0, 0.5, (2, count, 3))
    share = np.linspace(0, 1, frames)[:, None, None]
    rotations = (steps[0] * (1 - share) + steps[1] * share).astype(np.float32)
    translation = np.linspace((0, 1, 0), (0.5, 1, 2), frames).astype(np.float32)
    return Motion(rotations, translation, np.zeros(10, np.float32), frame_rate, up_axis)


@pytest.mark.parametrize(
    "kind", ["SMPL", "odd bones", "centimetres, Y up", "turned", "SMPL-X", "A-pose in centimetres"]
)
def test_a_motion_is_read_back_from_the_rig(scene, kind):
    armature = build_rig(**RIGS[kind])
    rest = rest_of(armature)
    made = some_motion(count=len(rest.rig_joints.bones))
    motion.apply_motion(armature, rest, made, motion.MotionSettings(start=5, on_floor=False))
    for index in (0, 17, 39):
        scene.frame_set(5 + index)
        pose = read_pose(armature, bpy.context.evaluated_depsgraph_get(), rest)
        np.testing.assert_allclose(pose.rotations, matrices_from_axis_angle(made.rotations[index]), atol=2e-5)
        body = load_body().mean_joints[0].numpy()
        np.testing.assert_allclose(pose.translation(body), made.translation[index], atol=2e-5)


def test_which_way_is_up(scene):
    """The same motion in a world with Z up: the root turned by a quarter, the path along Blender's own axes."""
    armature = build_rig()
    rest = rest_of(armature)
    made = some_motion(up_axis="Z")
    motion.apply_motion(armature, rest, made, motion.MotionSettings(on_floor=False))
    scene.frame_set(20)
    turned = np.array(armature.pose.bones["pelvis"].matrix @ armature.data.bones["pelvis"].matrix_local.inverted())
    root = matrices_from_axis_angle(made.rotations[19, 0])
    np.testing.assert_allclose(turned[:3, :3], root @ BLENDER.T, atol=2e-5)


def test_the_frame_rate_is_the_scenes(character, scene, tmp_path):
    save_motion(tmp_path / "some.npz", some_motion(frames=121, frame_rate=60.0))
    scene.render.fps = 24
    bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "some.npz"))
    assert (scene.frame_start, scene.frame_end) == (1, 49)
    assert all(len(curve.keyframe_points) == 49 for curve in actions.curves_of(character))


def lowest(skin: bpy.types.Object) -> float:
    """The height of a mesh's lowest vertex in the world, as it is posed."""
    evaluated = skin.evaluated_get(bpy.context.evaluated_depsgraph_get())
    points = meshes.get_positions(evaluated.data)
    return float((points @ np.array(skin.matrix_world)[2, :3]).min() + skin.matrix_world[2][3])


@pytest.mark.parametrize("origin", [0.0, 1.3])  # of the armature above the soles, its object where they are at zero
def test_the_soles_stand_on_the_floor(character, scene, tmp_path, origin):
    if origin:
        character.data.transform(Matrix.Translation((0, 0, -origin)))
        skin = bpy.data.objects["SCALE Body"]
        skin.data.transform(Matrix.Translation((0, 0, -origin)), shape_keys=True)
    made = some_motion()
    made.rotations[:] *= 0.3
    save_motion(tmp_path / "some.npz", made)
    scene.render.fps = 60
    bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "some.npz"))
    heights = []
    for frame in range(1, 41, 3):
        scene.frame_set(frame)
        heights.append(lowest(bpy.data.objects["SCALE Body"]))
    assert -0.012 < min(heights) < 0.005


def test_long_motions_are_keyed_fast(character, tmp_path):
    save_motion(tmp_path / "long.npz", some_motion(frames=2000, frame_rate=24.0))
    started = time.monotonic()
    bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "long.npz"))
    assert time.monotonic() - started < 3.0
    assert bpy.context.scene.frame_end == 2000


def test_quaternions_do_not_jump(character, scene):
    rest = rest_of(character)
    made = some_motion(frames=100)
    made.rotations[:, 1] = np.linspace(0, 8 * np.pi, 100)[:, None] * np.array([0, 1, 0])  # four whole turns
    motion.apply_motion(character, rest, made, motion.MotionSettings())
    for curve in actions.curves_of(character):
        if "left_hip" in curve.data_path:
            keys = np.array([point.co[1] for point in curve.keyframe_points])
            assert np.abs(np.diff(keys)).max() < 0.3


def test_a_file_that_is_no_motion(character, tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(RuntimeError, match=r"bad\.npz could not be read: it is no \.npz"):
        bpy.ops.scale_clothing.import_motion(filepath=str(tmp_path / "bad.npz"))
    assert character.animation_data is None


def test_an_action_of_the_users_own_is_kept(character):
    """One that came from a motion is not: it can be applied again."""
    bone = character.pose.bones["left_hip"]
    bone.keyframe_insert("rotation_quaternion", frame=1)
    own = character.animation_data.action
    bpy.ops.scale_clothing.apply_motion(motion="walk")
    first = character.animation_data.action
    bpy.ops.scale_clothing.apply_motion(motion="dance")
    assert own.use_fake_user and not first.use_fake_user and character.animation_data.action != first


def test_a_selected_character_can_be_taken(character, scene):
    bpy.ops.scale_clothing.add_character()
    second = scene.scale_clothing.rig
    assert second != character and not bpy.ops.scale_clothing.use_selected.poll()
    bpy.context.view_layer.objects.active = character.children[0]
    assert selection.rig_in_context(bpy.context) == second and selection.other_selected(bpy.context) == character
    bpy.ops.scale_clothing.use_selected()
    assert scene.scale_clothing.rig == character and not bpy.ops.scale_clothing.use_selected.poll()
