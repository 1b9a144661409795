"""Every kind of rig gets the clothes of the plain one: in world space, to a tenth of a millimetre."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from mathutils import Matrix

from blender_addon.blender import meshes
from blender_addon.clothes import dressing
from blender_addon.rig import pose
from blender_addon.rig.rest import rest_of
from scale_backend.formats import joints
from tests.addon.rigs import BLENDER, RIGS, build_rig, mix_rotation_modes, put_pose, random_pose, turns_of

TENTH = 1e-4  # metres


def dressed(target: bpy.types.Object, file: str) -> np.ndarray:  # [M, 3]
    """The clothes of a rig in world space."""
    obj = dressing.dress(bpy.context, target, file, "MESH", "CLOTHES")
    bpy.context.view_layer.update()
    world = np.array(obj.matrix_world)
    return meshes.get_positions(obj.data) @ world[:3, :3].T + world[:3, 3]


def place(target: bpy.types.Object, to_armature: np.ndarray, unit: float, offset: np.ndarray) -> None:
    """Put a rig where the plain one is, by its object: turned, scaled and moved."""
    turn = BLENDER @ to_armature.T
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = turn / unit, -BLENDER @ offset
    target.matrix_world = Matrix(whole.tolist())


def posed() -> tuple[np.ndarray, np.ndarray]:
    rotations = random_pose(24, 4, 0.3)
    rotations[22:] = np.eye(3)  # rigs with fingers have no such joints
    return rotations, np.array([0.2, 0.1, -0.4])


@pytest.fixture
def plain(scene, garment_files) -> np.ndarray:
    target = build_rig()
    put_pose(target, joints.SMPL, *posed())
    return dressed(target, garment_files["skirt"])


@pytest.mark.parametrize("kind", [name for name in RIGS if name != "SMPL"])
def test_every_kind_of_rig(plain, garment_files, kind):
    options = RIGS[kind]
    to_armature, unit = options.get("to_armature", BLENDER), options.get("unit", 1.0)
    names = tuple(options.get("prefix", "") + name for name in options["names"])
    target = build_rig(**options)
    mix_rotation_modes(target)
    place(target, to_armature, unit, np.array(options.get("offset", (0.0, 0.0, 0.0))))
    rotations, moved = posed()
    whole = np.broadcast_to(np.eye(3), (len(names), 3, 3)).copy()
    whole[:22] = rotations[:22]
    put_pose(target, names, whole, moved, to_armature, unit, turns_of(kind))
    np.testing.assert_allclose(dressed(target, garment_files["skirt"]), plain, atol=TENTH)


def test_a_rig_that_hangs_on_another_object(plain, garment_files):
    """Turned, scaled unevenly by its parents, and moved: the clothes are where the body is."""
    holder = bpy.data.objects.new("Holder", None)
    bpy.context.collection.objects.link(holder)
    holder.location, holder.rotation_euler, holder.scale = (3, -1, 2), (0.3, 1.2, -0.7), (2.0, 2.0, 0.5)
    target = build_rig(seed=11)
    target.parent = holder
    target.rotation_euler = (0.2, 0.0, 0.4)
    put_pose(target, joints.SMPL, *posed())
    world = np.array(target.matrix_world)
    expected = plain @ world[:3, :3].T + world[:3, 3]
    np.testing.assert_allclose(dressed(target, garment_files["skirt"]), expected, atol=TENTH)


def test_a_rig_that_is_moved_by_constraints(scene, garment_files):
    """IK on a leg, a copied rotation, a driven bone: what counts is where the bones come to be."""
    target = build_rig(seed=12)
    goal = bpy.data.objects.new("Goal", None)
    scene.collection.objects.link(goal)
    goal.location, goal.rotation_euler = (0.25, -0.35, -0.45), (0.3, 0.5, 0.2)
    reach = target.pose.bones["left_knee"].constraints.new("IK")
    reach.target, reach.chain_count = goal, 2
    turn = target.pose.bones["right_shoulder"].constraints.new("COPY_ROTATION")
    turn.target, turn.mix_mode = goal, "ADD"
    target.pose.bones["spine2"].rotation_mode = "XYZ"
    driver = target.pose.bones["spine2"].driver_add("rotation_euler", 0).driver
    driver.expression = "0.4"
    bpy.context.view_layer.update()
    found = [np.array(target.pose.bones[name].matrix) for name in joints.SMPL]
    moved = pose.read_pose(target, bpy.context.evaluated_depsgraph_get(), rest_of(target)).rotations
    assert all(np.abs(moved[joint] - np.eye(3)).max() > 0.1 for joint in (1, 6, 17))

    keyed = build_rig(seed=12)
    for name, matrix in zip(joints.SMPL, found, strict=True):
        keyed.pose.bones[name].matrix = Matrix(matrix.tolist())
        bpy.context.view_layer.update()
    expected = dressed(keyed, garment_files["skirt"])
    np.testing.assert_allclose(dressed(target, garment_files["skirt"]), expected, atol=TENTH)
    at_rest = dressed(build_rig(), garment_files["skirt"])
    assert np.abs(expected - at_rest).max() > 0.05
