"""Rigs that Rigify generated, and others that share out the twist of their limbs: steered by controls, read exactly."""

from __future__ import annotations

from collections.abc import Iterator

import bpy
import numpy as np
import pytest

from blender_addon.blender import actions
from blender_addon.characters import motion
from blender_addon.rig import recognition
from blender_addon.rig.pose import read_pose, untwisted
from blender_addon.rig.rest import rest_of
from tests.addon.humanoids import (
    BODY,
    EXACT,
    FAMILIES,
    MILLIMETRE,
    NEAR,
    angle,
    build,
    generate_mpfb,
    limb_errors,
    misread,
    put_on,
    some_motion,
    turned,
)
from tests.addon.rigs import BLENDER, body_joints

TWISTING = (1, 2, 16, 17)


@pytest.fixture(scope="module")
def rigify(registered) -> Iterator[None]:
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.ops.preferences.addon_enable(module="rigify")
    yield
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.ops.preferences.addon_disable(module="rigify")


@pytest.fixture(scope="module")
def generated(rigify) -> str:
    """The name of an armature that Rigify generated from its human metarig."""
    bpy.ops.object.armature_human_metarig_add()
    metarig = bpy.context.object
    assert recognition.recognise(metarig).family == "Rigify metarig"
    bpy.ops.pose.rigify_generate()
    return bpy.context.object.name


def test_a_rig_generated_by_rigify_is_moved_by_its_controls(generated):
    """Its FK controls are keyed, and steer afterwards; the deforming bones arrive."""
    rig = bpy.data.objects[generated]
    steered(rig, "Rigify")
    rig.pose.bones["forearm_fk.L"].rotation_quaternion = (1.0, 0.0, 0.0, 0.0)
    bpy.context.view_layer.update()
    assert max(limb_errors(rest_of(rig), rig, some_motion(), 2)) > NEAR


def test_a_rig_generated_from_mpfbs_metarig_is_moved_by_its_controls(rigify):
    """It has a bone more in its spine, which takes half of the next one's turn."""
    rig = generate_mpfb()
    steered(rig, "MPFB Rigify")
    start, middle, end = (turned(rig.pose.bones[f"spine_fk.{each}"]) for each in ("002", "003", "004"))
    assert angle(start, middle) == pytest.approx(angle(start, end) / 2, abs=EXACT)
    assert angle(middle, end) == pytest.approx(angle(start, end) / 2, abs=EXACT)


def steered(rig: bpy.types.Object, family: str) -> None:
    """Put a motion onto a generated rig, and look whether it arrives by its controls."""
    made, rest = some_motion(), rest_of(rig)
    assert rest.rig_joints.family == family and None not in rest.rig_joints.bones[:BODY]
    rig.pose.bones["chest"].location = (0.0, 0.3, 0.2)  # by hand: it is put back
    assert "were keyed, and set to FK" in motion.apply_motion(rig, rest, made, motion.MotionSettings(on_floor=False))
    keyed = {path.data_path.split('"')[1] for path in actions.curves_of(rig)}
    assert {"torso", "spine_fk.002", "upper_arm_fk.L", "foot_fk.R", "head", "f_index.02.L"} <= keyed
    assert not any(name.startswith(("DEF-", "ORG-")) for name in keyed)
    for frame in (2, 3):
        bpy.context.scene.frame_set(frame)
        assert max(limb_errors(rest, rig, made, frame - 1)) < NEAR
        wrong = misread(rest, rig, made, frame - 1)  # the twist of arms and thighs too, but for the spine's: the rig's
        assert max(each for joint, each in enumerate(wrong) if joint not in (3, 6, 9)) < EXACT
        pelvis = read_pose(rig, bpy.context.evaluated_depsgraph_get(), rest).pelvis
        expected = motion.retargeting.retarget(rest, made, body_joints()[0]).pelvis[frame - 1] @ BLENDER
        assert np.abs(pelvis - expected).max() < MILLIMETRE
    assert untwisted(rig, rest.rig_joints) == TWISTING


def test_controls_that_do_not_steer_are_left_alone(generated):
    """The deforming bones are keyed. Constraints would win over these keyframes: they are switched off, and told."""
    rig, made = bpy.data.objects[generated], some_motion()
    rest = rest_of(rig)
    rig.pose.bones["upper_arm_fk.L"].name = "mine"
    rig.pose.bones["torso"].location = (0.0, 0.3, 0.2)
    bpy.context.view_layer.update()
    said = motion.apply_motion(rig, rest, made, motion.MotionSettings(on_floor=False))
    assert int(said.split()[1]) > 50 and said.endswith("as they would have held its bones")
    bpy.context.scene.frame_set(2)
    assert max(limb_errors(rest, rig, made)) < NEAR
    assert max(misread(rest, rig, made)) < EXACT
    assert untwisted(rig, rest.rig_joints) == ()


def test_bones_that_bend_and_bones_that_twist(scene):
    """Daz's: a limb bends at one bone and twists at the next. Both are read as one joint; the motion arrives."""
    rig, made = build(FAMILIES["Daz Genesis 8"]), some_motion()
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones
    for bend, twist, child in (("ShldrBend", "ShldrTwist", "ForearmBend"), ("ThighBend", "ThighTwist", "Shin")):
        for side in "lr":
            first, second = bones[side + bend], bones.new(side + twist)
            second.head, second.tail = (first.head + bones[side + child].head) / 2, bones[side + child].head
            second.parent, bones[side + child].parent = first, second
    bpy.ops.object.mode_set(mode="OBJECT")
    rest = put_on(rig, made)
    assert untwisted(rig, rest.rig_joints) == TWISTING
    assert max(misread(rest, rig, made)) < EXACT
    twist = rig.pose.bones["lShldrTwist"]
    twist.rotation_mode = "XYZ"
    twist.rotation_euler.y = 0.5
    bpy.context.view_layer.update()
    degrees = misread(rest, rig, made)
    assert degrees[16] == pytest.approx(np.degrees(0.5), abs=EXACT)
    assert max(degrees[:16] + degrees[17:]) < EXACT  # what hangs on it turns along
