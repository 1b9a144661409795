"""Clothes whose faces are others in each frame."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
import trimesh

from blender_addon.bake import baking, plan
from blender_addon.blender import meshes
from blender_addon.clothes import mesh, selection
from blender_addon.garments import library
from scale_backend.formats import joints
from tests.addon.rigs import put_pose, random_pose


def test_a_poisson_surface_follows_the_pose_and_is_baked_to_files(character, scene, bake_folder):
    chosen = scene.scale_clothing
    chosen.garment, chosen.surface = "dress-body", "POISSON"
    assert bpy.ops.scale_clothing.generate() == {"FINISHED"}
    obj = selection.clothes_of(character)[0]
    assert obj.scale_clothing.surface == "POISSON"
    first, faces = meshes.get_positions(obj.data), len(obj.data.polygons)
    assert faces > 1000 and obj.data.materials[0] == obj.scale_clothing.cloth_material

    put_pose(character, joints.SMPL, random_pose(24, 4, 0.3)[:24], np.array([0.2, 0.1, -0.4]))
    mesh.follow(obj, bpy.context.evaluated_depsgraph_get())
    assert not obj.data.validate()
    assert len(obj.data.polygons) != faces
    assert np.linalg.norm(meshes.get_positions(obj.data).mean(0) - first.mean(0)) > 0.2
    assert obj.data.materials[0] == obj.scale_clothing.cloth_material
    assert {mesh.NORMAL, mesh.PATCH} <= set(obj.data.attributes.keys())

    for format_key in ("PC2", "USD"):
        with pytest.raises(RuntimeError, match="cannot be baked to one file; choose PLY or OBJ files"):
            bpy.ops.scale_clothing.bake(format=format_key)
    character.pose.bones["left_hip"].rotation_mode = "XYZ"
    for frame, angle in ((5, 0.0), (7, -0.6)):
        character.pose.bones["left_hip"].rotation_euler.x = angle
        character.pose.bones["left_hip"].keyframe_insert("rotation_euler", frame=frame)
    character.location.x = 1.5
    scene.frame_start, scene.frame_end = 5, 7
    assert bpy.ops.scale_clothing.bake(format="PLY") == {"FINISHED"}
    files = sorted(bake_folder.iterdir())
    assert [each.name[-9:] for each in files] == ["00005.ply", "00006.ply", "00007.ply"]
    expected = []
    for frame, path in zip((5, 6, 7), files, strict=True):
        scene.frame_set(frame)
        read = trimesh.load(path, process=False)
        expected.append(np.add(meshes.get_positions(obj.data), [1.5, 0, 0]))
        assert len(read.faces) == len(obj.data.polygons)
        np.testing.assert_allclose(read.vertices, expected[-1], atol=1e-5)
    assert len({len(each) for each in expected}) == 3  # each has vertices of its own

    contents = [each.read_bytes() for each in files]
    files[1].unlink()
    settings = plan.BakeSettings(str(bake_folder), 5, 7, format="PLY", keep=True)  # as farms bake
    assert [step.done for step in baking.bake(scene, [obj], settings)][-1] == 5  # the third is not made again
    assert [each.read_bytes() for each in files] == contents


def test_it_is_offered_only_where_there_are_patches_on_the_body():
    assert "POISSON" not in library.entry("dress").surfaces()
    assert library.entry("dress-body").surfaces()[-1] == "POISSON"
