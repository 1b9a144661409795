"""What clothes feel of how a rig moved: a frame is the same however one comes to it."""

from __future__ import annotations

from types import SimpleNamespace

import bpy
import numpy as np
import pytest

from blender_addon.blender import pc2
from blender_addon.clothes import live, memory
from blender_addon.rig.moments import Clock, Felt, Moment, felt, frames_seen
from blender_addon.rig.pose import Pose
from blender_addon.rig.rest import RigFrame, rest_of
from blender_addon.rig.stage import read_moments
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.window import Window
from tests.addon.moving import moving_garment, played, shown, swing, swinging  # noqa: F401

FRAME = RigFrame(matrices_from_axis_angle(np.array([np.pi / 2, 0, 0])), 1.0)  # Y up to Z up
PELVIS = np.array([0.0, 0.9, 0.05])
FITTED = SimpleNamespace(pelvis=PELVIS, translation=lambda pose: pose.pelvis - PELVIS)
WINDOW = Window((1 / 24, 4 / 24, 0.41), gravity=True)
CLOCK = Clock(24.0)


def steps(seed: int, count: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations [F, J, 3, 3], pelvis [F, 3], and another rigid motion [F, 4, 4]."""
    random = np.random.default_rng(seed)
    time = np.linspace(0, 1, count)[:, None, None]
    rotations = matrices_from_axis_angle(np.sin(random.normal(0, 2, (1, 24, 3)) * time) * 0.5)
    matrix = np.tile(np.eye(4), (count, 1, 1))
    matrix[:, :3, :3] = matrices_from_axis_angle(time[:, 0] * random.normal(0, 1, 3))
    matrix[:, :3, 3] = time[:, 0] * random.normal(0, 1, 3)
    return rotations.astype(np.float32), time[:, 0] * random.normal(0, 1, 3), matrix


def felt_at_end(rotations, pelvis, matrices, frame: RigFrame = FRAME) -> Felt:
    *seen, now = [Moment(k, Pose(*each[:2]), each[2]) for k, each in enumerate(zip(rotations, pelvis, matrices,
                                                                                   strict=True))]  # fmt: skip
    return felt(now, seen, FITTED, frame, WINDOW, CLOCK)


def seen_by_root(found: Felt, rotations: np.ndarray, pelvis: np.ndarray) -> list[np.ndarray]:
    """What a garment sees: turns and places of the root, and down, as the present root has them."""
    back = rotations[-1, 0].T
    moved = (found.past_translation[0] + PELVIS - pelvis[-1]) @ back.T
    return [back @ found.past_rotations[0, :, 0], moved, back @ found.down[0]]


def test_bones_and_object_move_alike():
    rotations, pelvis, matrix = steps(1)
    by_object = seen_by_root(felt_at_end(rotations, pelvis, matrix), rotations, pelvis)
    turn, place = FRAME.rotation.T @ matrix[:, :3, :3] @ FRAME.rotation, matrix[:, :3, 3] @ FRAME.rotation
    turned = rotations.copy()
    turned[:, 0] = turn @ rotations[:, 0]
    moved = (turn @ pelvis[..., None])[..., 0] + place
    still = np.tile(np.eye(4), (12, 1, 1))
    by_bones = seen_by_root(felt_at_end(turned, moved, still), turned, moved)
    for one, other in zip(by_object, by_bones, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.ptp(by_bones[1], axis=0).max() > 0.05
    np.testing.assert_allclose(felt_at_end(turned, moved, still).down[0], [0, -1, 0], atol=1e-6)


def test_size_and_place_in_the_scene_do_not_matter():
    """Neither centimetres, nor an object's scale, nor where it stands."""
    rotations, pelvis, matrix = steps(2)
    plain = felt_at_end(rotations, pelvis, matrix).named()
    turn = np.eye(4)
    turn[:3, :3] = 0.3 * matrices_from_axis_angle(np.array([0.0, 0.0, 1.0]))
    turn[:3, 3] = 40.0, -20.0, 3.0
    grown = turn @ matrix @ np.diag([0.01, 0.01, 0.01, 1.0])
    other = felt_at_end(rotations, pelvis, grown, RigFrame(FRAME.rotation, 100.0)).named()
    for name, array in plain.items():
        np.testing.assert_allclose(array, other[name], atol=2e-6)


def test_a_window_needs_few_frames_and_they_make_it_whole():
    rotations, pelvis, matrices = steps(3, 13)
    moments = {k: Moment(k, Pose(rotations[k], pelvis[k]), matrices[k]) for k in range(13)}
    wanted = frames_seen(12, WINDOW.lags, CLOCK)
    assert wanted == {2, 3, 8, 11}  # 9.84 frames ago lies between two
    all_of_them, those = ([moments[k] for k in each] for each in (range(12), wanted))
    one, other = (felt(moments[12], each, FITTED, FRAME, WINDOW, CLOCK).named() for each in (all_of_them, those))
    assert all((one[name] == other[name]).all() for name in one)
    assert frames_seen(12.25, (0.005,), CLOCK) == {12} and frames_seen(12, (0.5,), CLOCK, start=7) == {7}


def test_played_jumped_to_and_baked_are_the_same_to_the_bit(swinging, scene, bake_folder):  # noqa: F811
    one_by_one = played(scene, swinging, 1, 16)
    for frame in (14, 9, 16):
        memory.forget()
        scene.frame_set(frame)
        assert (shown(swinging) == one_by_one[frame]).all(), frame
    assert bpy.ops.scale_clothing.bake() == {"FINISHED"}
    (file,) = bake_folder.glob("*.pc2")
    baked = pc2.read_frames(file)
    for frame in range(8, 17):
        np.testing.assert_array_equal(baked[frame - 8], one_by_one[frame])
    swinging.scale_clothing.motion = 0.0
    bpy.ops.scale_clothing.clear_bake()
    scene.frame_set(14)
    assert np.abs(shown(swinging) - one_by_one[14]).max() > 1e-4  # at rest it hangs otherwise
    assert np.abs(shown(swinging)).max() < 3


def test_subframes_steps_and_slow_motion(swinging, scene, bake_folder):  # noqa: F811
    scene.render.frame_map_new = 200  # half as fast: cloth too
    chosen = scene.scale_clothing
    chosen.bake_step, chosen.bake_samples = 3, 2
    bpy.ops.scale_clothing.bake()
    (file,) = bake_folder.glob("*.pc2")
    baked = pc2.read_frames(file)
    bpy.ops.scale_clothing.clear_bake()
    for sample, (frame, part) in enumerate([(8, 0.0), (9, 0.5), (11, 0.0), (12, 0.5)]):
        scene.frame_set(frame, subframe=part)
        np.testing.assert_array_equal(shown(swinging), baked[sample])


def test_pre_roll(swinging, scene):  # noqa: F811
    scene.frame_set(9)
    rolled = shown(swinging)
    scene.scale_clothing.pre_roll = False
    stood = shown(swinging)
    assert np.abs(rolled - stood).max() > 1e-4
    scene.frame_set(8)
    first = shown(swinging)
    swinging.scale_clothing.motion = 0.0
    np.testing.assert_allclose(first, shown(swinging), atol=1e-5)  # nothing has moved before the first frame


def test_a_users_jump_shows_cloth_at_rest_and_then_as_it_was_moved(swinging, scene, monkeypatch):  # noqa: F811
    one_by_one = played(scene, swinging, 1, 16)
    monkeypatch.setattr(live, "_must_be_exact", lambda: False)
    monkeypatch.setattr(live, "_by_user", lambda: True)
    asked = []
    monkeypatch.setattr(live, "_soon", lambda function, *_: asked.append(function))
    memory.forget()
    scene.frame_set(14)
    live._beside.wait(5)
    live._collect()
    jumped = shown(swinging)
    assert live._pause in asked and np.abs(jumped - one_by_one[14]).max() > 1e-4
    live.update(scene, bpy.context.evaluated_depsgraph_get())
    assert (shown(swinging) == one_by_one[14]).all()
    asked.clear()
    scene.frame_set(15)
    live._beside.wait(5)
    live._collect()
    assert live._pause not in asked and (shown(swinging) == one_by_one[15]).all()


def test_what_is_before_the_first_frame_is_there_when_playing_comes_to_it(swinging, scene, monkeypatch):  # noqa: F811
    scene.frame_set(8)
    first = shown(swinging)
    memory.forget()
    live._playing_begins(scene)
    monkeypatch.setattr(live, "_must_be_exact", lambda: False)
    monkeypatch.setattr(live, "_by_user", lambda: True)
    for frame in (15, 8):
        scene.frame_set(frame)
        live._beside.wait(5)
        live._collect()
    assert memory.is_whole(scene) and (shown(swinging) == first).all()


@pytest.mark.parametrize("name", ["hidden", "moved by others"])
def test_moments_are_read_as_the_scene_shows_them(character, scene, name):
    """Whatever moves the rig, and however it is hidden; and the scene stays where it is."""
    swing(character, "left_hip")
    if name == "hidden":
        character.hide_viewport = character.hide_render = True
    else:
        carrier = bpy.data.objects.new("Carrier", None)
        scene.collection.objects.link(carrier)
        for frame, place in ((1, 0.0), (20, 0.4)):
            carrier.location = place, place, 0.5 + place
            carrier.keyframe_insert("location", frame=frame)
        character.parent = carrier
        constraint = character.pose.bones["left_wrist"].constraints.new("IK")
        constraint.target, constraint.chain_count = carrier, 3
        character.pose.bones["head"].driver_add("rotation_quaternion", 1).driver.expression = "frame / 40"
        strip = character.animation_data.nla_tracks.new().strips.new("Swing", 3, character.animation_data.action)
        strip.scale, character.animation_data.action = 1.3, None
    rest, expected = rest_of(character), {}
    for frame in (5, 9, 14):
        scene.frame_set(frame)
        expected[frame] = Moment.read(character, bpy.context.evaluated_depsgraph_get(), rest, frame)
    assert not (expected[5].pose.rotations == expected[14].pose.rotations).all()
    found, names = read_moments(scene, character, rest, expected), [each.name for each in bpy.data.objects]
    for frame, moment in expected.items():
        for array in ("rotations", "pelvis"):
            np.testing.assert_array_equal(getattr(moment.pose, array), getattr(found[frame].pose, array))
        np.testing.assert_array_equal(moment.matrix, found[frame].matrix)
    assert scene.frame_current == 14 and "SCALE Moments" not in names and len(bpy.data.scenes) == 1


def test_garments_of_the_pose_alone_remember_nothing(dressed, character, scene):
    swing(character, "left_hip")
    memory.forget()
    one_by_one = played(scene, dressed, 1, 6)
    scene.frame_set(15)
    scene.frame_set(6)
    assert (shown(dressed) == one_by_one[6]).all() and not memory.forget()


def test_cloth_of_a_bone_posed_by_hand_hangs_at_rest(swinging, character, scene):  # noqa: F811
    scene.frame_set(14)
    moving = shown(swinging)
    bone = character.pose.bones["left_hip"]
    before = bone.rotation_quaternion.copy()
    bone.rotation_quaternion = (0.9, 0.3, 0.3, 0.0)
    bpy.ops.scale_clothing.update()
    posed = shown(swinging)
    swinging.scale_clothing.motion = 0.0
    np.testing.assert_allclose(posed, shown(swinging), atol=1e-5)
    swinging.scale_clothing.motion = 1.0
    bone.rotation_quaternion = before
    bpy.ops.scale_clothing.update()
    assert (shown(swinging) == moving).all()


def test_the_fabric_of_the_look_is_how_cloth_hangs(swinging, scene):  # noqa: F811
    scene.frame_set(10)
    cotton = shown(swinging)
    swinging.scale_clothing.fabric = "DENIM"
    assert np.abs(cotton - shown(swinging)).max() > 1e-5
    swinging.scale_clothing.fabric = "SILK"  # unknown to the garment: its first
    assert np.abs(shown(swinging) - cotton).max() < 1e-6


def test_a_pose_that_is_keyed_moves(swinging, character, scene):  # noqa: F811
    scene.frame_set(14)
    bone = character.pose.bones["left_hip"]
    bone.rotation_quaternion = (0.9, 0.3, 0.3, 0.0)
    bpy.ops.scale_clothing.update()
    posed = shown(swinging)
    bone.keyframe_insert("rotation_quaternion")
    bpy.ops.scale_clothing.update()
    keyed = shown(swinging)
    assert np.abs(keyed - posed).max() > 1e-4
    scene.frame_set(3)
    scene.frame_set(14)
    assert (shown(swinging) == keyed).all()
