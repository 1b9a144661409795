"""Clothes whose faces are others in each frame."""

from __future__ import annotations

import bpy
import numpy as np
import pytest

from blender_addon import clothes, garments, meshes
from scale_backend import joints
from tests.addon.rigs import put_pose, random_pose


def test_a_poisson_surface_follows_the_pose_and_cannot_be_baked(character, scene, bake_folder):
    chosen = scene.scale_clothing
    chosen.garment, chosen.surface = "dress-body", "POISSON"
    assert bpy.ops.scale_clothing.generate() == {"FINISHED"}
    obj = clothes.clothes_of(character)[0]
    assert obj.scale_clothing.surface == "POISSON"
    first, faces = meshes.get_positions(obj.data), len(obj.data.polygons)
    assert faces > 1000 and obj.data.materials[0] == obj.scale_clothing.cloth_material

    put_pose(character, joints.SMPL, random_pose(24, 4, 0.3)[:24], np.array([0.2, 0.1, -0.4]))
    clothes.follow(obj, bpy.context.evaluated_depsgraph_get())
    assert not obj.data.validate()
    assert len(obj.data.polygons) != faces
    assert np.linalg.norm(meshes.get_positions(obj.data).mean(0) - first.mean(0)) > 0.2
    assert obj.data.materials[0] == obj.scale_clothing.cloth_material
    assert {clothes.NORMAL, clothes.PATCH} <= set(obj.data.attributes.keys())

    with pytest.raises(RuntimeError, match="cannot be baked; choose another surface"):
        bpy.ops.scale_clothing.bake()


def test_it_is_offered_only_where_there_are_patches_on_the_body():
    assert "POISSON" not in garments.entry("dress").surfaces()
    assert garments.entry("dress-body").surfaces()[-1] == "POISSON"
