"""Bodies in several meshes, and with modifiers that make their shape."""

from __future__ import annotations

import bmesh
import bpy
import numpy as np
import pytest
from bpy.types import Object
from scipy.spatial import cKDTree

from blender_addon.blender import meshes
from blender_addon.clothes import dressing, proportions
from blender_addon.rig import wearer
from blender_addon.rig.body_mesh import find_skin
from blender_addon.rig.rest import rest_of
from tests.addon.bodies import makehuman_character

MILLIMETRE = 1e-3


@pytest.fixture
def stranger(scene) -> Object:
    return makehuman_character("game_engine", "woman")


def keep(body: Object, kept: np.ndarray) -> None:  # [V] bool
    """Deletes the other vertices."""
    edited = bmesh.new()
    edited.from_mesh(body.data)
    edited.verts.ensure_lookup_table()
    gone = [edited.verts[number] for number in np.flatnonzero(~kept)]
    bmesh.ops.delete(edited, geom=gone, context="VERTS")
    edited.to_mesh(body.data)
    edited.free()


def split(body: Object, name: str, below: float, above: float) -> Object:
    part = body.copy()
    part.data, part.name = body.data.copy(), name
    bpy.context.collection.objects.link(part)
    heights = meshes.get_positions(part.data)[:, 2]
    keep(part, (heights > below) & (heights < above))
    return part


def evaluated(body: Object) -> np.ndarray:  # [V, 3] at rest
    bpy.context.view_layer.update()
    return meshes.get_positions(body.evaluated_get(bpy.context.evaluated_depsgraph_get()).data)


def test_a_body_in_several_meshes_is_taken_as_one(stranger):
    """Head, torso and legs; a jacket over the torso is no part of it."""
    body, rest = stranger.children[0], rest_of(stranger)
    whole = find_skin(stranger, rest)
    waist, neck = stranger.data.bones["spine_01"].head_local.z, stranger.data.bones["neck_01"].head_local.z
    split(body, "Legs", -10, waist + 0.03)
    split(body, "Torso", waist - 0.03, neck + 0.03)
    split(body, "Head", neck - 0.03, 10)
    jacket = split(body, "Jacket", waist + 0.1, neck)
    jacket.data.transform(jacket.matrix_world.Scale(1.02, 4))
    bpy.data.objects.remove(body)
    found = find_skin(stranger, rest)
    assert set(found.meshes) == {"Legs", "Torso", "Head"}
    assert cKDTree(found.vertices).query(whole.vertices)[0].max() < 0.1 * MILLIMETRE
    assert found.weights.shape == (len(found.vertices), 22)
    obj = dressing.dress(bpy.context, stranger, "tee-trousers", "MESH", "CLOTHES")
    told = proportions.surface_told(obj)[0]
    assert all(f"'{name}'" in told for name in found.meshes)
    stranger.scale_clothing.body = jacket
    assert wearer.skin_taken(stranger, rest).meshes == ("Jacket",)


def test_half_a_body_has_another_by_its_mirror(stranger):
    body, rest = stranger.children[0], rest_of(stranger)
    keep(body, meshes.get_positions(body.data)[:, 0] > -1e-5)
    assert find_skin(stranger, rest) is None
    body.modifiers.new("Mirror", "MIRROR")
    body.modifiers.move(1, 0)
    found = find_skin(stranger, rest)
    there = evaluated(body)
    assert cKDTree(found.vertices).query(there)[0].max() < MILLIMETRE
    assert cKDTree(there).query(found.vertices)[0].max() < MILLIMETRE
    right = found.vertices[:, 0] < -0.02
    assert found.weights[right][:, [1, 4, 7, 16, 18, 20]].max() < 0.3  # the left limbs
    assert found.weights[right][:, [2, 5, 8, 17, 19, 21]].max(0).min() > 0.9


def test_a_subdivided_body_is_its_smooth_surface(stranger):
    """A cage lies outside the surface that is seen, where it is coarse by centimetres."""
    body, rest = stranger.children[0], rest_of(stranger)
    modifier = body.modifiers.new("Subdivision", "SUBSURF")
    modifier.levels = 2
    cage = meshes.get_positions(body.data)
    tree = cKDTree(evaluated(body))
    used = cage[np.unique([corner for face in body.data.polygons for corner in face.vertices])]
    found = find_skin(stranger, rest)
    assert len(found.vertices) == len(used)
    assert tree.query(used)[0].max() > 2 * MILLIMETRE
    assert np.percentile(tree.query(found.vertices)[0], 99) < 0.05 * MILLIMETRE
    modifier.show_viewport = False
    np.testing.assert_allclose(find_skin(stranger, rest).vertices, used, atol=1e-6)


def test_modifiers_that_are_not_read_are_told(stranger):
    stranger.children[0].modifiers.new("Bulge", "DISPLACE").strength = 0.0
    obj = dressing.dress(bpy.context, stranger, "tee-trousers", "MESH", "CLOTHES")
    assert "The body is taken without its modifiers Bulge, which clothes do not see" in proportions.surface_told(obj)
