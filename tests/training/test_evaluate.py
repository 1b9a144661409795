"""Distances between surfaces against brute force, and the table they make."""

from __future__ import annotations

import numpy as np
import trimesh

from training.geometry.surface_distance import (
    ReferenceSurface,
    closest_barycentrics,
    sample_surface,
    signed_height,
    vertex_normals,
)
from training.measuring.measures import Judge, Measures, groups


def test_closest_point_of_a_triangle_against_fine_sampling():
    random = np.random.default_rng(0)
    corners, points = random.normal(size=(200, 3, 3)), 1.5 * random.normal(size=(200, 3))
    weights = closest_barycentrics(points, corners)
    assert (weights >= -1e-12).all() and np.allclose(weights.sum(1), 1)
    found = np.linalg.norm(np.einsum("mk,mkc->mc", weights, corners) - points, axis=1)
    steps = np.linspace(0, 1, 101)
    a, b = np.meshgrid(steps, steps)
    inside = a + b <= 1 + 1e-12
    grid = np.stack([1 - a - b, a, b], -1)[inside]
    sampled = np.linalg.norm(np.einsum("gk,mkc->mgc", grid, corners) - points[:, None], axis=-1).min(1)
    assert (found <= sampled + 1e-9).all() and (sampled - found).max() < 0.03


def test_closest_points_against_all_triangles():
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.3)
    points = np.random.default_rng(1).normal(0, 0.3, (300, 3))
    distance, _, _ = ReferenceSurface(mesh.vertices, mesh.faces).closest(points)
    every = closest_barycentrics(points[:, None], mesh.triangles[None].repeat(300, 0))
    offset = np.einsum("mtk,tkc->mtc", every, mesh.triangles) - points[:, None]
    assert np.allclose(distance, np.linalg.norm(offset, axis=-1).min(1), atol=1e-12)


def test_samples_are_spread_by_area():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [3, 0, 0], [0, 3.0, 0]])
    samples = sample_surface(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 1000)
    assert abs((samples.triangle == 1).mean() - 0.9) < 0.002
    centre = samples.on(vertices, np.array([[0, 1, 2], [3, 4, 5]]))[samples.triangle == 1].mean(0)
    assert np.allclose(centre, [1, 1, 0], atol=0.08)


def test_inside_and_outside():
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.3)
    surface, normals = ReferenceSurface(ball.vertices, ball.faces), vertex_normals(ball.vertices, ball.faces)
    height = signed_height(np.array([[0.29, 0, 0], [0, 0.31, 0], [0, 0, -0.2]]), surface, normals)
    assert np.allclose(height, [-0.01, 0.01, -0.1], atol=0.002)


def judge_of(mesh) -> Judge:
    region = (mesh.vertices[:, 1] > 0).astype(np.uint8)
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.25)
    return Judge(mesh.vertices, mesh.faces, region, ball.faces)


def test_a_known_offset_is_measured_by_region():
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.3)
    judge, measures = judge_of(mesh), Measures()
    grown = mesh.vertices * np.where(mesh.vertices[:, 1:2] > 0, 1 + 0.01 / 0.3, 1.0)  # 10 mm, upper half only
    skin = trimesh.creation.icosphere(subdivisions=2, radius=0.25).vertices
    judge.add_mesh(measures, grown, mesh.vertices, skin)
    table = measures.table(("lower half", "upper half"))
    assert abs(table["upper half"]["to_truth_mean"] - 10) < 0.3
    assert table["lower half"]["to_truth_mean"] < 0.3
    assert abs(table["upper half"]["from_truth_mean"] - 10) < 0.3
    assert abs(table["all"]["to_truth_mean"] - 5) < 0.3
    assert table["half"] == table["all"]  # the regions that end in the same word, together
    assert table["all"]["inside_percent"] == 0 and table["all"]["normal_angle"] < 2


def test_points_are_measured_too():
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.3)
    judge, measures = judge_of(mesh), Measures()
    points = mesh.vertices * (1 - 0.06 / 0.3)  # 60 mm inwards: inside the 250 mm body
    judge.add_points(measures, points, mesh.vertex_normals, mesh.vertices,
                     trimesh.creation.icosphere(subdivisions=2, radius=0.25).vertices)  # fmt: skip
    row = measures.table(("lower", "upper"))["all"]
    assert abs(row["to_truth_mean"] - 60) < 1 and row["from_truth_mean"] >= 59
    assert row["inside_percent"] > 90


def test_groups():
    assert groups(("bodice", "upper skirt", "lower skirt")) == {"skirt": [1, 2]}
