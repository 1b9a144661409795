"""Clothes are what the engine decodes, follow the rig, and leave the scene as they found it."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
import torch

from blender_addon.appearance import materials, modifiers
from blender_addon.blender import meshes
from blender_addon.clothes import dressing, live, selection, skin_mask
from blender_addon.clothes.mesh import follow
from blender_addon.rig import recognition
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats import joints
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import load_garment
from tests.addon.rigs import BLENDER, put_pose, random_pose
from tests.making import write_garment


def expected(file: str, rotations: np.ndarray, moved: np.ndarray, surface: str = "mesh", part: str = "clothes",
             shape: np.ndarray | None = None) -> np.ndarray:  # fmt: skip
    """Clothes as the engine decodes them in this process, in Blender's axes."""
    decoder = Decoder(load_garment(file), load_body(), "cpu", "auto")
    tensors = [torch.as_tensor(np.asarray(array, np.float32)) for array in (rotations[None], moved[None])]
    shape = None if shape is None else torch.as_tensor(shape, dtype=torch.float32)
    return decoder.decode(Poses(*tensors, shape), DecodeOptions(surface, part))[0][0].numpy() @ BLENDER.T


def lift() -> np.ndarray:
    return np.array([0.0, 0.0, -load_body().template[:, 1].min().item()])


def posed(seed: int = 4, size: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    return random_pose(24, seed, size), np.array([0.2, 0.1, -0.4])


def test_generated_clothes_are_the_engines(character, scene, garment_files):
    rotations, moved = posed()
    put_pose(character, joints.SMPL, rotations, moved)
    scene.scale_clothing.garment = garment_files["skirt"]
    assert bpy.ops.scale_clothing.generate() == {"FINISHED"}
    obj = selection.clothes_of(character)[0]
    np.testing.assert_allclose(
        meshes.get_positions(obj.data), expected(garment_files["skirt"], rotations, moved) + lift(), atol=1e-4
    )
    assert obj.parent == character
    assert len(obj.data.polygons) > 100
    assert obj.data.uv_layers.active is not None
    assert not obj.data.validate()


def test_colours_of_scans_become_a_colour_attribute(character, scene, garment_files):
    from blender_addon import settings as addon_settings
    from scale_backend.decoding.colors import decode_colors

    file = str(write_garment(addon_settings.garment_folder() / "colored.safetensors", "body", colors=True))
    decoder = Decoder(load_garment(file), load_body(), "cpu", "auto")
    scene.scale_clothing.garment = file
    bpy.ops.scale_clothing.generate()
    obj = selection.clothes_of(character)[0]
    for rotations in (random_pose(24, size=0.0), posed()[0]):
        put_pose(character, joints.SMPL, rotations, np.zeros(3))
        follow(obj, bpy.context.evaluated_depsgraph_get())
        colors = decode_colors(decoder, torch.as_tensor(rotations[None], dtype=torch.float32))[0].numpy()
        found = np.empty((len(obj.data.vertices), 4), np.float32)
        obj.data.color_attributes["color"].data.foreach_get("color_srgb", found.ravel())
        np.testing.assert_allclose(found[:, :3], colors, atol=2e-3)
        assert colors.std() > 0.05 and (found[:, 3] == 1).all()
    scene.scale_clothing.garment = garment_files["skirt"]
    bpy.ops.scale_clothing.generate()
    assert "color" not in selection.clothes_of(character)[0].data.color_attributes


@pytest.mark.parametrize("part", ["CLOTHES", "WHOLE_BODY"])
def test_points_of_a_body_garment(character, scene, garment_files, part):
    scene.scale_clothing.garment, scene.scale_clothing.part = garment_files["body"], part
    bpy.ops.scale_clothing.generate()  # asked for a mesh: what there is, is points
    obj = selection.clothes_of(character)[0]
    wire = {"CLOTHES": "clothes", "WHOLE_BODY": "whole body"}[part]
    points = expected(garment_files["body"], random_pose(24, size=0.0), np.zeros(3), "points", wire)
    np.testing.assert_allclose(meshes.get_positions(obj.data), points + lift(), atol=1e-4)
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    cloud = evaluated.evaluated_geometry_set().pointcloud if hasattr(evaluated, "evaluated_geometry_set") else None
    if cloud is not None:
        assert len(cloud.points) == len(points)
        assert {"normal", "patch", materials.PATCH_COLOR} <= set(cloud.attributes.keys())


def test_clothes_go_where_the_armature_object_goes(dressed, character):
    before = meshes.evaluated_positions(dressed, bpy.context.evaluated_depsgraph_get())
    character.location, character.rotation_euler, character.scale = (1, 2, 3), (0.3, 0.2, 1), (2, 2, 2)
    follow(dressed, bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(meshes.get_positions(dressed.data), before, atol=1e-6)
    assert np.allclose(dressed.matrix_world, character.matrix_world)


def test_the_bodys_shape_counts(character, scene, garment_files):
    skin = bpy.data.objects["SCALE Body"]
    skin.data.shape_keys.key_blocks["Shape001"].value = 2.0
    shape = np.zeros(10)
    shape[1] = 2.0
    obj = dressing.dress(bpy.context, character, garment_files["skirt"], "MESH", "CLOTHES")
    points = expected(garment_files["skirt"], random_pose(24, size=0.0), np.zeros(3), shape=shape)
    np.testing.assert_allclose(meshes.get_positions(obj.data), points + lift(), atol=1e-4)

    bpy.ops.scale_clothing.fit_bones()
    shaped = load_body().rest_joints(torch.tensor(shape, dtype=torch.float32)[None])[0].numpy()
    bones = [character.data.bones[name].head_local for name in joints.SMPL]
    np.testing.assert_allclose(bones, shaped @ BLENDER.T + lift(), atol=1e-5)
    follow(obj, bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(meshes.get_positions(obj.data), points + lift(), atol=1e-4)
    rotations, moved = posed()
    put_pose(character, joints.SMPL, rotations, moved)
    follow(obj, bpy.context.evaluated_depsgraph_get())
    points = expected(garment_files["skirt"], rotations, moved, shape=shape)
    np.testing.assert_allclose(meshes.get_positions(obj.data), points + lift(), atol=1e-4)


def test_live_clothes_follow_the_frame(dressed, character, scene):
    bone = character.pose.bones["left_hip"]
    for frame, angle in ((1, 0.0), (20, 0.8)):
        bone.rotation_quaternion = (np.cos(angle / 2), np.sin(angle / 2), 0, 0)
        bone.keyframe_insert("rotation_quaternion", frame=frame)
    scene.frame_set(1)
    first = meshes.evaluated_positions(dressed, bpy.context.evaluated_depsgraph_get())
    scene.frame_set(20)
    last = meshes.evaluated_positions(dressed, bpy.context.evaluated_depsgraph_get())
    assert np.abs(last - first).max() > 0.03
    np.testing.assert_array_equal(last, meshes.get_positions(dressed.data))

    dressed.scale_clothing.live = False
    scene.frame_set(1)
    np.testing.assert_array_equal(meshes.get_positions(dressed.data), last)
    dressed.scale_clothing.live = True  # catches up at once
    np.testing.assert_allclose(meshes.get_positions(dressed.data), first, atol=1e-6)


def test_normals_and_bounds_follow_too(dressed, character):
    """Writing positions alone leaves the shading and the bounding box of the old ones."""
    graph = bpy.context.evaluated_depsgraph_get()
    normals, bounds = dressed.data.vertex_normals[0].vector.copy(), [tuple(c) for c in dressed.bound_box]
    put_pose(character, joints.SMPL, *posed(size=0.6))
    follow(dressed, graph)
    graph.update()
    assert (dressed.data.vertex_normals[0].vector - normals).length > 0.01
    assert bounds != [tuple(c) for c in dressed.bound_box]
    points = meshes.get_positions(dressed.data)
    np.testing.assert_allclose(np.max([tuple(c) for c in dressed.bound_box], 0), points.max(0), atol=1e-5)


def test_handlers_are_there_only_with_live_clothes(dressed):
    def ours() -> list:
        handlers = (*bpy.app.handlers.frame_change_post, *bpy.app.handlers.depsgraph_update_post)
        return [h for h in handlers if h.__module__.startswith("blender_addon")]

    assert len(ours()) == 2
    dressed.scale_clothing.live = False
    assert not ours()
    dressed.scale_clothing.live = True
    assert len(ours()) == 2
    bpy.ops.scale_clothing.remove()
    assert not ours()


def test_another_garment_takes_the_place_of_the_first(dressed, character, scene, garment_files):
    name = dressed.name
    scene.scale_clothing.garment = garment_files["body"]
    bpy.ops.scale_clothing.generate()
    assert selection.clothes_of(character) == [dressed]
    assert dressed.name != name and not len(dressed.data.polygons)
    scene.scale_clothing.garment = garment_files["skirt"]
    bpy.ops.scale_clothing.generate()
    assert len(dressed.data.polygons)


def test_each_character_wears_its_own(dressed, character, scene):
    bpy.ops.scale_clothing.add_character()
    other = scene.scale_clothing.rig
    assert other != character
    bpy.ops.scale_clothing.generate()
    assert len(selection.clothes_of(character)) == len(selection.clothes_of(other)) == 1


def test_removing_leaves_nothing(dressed, character):
    skin = bpy.data.objects["SCALE Body"]
    assert skin.modifiers.get(skin_mask.MODIFIER)
    mesh = dressed.data.name
    bpy.ops.scale_clothing.remove()
    assert selection.clothes_of(character) == []
    assert mesh not in bpy.data.meshes
    assert [m.type for m in skin.modifiers] == ["ARMATURE"]
    assert skin_mask.GROUP not in skin.vertex_groups


def test_covered_skin_is_hidden_and_bare_skin_is_not(dressed):
    skin = bpy.data.objects["SCALE Body"]
    whole = len(skin.data.vertices)
    shown = meshes.evaluated_positions(skin, bpy.context.evaluated_depsgraph_get())
    assert 0.3 * whole < len(shown) < whole
    head = meshes.get_positions(skin.data)[:, 2] > 1.4
    assert (shown[:, 2] > 1.4).sum() == head.sum()
    dressed.scale_clothing.hide_skin = False
    assert len(meshes.evaluated_positions(skin, bpy.context.evaluated_depsgraph_get())) == whole
    dressed.scale_clothing.hide_skin = True
    assert len(meshes.evaluated_positions(skin, bpy.context.evaluated_depsgraph_get())) == len(shown)


def test_border_vertices_of_a_strip():
    strip = np.array([[0, 1, 3], [1, 4, 3], [1, 2, 4], [2, 5, 4]])
    assert skin_mask.border_vertices(strip).tolist() == [0, 1, 2, 3, 4, 5]
    fan = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1]])
    assert skin_mask.border_vertices(fan).tolist() == [1, 2, 3, 4]


def test_the_radius_reaches_the_points(dressed, scene, garment_files):
    scene.scale_clothing.surface = "POINTS"
    bpy.ops.scale_clothing.generate()
    dressed.scale_clothing.radius = 0.01
    modifier = dressed.modifiers[modifiers.MODIFIER]
    socket = next(i for i in modifier.node_group.interface.items_tree if i.name == "Radius")
    assert abs(modifier[socket.identifier] - 0.01) < 1e-7


def test_an_operator_does_what_the_call_does(dressed, character, garment_files):
    by_operator = meshes.get_positions(dressed.data)
    dressing.remove(dressed)
    again = dressing.dress(bpy.context, character, garment_files["skirt"], "MESH", "CLOTHES")
    np.testing.assert_array_equal(meshes.get_positions(again.data), by_operator)


def test_clothes_survive_saving(dressed, character, tmp_path):
    path = str(tmp_path / "saved.blend")
    name, rig_name = dressed.name, character.name
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    assert not bpy.app.handlers.frame_change_post
    bpy.ops.wm.open_mainfile(filepath=path)
    obj, armature = bpy.data.objects[name], bpy.data.objects[rig_name]
    assert selection.clothes_of(armature) == [obj]
    assert live.followers(bpy.context.scene) == [obj]
    assert bpy.app.handlers.frame_change_post
    before = meshes.get_positions(obj.data)
    put_pose(armature, joints.SMPL, *posed())
    bpy.context.scene.frame_set(2)
    assert np.abs(meshes.get_positions(obj.data) - before).max() > 0.05


def test_deleted_clothes_are_forgotten(dressed, character, scene):
    bpy.data.objects.remove(dressed)
    assert selection.clothes_of(character) == []
    scene.frame_set(3)
    assert recognition.is_rig(character)
