"""Surfaces shaded with the normals that the model gives: live, baked, exported, and under other modifiers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
import torch
import trimesh

from blender_addon.bake import baking, plan
from blender_addon.blender import meshes
from blender_addon.clothes import request, thickness
from blender_addon.clothes.mesh import follow
from blender_addon.garments import kinds
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats import joints
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import load_garment
from tests.addon.rigs import BLENDER, put_pose, random_pose

FIRST, LAST = 3, 8


@pytest.fixture
def shaded(dressed, character, scene) -> bpy.types.Object:
    """A skirt that shows the model's normals, on a character that swings a leg."""
    scene.frame_start, scene.frame_end = FIRST, LAST
    leg = character.pose.bones["left_hip"]
    for frame, angle in ((FIRST, -0.4), (LAST, 0.6)):
        leg.rotation_quaternion = (np.cos(angle / 2), np.sin(angle / 2), 0, 0)
        leg.keyframe_insert("rotation_quaternion", frame=frame)
    scene.frame_set(FIRST)
    dressed.scale_clothing.normals = "DECODED"
    return dressed


def shown(obj: bpy.types.Object) -> np.ndarray:  # [V, 3]
    """The normals that corners are rendered with, after all modifiers; those of a vertex are all the same."""
    evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    try:
        corners, vertex = np.empty((len(mesh.loops), 3), np.float32), np.empty(len(mesh.loops), np.int32)
        mesh.corner_normals.foreach_get("vector", corners.ravel())
        mesh.loops.foreach_get("vertex_index", vertex)
        normals = np.zeros((len(mesh.vertices), 3), np.float32)
        normals[vertex] = corners
        assert np.abs(normals[vertex] - corners).max() < 2e-3
        return normals
    finally:
        evaluated.to_mesh_clear()


def of_faces(obj: bpy.types.Object) -> np.ndarray:  # [V, 3] as numpy sums them up
    points = meshes.get_positions(obj.data)
    triangles = np.array([polygon.vertices[:] for polygon in obj.data.polygons])
    return trimesh_normals(points, triangles)


def trimesh_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    return trimesh.Trimesh(points, triangles, process=False).vertex_normals


def frames_of(obj: bpy.types.Object, scene: bpy.types.Scene) -> np.ndarray:  # [F, V, 3]
    found = []
    for frame in range(scene.frame_start, scene.frame_end + 1):
        scene.frame_set(frame)
        found.append(shown(obj))
    return np.stack(found)


def test_they_are_the_engines_and_follow_the_pose(dressed, character, garment_files):
    decoder = Decoder(load_garment(garment_files["skirt"]), load_body(), "cpu", "auto")
    plain = shown(dressed)
    dressed.scale_clothing.normals = "DECODED"
    for rotations in (random_pose(24, size=0.0), random_pose(24, 4, 0.3)):
        put_pose(character, joints.SMPL, rotations, np.zeros(3))
        follow(dressed, bpy.context.evaluated_depsgraph_get())
        bpy.context.view_layer.update()
        pose = torch.as_tensor(rotations[None], dtype=torch.float32)
        expected = decoder.decode(Poses(pose), DecodeOptions(normals="decoded"))[1][0].numpy() @ BLENDER.T
        np.testing.assert_allclose(shown(dressed), expected, atol=5e-3)
    assert dressed.data.attributes[meshes.CUSTOM_NORMAL].domain == "POINT"
    assert not dressed.data.validate()
    put_pose(character, joints.SMPL, random_pose(24, size=0.0), np.zeros(3))
    dressed.scale_clothing.normals = "FACES"
    assert meshes.CUSTOM_NORMAL not in dressed.data.attributes
    np.testing.assert_allclose(shown(dressed), plain, atol=1e-4)


def test_without_live_update_those_of_the_faces_come_back_too(shaded):
    shaded.scale_clothing.live = False
    shaded.scale_clothing.normals = "FACES"
    assert meshes.CUSTOM_NORMAL not in shaded.data.attributes
    assert (np.einsum("vk,vk->v", shown(shaded), of_faces(shaded)) > 0.9).mean() > 0.95


def test_generating_again_keeps_the_choice(shaded, scene):
    before = shown(shaded)
    bpy.ops.scale_clothing.generate()
    np.testing.assert_allclose(shown(shaded), before, atol=1e-5)
    scene.scale_clothing.surface = "POINTS"  # there they are the points' own, and nothing to choose
    bpy.ops.scale_clothing.generate()
    assert meshes.CUSTOM_NORMAL not in shaded.data.attributes and request.shown_normals(shaded) == "FACES"
    scene.scale_clothing.surface = "MESH"
    bpy.ops.scale_clothing.generate()
    np.testing.assert_allclose(shown(shaded), before, atol=1e-5)
    assert [key for key, *_ in kinds.SURFACES if not kinds.has_choice_of_normals(key)] == ["POINTS", "POISSON"]


def test_before_blender_4_5(shaded, scene, bake_folder, monkeypatch):
    """There normals are relative to the faces, and written anew when these have moved."""
    expected = frames_of(shaded, scene)
    shaded.scale_clothing.normals = "FACES"
    plain = frames_of(shaded, scene)
    monkeypatch.setattr(meshes, "FREE_NORMALS", False)
    shaded.scale_clothing.normals = "DECODED"
    np.testing.assert_allclose(frames_of(shaded, scene), expected, atol=2e-3)
    for kind in ("PC2", "ABC", "USD"):
        with pytest.raises(RuntimeError, match=r"only Blender 4\.5 and later play those from one file; choose PLY"):
            bpy.ops.scale_clothing.bake(format=kind)
    assert bpy.ops.scale_clothing.bake(format="PLY") == {"FINISHED"}
    shaded.scale_clothing.normals = "FACES"
    np.testing.assert_allclose(frames_of(shaded, scene), plain, atol=2e-3)


PLAYS = """
import os, sys, bpy, numpy as np
bpy.ops.wm.open_mainfile(filepath=os.path.abspath("scene.blend"))
assert not hasattr(bpy.types.Scene, "scale_clothing")
scene, obj, frames = bpy.context.scene, bpy.data.objects[sys.argv[1]], []
for frame in range(scene.frame_start, scene.frame_end + 1):
    scene.frame_set(frame)
    mesh = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    normals = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertex_normals.foreach_get("vector", normals.ravel())
    frames.append(normals)
np.save("played.npy", np.stack(frames))
"""


def test_a_bake_plays_them_without_the_add_on(shaded, scene, tmp_path):
    expected = frames_of(shaded, scene)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    scene.scale_clothing.bake_folder = "//clothes"
    told = plan.size([shaded], plan.BakeSettings("//clothes", FIRST, LAST))
    objects = set(bpy.data.objects)
    bpy.ops.scale_clothing.bake()
    files = sorted(each.name for each in (tmp_path / "clothes").iterdir())
    assert len(files) == 2 and files[0].endswith(".normals.pc2")
    assert sum(each.stat().st_size for each in (tmp_path / "clothes").iterdir()) == told
    np.testing.assert_allclose(frames_of(shaded, scene), expected, atol=2e-4)
    bpy.ops.wm.save_mainfile()
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path)}
    subprocess.run([sys.executable, "-c", PLAYS, shaded.name], cwd=tmp_path, env=environment, check=True, timeout=60)
    np.testing.assert_allclose(np.load(tmp_path / "played.npy"), expected, atol=2e-4)

    bpy.ops.scale_clothing.clear_bake()
    assert set(bpy.data.objects) == objects and len(shaded.modifiers) == 1
    shaded.scale_clothing.normals = "FACES"
    bpy.ops.scale_clothing.bake(overwrite=True)
    assert [each.suffixes for each in (tmp_path / "clothes").iterdir()] == [[".pc2"]]
    assert set(bpy.data.objects) == objects
    assert (np.einsum("vk,vk->v", shown(shaded), expected[-1]) < 0.99).any()


def test_a_bake_with_other_normals_is_another(shaded, scene, bake_folder):
    settings = plan.BakeSettings(str(bake_folder), FIRST, LAST)
    todo = baking.bake(scene, [shaded], settings)
    while next(todo).done <= LAST - FIRST + 1:
        pass
    todo.close()
    assert len(list(bake_folder.glob("*.part*"))) == 2
    shaded.scale_clothing.normals = "FACES"
    list(baking.bake(scene, [shaded], settings))
    shaded.scale_clothing.normals = "DECODED"
    list(
        baking.bake(scene, [shaded], plan.BakeSettings(str(bake_folder), FIRST, LAST, keep=True))
    )  # normals are missing
    assert sorted(each.suffixes for each in bake_folder.iterdir()) == [[".normals", ".pc2"], [".pc2"]]


def world_normals(obj: bpy.types.Object, scene: bpy.types.Scene) -> np.ndarray:  # [F, V, 3]
    turn = np.linalg.inv(np.array(obj.matrix_world)[:3, :3])
    turned = frames_of(obj, scene) @ turn
    return turned / np.linalg.norm(turned, axis=-1, keepdims=True)


@pytest.mark.parametrize("kind", ["ABC", "USD"])
def test_other_programs_files_have_them(shaded, character, scene, bake_folder, kind):
    character.location, character.rotation_euler, character.scale = (1, 2, 0.5), (0.1, 0.2, 1.0), (1.5, 1.5, 1.5)
    bpy.context.view_layer.update()
    expected = world_normals(shaded, scene)
    groups, objects = len(bpy.data.node_groups), len(bpy.data.objects)
    told = plan.size([shaded], plan.BakeSettings("", FIRST, LAST, format=kind))
    bpy.ops.scale_clothing.bake(format=kind)
    assert (len(bpy.data.node_groups), len(bpy.data.objects)) == (groups, objects)
    (path,) = bake_folder.iterdir()
    assert 0.7 * path.stat().st_size < told < 1.8 * path.stat().st_size
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    if kind == "ABC":
        bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
    else:
        bpy.ops.wm.usd_import(filepath=str(path))
    (obj,) = (each for each in bpy.data.objects if each.type == "MESH")
    new = bpy.context.scene
    new.frame_start, new.frame_end = FIRST, LAST
    np.testing.assert_allclose(world_normals(obj, new), expected, atol=3e-3)


@pytest.mark.parametrize("kind", ["PLY", "OBJ"])
def test_files_by_frame_have_them(shaded, scene, bake_folder, kind):
    expected = world_normals(shaded, scene)
    bpy.ops.scale_clothing.bake(format=kind)
    for file, normals in zip(sorted(bake_folder.iterdir()), expected, strict=True):
        found = file_normals(file)
        assert found.shape == normals.shape
        np.testing.assert_allclose(found, normals, atol=2e-3)


def file_normals(file: Path) -> np.ndarray:  # [V, 3] Z up
    if file.suffix == ".ply":
        return trimesh.load(file, process=False).vertex_normals
    rows = [line.split()[1:] for line in file.read_text().splitlines() if line.startswith("vn ")]
    x, y, z = np.array(rows, float).T
    return np.stack([x, -z, y], 1)


def test_modifiers_after_them(shaded, scene):
    plain = shown(shaded)
    smooth = shaded.modifiers.new("Subdivision", "SUBSURF")
    scene.frame_set(FIRST)
    finer = shown(shaded)
    assert len(finer) > 3 * len(plain)
    np.testing.assert_allclose(finer[: len(plain)], plain, atol=1e-5)
    shaded.modifiers.remove(smooth)
    shaded.modifiers.new("Collision", "COLLISION")
    np.testing.assert_allclose(shown(shaded), plain, atol=1e-6)


def test_thickness_has_an_inside(shaded, scene):
    plain, faces = shown(shaded), of_faces(shaded)
    agree = np.einsum("vk,vk->v", plain, faces) > 0.2
    assert agree.mean() > 0.8
    bpy.ops.scale_clothing.add_thickness()
    both = shown(shaded).reshape(2, -1, 3)
    sides = sorted(both, key=lambda side: -np.einsum("vk,vk->v", side, faces)[agree].mean())
    border = np.isin(np.arange(len(plain)), borders(shaded))
    inner = agree & ~border
    np.testing.assert_allclose(sides[0][inner], plain[inner], atol=1e-5)
    np.testing.assert_allclose(sides[1][inner], -plain[inner], atol=1e-5)
    shaded.scale_clothing.normals = "FACES"  # nothing to turn
    evaluated = shaded.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    assert meshes.CUSTOM_NORMAL not in evaluated.attributes
    bpy.ops.scale_clothing.remove_thickness()
    assert len(shaded.modifiers) == 1 and thickness.modifier_of(shaded) is None


def borders(obj: bpy.types.Object) -> np.ndarray:
    triangles = np.array([polygon.vertices[:] for polygon in obj.data.polygons])
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(edges[count == 1])
