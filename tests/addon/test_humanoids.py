"""Humanoid rigs of every family: known by their bones, read and moved exactly, whatever their rest is like."""

from __future__ import annotations

from dataclasses import replace

import bpy
import numpy as np
import pytest

from blender_addon.characters import motion
from blender_addon.paths import body_file
from blender_addon.rig import recognition
from blender_addon.rig.body_data import read_body
from blender_addon.rig.pose import read_pose
from blender_addon.rig.rest import rest_of
from blender_addon.rig.skin_weights import joints_of_bones
from scale_backend.formats import joints
from scale_backend.formats.motion import matrices_from_axis_angle
from tests.addon.humanoids import (
    BODY,
    EXACT,
    FAMILIES,
    MILLIMETRE,
    MPFB,
    NAMES,
    NEAR,
    a_pose,
    angle,
    bones_of,
    build,
    build_mpfb,
    limb_errors,
    put_on,
    some_motion,
    turned,
    whole,
)
from tests.addon.rigs import BLENDER, TURNED, body_joints, build_rig

DIFFERENT = {
    "plain": {},
    "prefix": {"prefix": "mixamorig1:"},
    "centimetres, Y up": {"unit": 100.0, "to_armature": np.eye(3), "seed": 2},
    "turned, origin in the chest": {"to_armature": TURNED, "offset": (0.1, -1.3, 0.0), "seed": 3},
    "origin in the head": {"offset": (0.0, -1.6, 0.1), "seed": 4},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_motions_arrive_on_every_family(scene, name):
    """By the matrices of the table's bones, and as the add-on reads them back."""
    family, made = FAMILIES[name], some_motion()
    rig = build(family)
    rest = put_on(rig, made)
    found = rest.rig_joints
    assert found.family == name or (family.is_smpl and found.family.startswith("SMPL"))
    expected = whole(matrices_from_axis_angle(made.rotations[1]), recognition.PARENTS[55])
    bones = {joint: bone for joint, bone in bones_of(rig, family).items() if joint in NAMES}
    read = whole(read_pose(rig, bpy.context.evaluated_depsgraph_get(), rest).rotations, found.parents)
    names = [joint.removesuffix("_smplhf") for joint in found.joint_names]
    assert {found.bones[names.index(joint)] for joint in bones} == {bone.name for bone in bones.values()}
    for joint, bone in bones.items():
        assert angle(BLENDER.T @ turned(bone) @ BLENDER, expected[NAMES.index(joint)]) < EXACT
        assert angle(read[names.index(joint)], expected[NAMES.index(joint)]) < EXACT
    pelvis = np.array(bones["pelvis"].matrix.translation) @ BLENDER
    assert np.abs(pelvis - made.translation[1] - body_joints()[0]).max() < MILLIMETRE


@pytest.mark.parametrize("different", DIFFERENT)
def test_axes_units_and_origin_mean_nothing(scene, different):
    options, made = DIFFERENT[different], some_motion()
    rig = build(FAMILIES["Mixamo"], **options)
    rest = put_on(rig, made)
    frame = options.get("to_armature", BLENDER)
    assert rest.frame.unit == options.get("unit", 1.0)
    np.testing.assert_allclose(rest.frame.rotation, frame, atol=1e-6)
    expected = whole(matrices_from_axis_angle(made.rotations[1]), recognition.PARENTS[55])
    for joint, bone in bones_of(rig, FAMILIES["Mixamo"], options.get("prefix", "")).items():
        assert angle(frame.T @ turned(bone) @ frame, expected[NAMES.index(joint)]) < EXACT
    pelvis = read_pose(rig, bpy.context.evaluated_depsgraph_get(), rest).pelvis
    assert np.abs(pelvis - made.translation[1] - body_joints()[0]).max() < MILLIMETRE


@pytest.mark.parametrize("name", ["Mixamo", "Unreal (UE5)", "Daz Genesis 8", "VRoid", "Auto-Rig Pro", "SMPL"])
@pytest.mark.parametrize("degrees", [32.0, 50.0])
def test_limbs_point_where_the_motion_wants_them_from_an_a_pose(scene, name, degrees):
    rig = build(FAMILIES[name], rest=a_pose(degrees))
    made = some_motion()
    assert max(limb_errors(put_on(rig, made), rig, made)) < NEAR


@pytest.mark.parametrize("name", MPFB)
def test_the_rigs_of_mpfb(scene, name):
    rig = build_mpfb(name)
    rest = rest_of(rig)
    assert rest.rig_joints.family == MPFB[name]
    assert None not in rest.rig_joints.bones[:BODY] and rest.frame.unit == 1.0
    np.testing.assert_array_equal(rest.frame.rotation, BLENDER)
    made = some_motion()
    errors = limb_errors(put_on(rig, made), rig, made)
    if name == "mixamo":  # a T-pose, though not quite the body's
        np.testing.assert_array_equal(rest.turns, np.broadcast_to(np.eye(3), rest.turns.shape))
        expected = whole(matrices_from_axis_angle(made.rotations[1]), recognition.PARENTS[55])
        for joint, bone in bones_of(rig, FAMILIES["Mixamo"]).items():
            assert angle(BLENDER.T @ turned(bone) @ BLENDER, expected[NAMES.index(joint)]) < EXACT
    else:
        assert max(errors) < NEAR
    heights = rest.places[[0, 3, 6, 9, 12, 15], 1]
    assert (np.diff(heights) > 0.02).all()  # the trunk's joints one above the other


@pytest.mark.parametrize(("arms", "lowered", "posed"), [
    ((16, 17), 17.0, False), ((16,), 40.0, False), ((16, 17), 32.0, True),
])  # fmt: skip
def test_smpl_characters_are_lopsided_and_stand_in_a_t_pose(scene, arms, lowered, posed):
    rig = build_rig(names=joints.SMPL_X, rest=a_pose(lowered, arms))
    turns = rest_of(rig).turns
    assert np.allclose(turns, np.eye(3), atol=1e-9) is not posed
    if posed:
        assert angle(turns[16], np.eye(3)) == pytest.approx(lowered, abs=0.1)


@pytest.mark.parametrize("names", [joints.SMPL, joints.SMPL_H, joints.SMPL_X], ids=["SMPL", "SMPL-H", "SMPL-X"])
@pytest.mark.parametrize("options", [
    {}, {"offset": (0.0, -1.4, 0.0)}, {"unit": 100.0, "to_armature": np.eye(3), "offset": (0.1, -1.6, 0.1)},
], ids=["origin as the body's", "origin in the chest", "centimetres, origin in the head"])  # fmt: skip
def test_motions_arrive_on_rigs_as_official_characters_have_them(scene, names, options):
    """Spine and hips in other places of the same body, lopsided arms; the origin and units of other files."""
    places = dict(zip(joints.SMPL_X, a_pose(17.0, (17,)), strict=True))
    places |= {"left_hand": places["left_wrist"] + 0.05, "right_hand": places["right_wrist"] - 0.05}
    rest = np.array([places[name] for name in names])
    rest[[1, 2, 3, 6, 9]] += np.random.default_rng(7).uniform(-0.03, 0.03, (5, 3))
    rig, made = build_rig(names=names, rest=rest, seed=5, root_bone=True, **options), some_motion()
    known = put_on(rig, made)
    frame = options.get("to_armature", BLENDER)
    np.testing.assert_allclose(known.frame.rotation, frame, atol=1e-9)
    expected = whole(matrices_from_axis_angle(made.rotations[1]), recognition.PARENTS[55])
    for name in names:
        if name in joints.SMPL_X:
            turn = frame.T @ turned(rig.pose.bones[name]) @ frame
            assert angle(turn, expected[joints.SMPL_X.index(name)]) < EXACT
    pelvis = read_pose(rig, bpy.context.evaluated_depsgraph_get(), known).pelvis
    assert np.abs(pelvis - made.translation[1] - body_joints()[0]).max() < MILLIMETRE


def test_a_missing_joint_of_the_spine_lies_between_its_neighbours(scene):
    family = FAMILIES["Mixamo"]
    rig = build(family)
    bpy.ops.object.mode_set(mode="EDIT")
    rig.data.edit_bones.remove(rig.data.edit_bones["Spine1"])
    rig.data.edit_bones["Spine2"].parent = rig.data.edit_bones["Spine"]
    bpy.ops.object.mode_set(mode="OBJECT")
    rest = rest_of(rig)
    assert rest.rig_joints.bones[6] is None and rest.rig_joints.source(6) == "between spine1 and spine3"
    np.testing.assert_allclose(rest.places[6], body_joints()[6], atol=1e-6)
    rig.pose.bones["Spine2"].rotation_mode = "AXIS_ANGLE"
    rig.pose.bones["Spine2"].rotation_axis_angle = (0.6, 1.0, 2.0, 3.0)
    bpy.context.view_layer.update()
    rotations = read_pose(rig, bpy.context.evaluated_depsgraph_get(), rest).rotations
    assert angle(rotations[6], np.eye(3)) == pytest.approx(np.degrees(0.3), abs=1e-3)
    np.testing.assert_allclose(rotations[6], rotations[9], atol=1e-5)


def test_more_bones_of_the_spine_share_its_turn(scene):
    """Unreal's five of the spine and two of the neck. Those between joints turn half as far, and what hangs on them
    comes where the body's own joints put it."""
    rig, made = build(FAMILIES["Unreal (UE5)"]), some_motion()
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones
    inner = {"spine_02": ("spine_01", "spine_03"), "spine_04": ("spine_03", "spine_05"), "neck_02": ("neck_01", "head")}
    for name, (below, above) in inner.items():
        along = bones[below].tail - bones[below].head
        bones[name].head = (bones[below].head + bones[above].head) / 2
        bones[name].tail, bones[name].parent = bones[name].head + along, bones[below]
        bones[above].parent = bones[name]
    bpy.ops.object.mode_set(mode="OBJECT")
    made.rotations[:, [3, 6, 9, 12, 15]] *= 0.6  # as far as a back bends
    rest = put_on(rig, made)
    assert [each.bone for each in rest.between] == list(inner)
    expected = whole(matrices_from_axis_angle(made.rotations[1]), recognition.PARENTS[55])
    for joint, bone in bones_of(rig, FAMILIES["Unreal (UE5)"]).items():
        assert angle(BLENDER.T @ turned(bone) @ BLENDER, expected[NAMES.index(joint)]) < EXACT
    for name, (below, above) in inner.items():
        start, middle, end = (turned(rig.pose.bones[each]) for each in (below, name, above))
        assert angle(start, middle) == pytest.approx(angle(start, end) / 2, abs=EXACT)
        assert angle(middle, end) == pytest.approx(angle(start, end) / 2, abs=EXACT)
    moved = motion.retargeting.retarget(rest, made, body_joints()[0])
    collars = np.array([rig.pose.bones[f"clavicle_{side}"].head for side in "lr"])
    own = rest.joints.copy()
    for joint, name in {6: "spine_03", 9: "spine_05", 15: "head"}.items():
        own[joint] = rig.data.bones[name].head_local
    at_heads = replace(rest, joints=own)
    away, plain = (np.linalg.norm(moved.places(r)[1, [13, 14]] - collars, axis=1).max() for r in (rest, at_heads))
    assert away < 4 * MILLIMETRE < 10 * MILLIMETRE < plain
    assert dict(joints_of_bones(rig, rest)["spine_02"]) == {3: 0.5, 6: 0.5}


def test_missing_collars_and_toes_follow(scene):
    family, made = FAMILIES["Mixamo"], some_motion()
    rig = build(family)
    bpy.ops.object.mode_set(mode="EDIT")
    for name in ("LeftShoulder", "RightShoulder", "LeftToeBase", "RightToeBase"):
        rig.data.edit_bones.remove(rig.data.edit_bones[name])
    for side in ("Left", "Right"):
        rig.data.edit_bones[f"{side}Arm"].parent = rig.data.edit_bones["Spine2"]
    bpy.ops.object.mode_set(mode="OBJECT")
    rest = put_on(rig, made)
    assert rest.rig_joints.source(13) == "follows spine3" and rest.rig_joints.source(10) == "follows left_ankle"
    np.testing.assert_allclose(rest.places, body_joints()[:BODY], atol=1e-6)
    expected = whole(matrices_from_axis_angle(made.rotations[1]), recognition.PARENTS[55])
    for joint, bone in bones_of(rig, family).items():
        assert angle(BLENDER.T @ turned(bone) @ BLENDER, expected[NAMES.index(joint)]) < EXACT
    rotations = read_pose(rig, bpy.context.evaluated_depsgraph_get(), rest).rotations
    np.testing.assert_allclose(rotations[[10, 11, 13, 14]], np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-5)


def test_numbers_that_a_program_appended_mean_nothing(scene):
    rig = build(FAMILIES["Unreal (UE5)"])
    for number, bone in enumerate(rig.data.bones):
        bone.name = f"{bone.name}_{number:02d}"
    found = recognition.recognise(rig)
    assert found.family == "Unreal (UE5)" and found.bone("spine3").startswith("spine_05_")


def test_what_is_missing_is_named_with_the_nearest_family(scene):
    rig = build(FAMILIES["Mixamo"], prefix="mixamorig:")
    rig.data.bones["mixamorig:LeftUpLeg"].name = "thigh"
    with pytest.raises(recognition.RigError, match=r"looks like Mixamo, but has no LeftUpLeg: choose"):
        recognition.recognise(rig)


def test_travel_is_as_long_as_the_legs(scene):
    """A rig of half the size takes half the way; SMPL's own joints take the file's metres."""
    made = some_motion()
    small = build(FAMILIES["Mixamo"], rest=0.6 * body_joints(55))
    rest = put_on(small, made)
    assert rest.size == pytest.approx(0.6, abs=1e-6)
    pelvis = read_pose(small, bpy.context.evaluated_depsgraph_get(), rest).pelvis
    np.testing.assert_allclose(pelvis, 0.6 * (made.translation[1] + body_joints()[0]), atol=1e-5)
    child = build_rig(rest=0.6 * body_joints())
    rest = put_on(child, made)
    pelvis = read_pose(child, bpy.context.evaluated_depsgraph_get(), rest).pelvis
    np.testing.assert_allclose(pelvis, made.translation[1] + body_joints()[0], atol=1e-5)


@pytest.mark.parametrize("name", MPFB)
@pytest.mark.parametrize("lift", [0.0, 0.7])  # of the armature object: the floor stays where it is
def test_feet_stand_on_the_floor(scene, name, lift):
    rig = build_mpfb(name)
    rig.location.z, rig.scale = lift, (1.2, 1.2, 1.2)
    assert -0.01 < lowest_sole(rig, 1.2) < 0.03


def test_feet_stand_on_the_floor_where_the_object_is_turned_and_scaled(scene):
    """As an FBX file comes in: Y up and centimetres in the armature, put right by its object."""
    rig = build(FAMILIES["Mixamo"], unit=100.0, to_armature=np.eye(3), offset=(0.0, 1.1, 0.0))
    rig.rotation_euler.x, rig.scale, rig.location = np.pi / 2, (0.01, 0.01, 0.01), (1.0, 2.0, 0.4)
    assert -0.01 < lowest_sole(rig, 1.0) < 0.03


def lowest_sole(rig: bpy.types.Object, scale: float) -> float:
    """Where the soles come at the lowest, of bones without a mesh: as far below the feet as those of the body."""
    bpy.context.view_layer.update()
    made = motion.read_motion_file(motion.shipped_motions()[-1], motion.MotionSettings())
    rest = rest_of(rig)
    motion.apply_motion(rig, rest, made, motion.MotionSettings())
    body, heights = read_body(body_file("neutral")), []
    sole = (body.joints[[10, 11], 1].mean() - body.template[:, 1].min()) * rest.size * scale
    for frame in range(1, made.frame_count, 7):
        bpy.context.scene.frame_set(frame)
        bones = [rig.pose.bones[rest.rig_joints.bones[joint]] for joint in (10, 11)]
        heights.append(min((rig.matrix_world @ bone.head).z for bone in bones) - sole)
    return min(heights)
