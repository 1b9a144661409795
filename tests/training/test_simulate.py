"""Garments cut from the body, and Blender's cloth simulation of them."""

from __future__ import annotations

import numpy as np
import pytest

from scale_backend.formats.assets import find_body
from scale_backend.geometry.body import load_body
from training.frames.raw_frames import RawFramesError
from training.simulate.draping import Drape
from training.simulate.garments import RECIPES
from training.simulate.mesh_tools import (
    ClosedSurface,
    Mesh,
    border_loops,
    border_vertices,
    cut,
    euler_characteristic,
    face_normals,
)
from training.simulate.path_test import surface_difference
from training.simulate.run import SimulateSettings, run
from training.simulate.skinning import rotation_matrices, skin_body
from training.simulate.workers import judge

BORDERS = {"dress": 4, "tee-trousers": 7}  # neck, hem, arms or sleeves; waist and ankles


def grid(size: int) -> Mesh:
    """A flat square of 1 metre in 2 * size * size triangles, facing +Z."""
    x, y = np.meshgrid(np.linspace(0, 1, size + 1), np.linspace(0, 1, size + 1))
    index = np.arange((size + 1) ** 2).reshape(size + 1, size + 1)
    a, b, c, d = (corner.ravel() for corner in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Mesh(np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1), triangles)


def test_a_cut_splits_along_the_line_and_keeps_the_area():
    mesh = grid(4)
    field = mesh.vertices[:, 0] + 0.3 * mesh.vertices[:, 1] - 0.6
    parts, positive, origin, (heights,) = cut(mesh, field, mesh.vertices[:, 1])
    area = 0.5 * np.linalg.norm(face_normals(parts), axis=1)
    assert area.sum() == pytest.approx(1)
    assert area[positive].sum() == pytest.approx(1 - 0.45)
    assert (face_normals(parts)[:, 2] > 0).all()
    assert set(origin) == set(range(len(mesh.triangles)))
    np.testing.assert_allclose(heights, parts.vertices[:, 1], atol=1e-12)
    assert euler_characteristic(parts.triangles) == euler_characteristic(parts.triangles[positive]) == 1


@pytest.mark.parametrize("name", RECIPES)
def test_garments_are_whole_even_and_clear_of_the_body(garments, skinned_body, name):
    garment = garments[name]
    mesh = garment.mesh
    assert 2500 < len(mesh.vertices) < 6000
    for panel in range(len(garment.panel_names)):
        assert euler_characteristic(mesh.triangles[garment.panel == panel]) == 1
    assert len(border_loops(mesh.triangles)) == BORDERS[name]
    assert set(garment.region) == set(range(len(garment.region_names)))
    lengths = np.linalg.norm(mesh.vertices[mesh.triangles] - mesh.vertices[np.roll(mesh.triangles, -1, 1)], axis=-1)
    assert lengths.max() < 2 * RECIPES[name].edge_length
    assert ClosedSurface(Mesh(skinned_body.vertices, skinned_body.triangles)).distance(mesh.vertices)[0].min() > 0.001
    np.testing.assert_allclose(garment.blend_weights.sum(1), 1)
    assert garment.pin.max() == 1


@pytest.mark.parametrize("name", RECIPES)
def test_hems_are_straight(garments, name):
    vertices = garments[name].mesh.vertices
    for loop in border_loops(garments[name].mesh.triangles):
        points = vertices[loop] - vertices[loop].mean(0)
        if np.abs(vertices[loop][:, 1]).mean() > 0.5:  # the skirt's hem, the trousers' ankles
            assert np.abs(points[:, 1]).max() < 0.006
    assert border_vertices(garments[name].mesh.triangles, len(vertices)).sum() > 100


def test_skinning_agrees_with_the_backends_body(skinned_body):
    torch = pytest.importorskip("torch")
    from scale_backend.geometry.body import pose_vertices

    pose = np.random.default_rng(0).normal(0, 0.4, (24, 3))
    model = load_body(find_body("neutral"))
    assert skinned_body.digest() == model.digest
    rotations = torch.tensor(rotation_matrices(pose), dtype=torch.float32)[None]
    there = pose_vertices(model, rotations, torch.tensor(-skinned_body.joints[:1], dtype=torch.float32))[0].numpy()
    pose_at_origin = skin_body(skinned_body, pose)
    assert np.abs(pose_at_origin - there).max() < 1e-5


def test_surfaces_differ_by_their_distance_and_angle():
    flat = grid(8)
    lifted = Mesh(flat.vertices + np.array([0, 0, 0.004]), flat.triangles)
    tilted = Mesh(flat.vertices @ rotation_matrices(np.array([0.2, 0, 0])).T, flat.triangles)
    distance, angle = surface_difference(flat, lifted)
    assert distance == pytest.approx(4, abs=1e-3)
    assert angle == pytest.approx(0, abs=1e-3)
    assert surface_difference(flat, tilted)[1] == pytest.approx(np.degrees(0.2), abs=1e-3)


def test_bad_results_are_left_out():
    rest = grid(8)

    def verdict(vertices, inside=0.0, speed=0.001):
        return judge(Drape(vertices, speed, inside, 20), rest)

    assert verdict(rest.vertices) == "kept"
    assert verdict(np.where(rest.vertices > 0.9, np.nan, rest.vertices)) == "not finite"
    far = rest.vertices.copy()
    far[40] += 2
    assert verdict(far).startswith("torn")
    assert verdict(rest.vertices, inside=0.02) == "inside the body"
    assert verdict(rest.vertices, speed=0.02) == "still moving"


def test_settings_that_cannot_be_used_are_told(tmp_path):
    with pytest.raises(RawFramesError, match="no garment 'cape'"):
        run(SimulateSettings(garment="cape", out=tmp_path))
    with pytest.raises(RawFramesError, match="no split 'trian'"):
        run(SimulateSettings(split="trian", out=tmp_path))
    with pytest.raises(RawFramesError, match="at least 1"):
        run(SimulateSettings(count=0, out=tmp_path))
    assert list(tmp_path.iterdir()) == []
