"""Several characters in one scene, linked and overridden ones; what happens when they are copied, renamed, deleted."""

from __future__ import annotations

import bpy
import numpy as np
import pytest

from blender_addon import messages
from blender_addon.blender import meshes
from blender_addon.characters import motion, sample
from blender_addon.clothes import dressing, live, selection, skin_mask
from blender_addon.rig import shape
from scale_backend.formats import joints
from tests.addon.rigs import put_pose, random_pose

FAR = 0.05  # metres: what moves by this much has followed


def points(obj: bpy.types.Object) -> np.ndarray:
    return meshes.get_positions(obj.data)


def update() -> None:
    live.update(bpy.context.scene, bpy.context.evaluated_depsgraph_get())


def pose(target: bpy.types.Object, seed: int) -> None:
    put_pose(target, joints.SMPL, random_pose(24, seed, 0.3), np.zeros(3))
    update()


def select(*chosen: bpy.types.Object) -> None:
    for obj in bpy.context.scene.objects:
        obj.select_set(obj in chosen)
    bpy.context.view_layer.objects.active = chosen[0]


def library(path: str) -> None:
    """A file with the sample character in the collection Cast; then a new file."""
    cast = bpy.data.collections.new("Cast")
    bpy.context.scene.collection.children.link(cast)
    bpy.context.view_layer.active_layer_collection = bpy.context.view_layer.layer_collection.children["Cast"]
    sample.add_character(bpy.context)
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)


@pytest.fixture
def plain(scene, garment_files) -> np.ndarray:
    """The skirt on the plain sample character, at rest."""
    target = sample.add_character(bpy.context)
    found = points(dressing.dress(bpy.context, target, garment_files["skirt"], "MESH", "CLOTHES"))
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    return found


def test_a_linked_rig_can_be_dressed(scene, garment_files, plain, tmp_path):
    library(str(tmp_path / "cast.blend"))
    with bpy.data.libraries.load(str(tmp_path / "cast.blend"), link=True) as (_, wanted):
        wanted.collections = ["Cast"]
    bpy.context.scene.collection.children.link(wanted.collections[0])
    target = next(obj for obj in bpy.context.scene.objects if obj.type == "ARMATURE")
    assert target.library is not None
    obj = dressing.dress(bpy.context, target, garment_files["skirt"], "MESH", "CLOTHES")
    np.testing.assert_allclose(points(obj), plain, atol=1e-4)
    assert obj.library is None and selection.clothes_of(target) == [obj]
    skin_mask.remove(obj)
    dressing.remove(obj)
    with pytest.raises(messages.AddonError, match="make a library override of it first"):
        motion.apply_motion_file(bpy.context.scene, target, motion.shipped_motions()[0], motion.MotionSettings())


def test_an_overridden_rig_can_be_dressed_and_moved(scene, garment_files, plain, tmp_path):
    library(str(tmp_path / "cast.blend"))
    with bpy.data.libraries.load(str(tmp_path / "cast.blend"), link=True) as (_, wanted):
        wanted.collections = ["Cast"]
    scene = bpy.context.scene
    scene.collection.children.link(wanted.collections[0])
    wanted.collections[0].override_hierarchy_create(scene, bpy.context.view_layer)
    target = next(o for o in scene.objects if o.type == "ARMATURE" and o.override_library)
    obj = dressing.dress(bpy.context, target, garment_files["skirt"], "MESH", "CLOTHES")
    np.testing.assert_allclose(points(obj), plain, atol=1e-4)
    live.watch()
    motion.apply_motion_file(scene, target, motion.shipped_motions()[0], motion.MotionSettings())
    scene.frame_set(20)
    assert np.abs(points(obj) - plain).max() > FAR


def test_a_copy_of_a_dressed_character_has_clothes_of_its_own(dressed, character):
    before = points(dressed)
    select(character, bpy.data.objects["SCALE Body"], dressed)
    bpy.ops.object.duplicate()
    copy = bpy.context.view_layer.objects.active
    assert copy != character
    (worn,) = selection.clothes_of(copy)
    assert worn != dressed and worn.parent == copy and worn.data != dressed.data
    assert selection.clothes_of(character) == [dressed]
    pose(copy, seed=5)
    assert np.abs(points(worn) - before).max() > FAR
    np.testing.assert_allclose(points(dressed), before, atol=1e-6)


def test_a_linked_copy_gets_a_mesh_of_its_own(dressed, character):
    """Alt D leaves both objects one mesh, which two characters cannot share."""
    before = points(dressed)
    select(character, bpy.data.objects["SCALE Body"], dressed)
    bpy.ops.object.duplicate(linked=True)
    copy = bpy.context.view_layer.objects.active
    (worn,) = selection.clothes_of(copy)
    pose(copy, seed=5)
    assert worn.data != dressed.data
    assert np.abs(points(worn) - before).max() > FAR
    np.testing.assert_allclose(points(dressed), before, atol=1e-6)


def test_a_copy_of_the_rig_and_body_alone_is_bare(dressed, character, garment_files):
    select(character, bpy.data.objects["SCALE Body"])
    bpy.ops.object.duplicate()
    copy = bpy.context.view_layer.objects.active
    assert selection.clothes_of(copy) == []
    worn = dressing.dress(bpy.context, copy, garment_files["body"], "POINTS", "CLOTHES")
    assert selection.clothes_of(copy) == [worn] and selection.clothes_of(character) == [dressed]


def test_characters_in_different_garments(dressed, character, scene, garment_files):
    bpy.ops.scale_clothing.add_character()
    scene.scale_clothing.garment = garment_files["body"]
    bpy.ops.scale_clothing.generate()
    other = scene.scale_clothing.rig
    (points_worn,) = selection.clothes_of(other)
    before = points(dressed), points(points_worn)
    assert len(before[0]) != len(before[1])
    pose(other, seed=6)
    np.testing.assert_allclose(points(dressed), before[0], atol=1e-6)
    assert np.abs(points(points_worn) - before[1]).max() > FAR


def test_names_mean_nothing(dressed, character, scene):
    before = points(dressed)
    character.name, dressed.name, character.data.name = "Anna", "Kleid", "Knochen"
    bpy.ops.scale_clothing.add_character()
    scene.scale_clothing.rig.name = "SCALE Character"
    pose(character, seed=7)
    assert np.abs(points(dressed) - before).max() > FAR
    assert dressed.scale_clothing.live


def test_deleting_one_character_leaves_the_other(dressed, character, scene):
    bpy.ops.scale_clothing.add_character()
    bpy.ops.scale_clothing.generate()
    other = scene.scale_clothing.rig
    (worn,) = selection.clothes_of(other)
    select(character, *shape.meshes_of(character))
    bpy.ops.object.delete()
    before = points(worn)
    pose(other, seed=8)
    assert np.abs(points(worn) - before).max() > FAR and worn.scale_clothing.live
    assert not dressed.scale_clothing.live and "is gone" in messages.last_error()
    select(worn)
    bpy.ops.object.delete()
    assert selection.clothes_of(other) == []
    bpy.context.scene.frame_set(4)
