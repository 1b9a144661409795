"""Clothes on characters with bodies that are not ours."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from bpy.types import Object
from mathutils import Matrix

from blender_addon.blender import meshes
from blender_addon.clothes import dressing, mesh, proportions, skin_mask
from blender_addon.garments import library
from blender_addon.messages import AddonError
from blender_addon.rig import wearer
from blender_addon.rig.body_mesh import find_skin
from blender_addon.rig.rest import rest_of
from tests.addon.bodies import garmentcode_character, makehuman_character
from tests.strangers import depths

ARMS_OF_RIGIFY = ("upper_arm.L", "upper_arm.R")


@pytest.fixture
def stranger(scene) -> Object:
    return makehuman_character("mixamo", "woman")


def body_of(target: Object) -> Object:
    return next(child for child in target.children if not child.scale_clothing.is_clothes)


def posed_skin(target: Object) -> tuple[np.ndarray, np.ndarray]:
    """The body as Blender poses it, in the armature's space, and its triangles."""
    body = body_of(target)
    evaluated = body.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    evaluated.calc_loop_triangles()
    triangles = np.array([triangle.vertices for triangle in evaluated.loop_triangles])
    return meshes.get_positions(evaluated), triangles


def from_its_head(target: Object) -> Object:
    """The same character with its origin in the head."""
    head = Matrix.Translation(-target.data.bones["spine.006"].head_local)
    target.data.transform(head)
    body_of(target).data.transform(head)
    return target


def lower_arms(target: Object, names: tuple[str, str], angle: float = 0.6) -> None:
    for name, side in zip(names, (1, -1), strict=True):
        bone = target.pose.bones[name]
        bone.rotation_mode = "XYZ"
        bone.rotation_euler = (0.3, 0.0, side * angle)
    bpy.context.view_layer.update()


@pytest.mark.parametrize(
    ("make", "arms", "unit"),
    [
        (lambda unit: makehuman_character("mixamo", "woman", unit), ("mixamorig:LeftArm", "mixamorig:RightArm"), 1.0),
        (lambda unit: makehuman_character("game_engine", "child", unit), ("upperarm_l", "upperarm_r"), 100.0),
        (lambda unit: garmentcode_character("male", unit), ("left_shoulder", "right_shoulder"), 1.0),
        (lambda unit: from_its_head(makehuman_character("rigify_human", "man", unit)), ARMS_OF_RIGIFY, 100.0),
    ],
    ids=["mixamo", "centimetres", "smpl names", "centimetres from its head"],
)
def test_clothes_lie_on_the_characters_own_skin(scene, make, arms, unit):
    """As Blender poses its mesh by all of its bones: nothing deeper than 2 mm in it but one vertex in a hundred."""
    target = make(unit)
    lower_arms(target, arms)
    obj = dressing.dress(bpy.context, target, "tee-trousers", "MESH", "CLOTHES")
    obj.scale_clothing.hide_skin = False
    points = meshes.get_positions(obj.data) / unit
    skin, triangles = posed_skin(target)
    deep = depths(points, skin / unit, triangles)
    assert (deep > 0.002).mean() < 0.01
    assert np.median(-deep) < 0.03
    told = proportions.surface_told(obj)
    assert told[0].startswith("Body: 'Stranger Body', ") and "mm from the garment's" in told[0]
    assert proportions.warning(target, library.entry("tee-trousers")) == ""


def test_without_its_mesh_a_character_is_fitted_by_its_bones(stranger):
    obj = dressing.dress(bpy.context, stranger, "tee-trousers", "MESH", "CLOTHES")
    on_mesh = meshes.get_positions(obj.data)
    obj.scale_clothing.fit_to_body = False
    by_bones = meshes.get_positions(obj.data)
    assert np.linalg.norm(on_mesh - by_bones, axis=1).max() > 0.01
    assert proportions.surface_told(obj) == ()
    obj.scale_clothing.fit_to_body = True
    np.testing.assert_allclose(meshes.get_positions(obj.data), on_mesh, atol=1e-4)


def test_the_sample_character_is_dressed_as_ever(character):
    """Its body is the garment's own, whatever its shape keys say."""
    rest, body = rest_of(character), library.entry("dress").body()
    assert wearer.skin_taken(character, rest).meshes == ("SCALE Body",)
    assert wearer.wearer_of(character, rest, body) is None
    bpy.data.objects["SCALE Body"].data.shape_keys.key_blocks["Shape001"].value = 2.0
    assert wearer.wearer_of(character, rest, body) is None


def test_the_body_is_told_from_clothes_and_can_be_chosen(stranger):
    body, rest = body_of(stranger), rest_of(stranger)
    suit = bpy.data.objects.new("Suit", body.data.copy())
    bpy.context.collection.objects.link(suit)
    for group in body.vertex_groups:
        suit.vertex_groups.new(name=group.name)
    suit.modifiers.new("Armature", "ARMATURE").object = stranger
    bare = [suit.vertex_groups[f"mixamorig:{name}"] for name in ("Head", "LeftHand", "RightHand", "LeftToeBase")]
    for group in bare:
        group.remove(range(len(suit.data.vertices)))
    assert find_skin(stranger, rest).meshes == (body.name,)
    assert wearer.skin_taken(stranger, rest).meshes == (body.name,)
    stranger.scale_clothing.body = suit
    assert wearer.skin_taken(stranger, rest).meshes == ("Suit",)
    bpy.data.objects.remove(suit)
    assert wearer.skin_taken(stranger, rest).meshes == (body.name,)
    hat = bpy.data.objects.new("Hat", meshes.make_mesh("Hat", np.eye(3, dtype=np.float32), np.array([[0, 1, 2]])))
    hat.modifiers.new("Armature", "ARMATURE").object = stranger
    bpy.context.collection.objects.link(hat)
    stranger.scale_clothing.body = hat
    with pytest.raises(AddonError, match="'Hat' cannot be used as the body of 'Stranger': A mesh of 3 vertices"):
        wearer.wearer_of(stranger, rest, library.entry("dress").body())


def test_shape_keys_that_stay_make_the_body(stranger):
    body, rest, ours = body_of(stranger), rest_of(stranger), library.entry("dress").body()
    first = wearer.wearer_of(stranger, rest, ours)
    assert wearer.wearer_of(stranger, rest, ours) is first  # read once
    body.shape_key_add(name="Basis")
    for name in ("Belly", "Smile", "Corrective"):
        block = body.shape_key_add(name=name)
        block.data[0].co.x += 0.2
    blocks = body.data.shape_keys.key_blocks
    blocks["Smile"].value = 1.0
    blocks["Smile"].keyframe_insert("value", frame=1)
    curve = blocks["Corrective"].driver_add("value")
    variable = curve.driver.variables.new()
    variable.type = "TRANSFORMS"
    variable.targets[0].id, variable.targets[0].bone_target = stranger, "mixamorig:LeftArm"
    wearer.look_again(stranger)
    plain = wearer.wearer_of(stranger, rest, ours)
    assert plain.digest == first.digest  # neither a face that moves nor a corrective of a pose is the body's shape
    blocks["Belly"].value = 0.5
    moved = wearer.wearer_of(stranger, rest, ours)
    away = np.linalg.norm(moved.vertices - plain.vertices, axis=1)
    assert away[0] == pytest.approx(0.1, abs=1e-5) and away[1:].max() == 0
    blocks["Smile"].value = 0.2
    assert wearer.wearer_of(stranger, rest, ours) is moved


def test_shape_keys_that_change_with_the_frame_are_no_shape(stranger, scene):
    """Whatever moves them: an add-on's handler, say. A slider that the user moves changes the body."""
    body, rest, ours = body_of(stranger), rest_of(stranger), library.entry("dress").body()
    body.shape_key_add(name="Basis")
    for name in ("Breath", "Belly", "Pose007"):
        body.shape_key_add(name=name).data[0].co.x += 0.2
    blocks = body.data.shape_keys.key_blocks
    first = wearer.wearer_of(stranger, rest, ours)
    blocks["Pose007"].value = 1.0  # a corrective by its name
    assert wearer.wearer_of(stranger, rest, ours) is first
    scene.frame_set(2)
    blocks["Breath"].value = 0.5
    assert wearer.wearer_of(stranger, rest, ours) is first
    blocks["Breath"].value = 0.7
    assert wearer.wearer_of(stranger, rest, ours) is first
    blocks["Belly"].value = 0.5
    assert wearer.wearer_of(stranger, rest, ours) is not first


def test_helpers_are_left_out_and_hidden_skin_is_not(stranger):
    body, rest, ours = body_of(stranger), rest_of(stranger), library.entry("dress").body()
    whole = len(wearer.wearer_of(stranger, rest, ours).vertices)
    helpers = body.vertex_groups.new(name="body")
    helpers.add(range(10000), 1.0, "REPLACE")
    keep = body.modifiers.new("Hide helpers", "MASK")
    keep.vertex_group = "body"
    wearer.look_again(stranger)
    assert len(wearer.wearer_of(stranger, rest, ours).vertices) <= 10000 < whole
    keep.invert_vertex_group = True  # as a mask that hides skin under clothes
    wearer.look_again(stranger)
    assert len(wearer.wearer_of(stranger, rest, ours).vertices) == whole


def test_covered_skin_is_hidden_by_itself(stranger):
    obj = dressing.dress(bpy.context, stranger, "tee-trousers", "MESH", "CLOTHES")
    assert obj.scale_clothing.hide_skin
    body = body_of(stranger)
    group = body.vertex_groups[skin_mask.GROUP]
    hidden = [any(e.group == group.index for e in vertex.groups) for vertex in body.data.vertices]
    assert 0.15 < np.mean(hidden) < 0.6
    head = body.vertex_groups["mixamorig:Head"].index
    assert not any(h and any(e.group == head and e.weight > 0.9 for e in v.groups)
                   for h, v in zip(hidden, body.data.vertices, strict=True))  # fmt: skip
    again = mesh.follow  # what is hidden does not change what is read
    again(obj, bpy.context.evaluated_depsgraph_get())
    wearer.look_again(stranger)
    assert len(wearer.wearer_of(stranger, rest_of(stranger), library.entry("dress").body()).vertices) == len(
        body.data.vertices
    )


def test_a_bake_is_of_the_same_clothes(stranger, scene, bake_folder):
    lower_arms(stranger, ("mixamorig:LeftArm", "mixamorig:RightArm"))
    scene.scale_clothing.rig = stranger
    scene.scale_clothing.garment = "dress"
    bpy.ops.scale_clothing.generate()
    from blender_addon.clothes.selection import clothes_of

    (obj,) = clothes_of(stranger)
    shown = meshes.get_positions(obj.data)
    scene.frame_start = scene.frame_end = 1
    bpy.ops.scale_clothing.bake()
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    np.testing.assert_allclose(meshes.get_positions(evaluated.data), shown, atol=1e-5)
