"""Clothes on rigs of other proportions: the body's shape is found from the bones."""

from __future__ import annotations

import bpy
import numpy as np
import pytest

from blender_addon.blender import meshes
from blender_addon.clothes import dressing, proportions, selection
from blender_addon.garments import library, opened
from blender_addon.paths import body_file
from blender_addon.rig import fitting
from blender_addon.rig.axes import BLENDER
from blender_addon.rig.body_data import read_body
from blender_addon.rig.pose import read_pose
from blender_addon.rig.rest import rest_of
from scale_backend.formats import joints
from scale_backend.formats.poses import DecodeOptions, Poses
from tests.addon.rigs import build_rig, put_pose, random_pose

SHAPES = np.random.default_rng(5).uniform(-2, 2, (4, 10))


@pytest.fixture
def body():
    return read_body(body_file("neutral"))


def skin(body, shape, size=1.0) -> np.ndarray:  # [V, 3] at rest, its middle at the origin
    points = size * (body.template + body.shapes @ shape)
    return points - points.mean(0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_found_from_its_joints(body, shape):
    fitted = fitting.fit(body, body.rest_joints(shape)[:22] + np.array([3.0, -1.0, 2.0]))
    error = np.linalg.norm(skin(body, fitted.shape, fitted.size) - skin(body, shape), axis=1)
    assert error.mean() < 0.0015 and error.max() < 0.007 and fitted.residual < 0.001


def test_a_body_of_another_size_is_found(body):
    fitted = fitting.fit(body, 1.4 * body.joints[:22])
    assert fitted.size == pytest.approx(1.4, abs=0.02) and np.abs(fitted.shape).max() < 0.3
    assert fitted.residual < 2e-3


def test_strange_bones_give_no_strange_body(body):
    strange = body.joints[:22] * [1.0, 1.0, 3.0] + np.random.default_rng(1).normal(0, 0.05, (22, 3))
    fitted = fitting.fit(body, strange)
    assert np.abs(fitted.shape).max() <= fitting.LARGEST_SHAPE and 0.5 < fitted.size < 2.0
    assert fitted.residual > 0.02


def posed(shape: np.ndarray, body) -> bpy.types.Object:
    """A rig with the bones of a body of some shape, and no mesh that would tell it."""
    rotations = random_pose(24, 4, 0.3)
    target = build_rig(rest=body.rest_joints(shape))
    put_pose(target, joints.SMPL, rotations, np.array([0.2, 0.1, -0.4]))
    return target


def dressed(target: bpy.types.Object, garment: str) -> np.ndarray:  # [M, 3]
    return meshes.get_positions(dressing.dress(bpy.context, target, garment, "MESH", "CLOTHES").data)


@pytest.mark.parametrize("shape", SHAPES)
def test_clothes_fit_a_rig_without_shape_keys(scene, body, shape):
    """Against what the garment is with the very shape; without the fit it is far off."""
    target = posed(shape, body)
    found = dressed(target, "tee-trousers")
    pose = read_pose(target, bpy.context.evaluated_depsgraph_get(), rest_of(target))
    garment = opened.open_garment(library.entry("tee-trousers"))
    translation = pose.translation(body.rest_joints(shape)[0])
    expected, _ = garment.decode(Poses(pose.rotations[None], translation[None], shape), DecodeOptions("mesh"))
    error = np.linalg.norm(found - expected[0] @ BLENDER.T, axis=1)
    assert error.mean() < 0.003 and error.max() < 0.012
    worn = selection.clothes_of(target)[0]
    worn.scale_clothing.fit_to_rig = False
    without = np.linalg.norm(meshes.get_positions(worn.data) - expected[0] @ BLENDER.T, axis=1)
    assert without.mean() > 3 * error.mean()


def test_the_plain_rig_is_as_without_a_fit(scene, body, garment_files):
    target = posed(np.zeros(10), body)
    found = dressed(target, garment_files["skirt"])
    worn = selection.clothes_of(target)[0]
    worn.scale_clothing.fit_to_rig = False
    np.testing.assert_allclose(meshes.get_positions(worn.data), found, atol=1e-4)


def test_shape_keys_win(character, body, garment_files):
    """The sample character's bones are those of the mean body; its mesh has a shape."""
    bpy.data.objects["SCALE Body"].data.shape_keys.key_blocks["Shape000"].value = 2.0
    rest = rest_of(character)
    fitted = fitting.body_for(character, rest, body)
    assert fitted.shape[0] == 2.0 and fitted.size == 1.0 and fitted.residual == 0.0


def test_a_bake_is_fitted_too(scene, body, garment_files, bake_folder):
    target = posed(SHAPES[0], body)
    shown = dressed(target, garment_files["skirt"])
    worn = selection.clothes_of(target)[0]
    scene.frame_start = scene.frame_end = 1
    scene.scale_clothing.rig = target
    bpy.ops.scale_clothing.bake()
    evaluated = worn.evaluated_get(bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(meshes.get_positions(evaluated.data), shown, atol=1e-5)


def test_what_remains_is_told(scene, body, garment_files):
    target = posed(np.zeros(10), body)
    worn = dressing.dress(bpy.context, target, garment_files["skirt"], "MESH", "CLOTHES")
    assert proportions.fit_told(worn) == ""
    entry = library.entry(garment_files["skirt"])
    tall = build_rig(rest=body.joints * 1.3)
    assert proportions.warning(tall, entry) == "" and "more" in proportions.warning(tall, entry, to_bones=False)
    odd = body.joints.copy()
    odd[[7, 8, 10, 11], 1] -= 0.3
    assert "shins measure" in proportions.warning(build_rig(rest=odd), entry)
    worn.scale_clothing.rig = build_rig(rest=odd)
    assert proportions.fit_told(worn).endswith(" mm)")
