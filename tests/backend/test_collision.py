"""Pushing cloth out of the body."""

import torch
import trimesh

from scale_backend.geometry.articulation import vertex_rings
from scale_backend.geometry.body import load_body
from scale_backend.geometry.collision import MARGIN, garment_collider, nearest_vertices, posed_skin, push_out
from tests.making import skirt_carrier


def test_points_leave_the_body_and_others_stay():
    body = load_body("neutral")
    sphere = trimesh.creation.icosphere(4, 0.2)
    skin = torch.tensor(sphere.vertices, dtype=torch.float32)[None]
    skin = posed_skin(skin, vertex_rings(torch.tensor(sphere.faces).long(), len(sphere.vertices)))
    direction = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.manual_seed(0)), dim=-1)
    inside, outside = direction * 0.19, direction * 0.21
    pushed = push_out(inside[None], skin)[0].norm(dim=-1)
    assert (pushed - 0.2 - MARGIN).abs().max() < 3e-4
    assert torch.equal(push_out(outside[None], skin)[0], outside)
    collider = garment_collider(body, skirt_carrier(body).blend_weights)
    touched = body.template[collider.vertices]
    assert touched[:, 0].abs().max() < 0.4  # no arms in a skirt's collider


def test_pushed_cloth_shows_no_facets():
    """On a coarse sphere: a tangent plane for each of its 642 vertices would leave points up to 0.8 mm further out."""
    sphere = trimesh.creation.icosphere(3, 0.2)
    vertices = torch.tensor(sphere.vertices, dtype=torch.float32)[None]
    rings = vertex_rings(torch.tensor(sphere.faces).long(), vertices.shape[1])
    direction = torch.nn.functional.normalize(torch.randn(2000, 3, generator=torch.manual_seed(0)), dim=-1)
    inside = 0.198 * direction[None]
    pushed = push_out(inside, posed_skin(vertices, rings))
    assert (pushed[0].norm(dim=-1) - 0.2 - MARGIN).abs().max() < 1e-4
    assert torch.nn.functional.cosine_similarity(pushed[0], direction, dim=-1).min() > 0.99995
    plain = push_out(inside, posed_skin(vertices, rings, with_trees=False))
    assert (pushed - plain).abs().max() < 1e-6


def test_nearest_equals_brute_force():
    torch.manual_seed(0)
    points, vertices = torch.randn(2, 50, 3), torch.randn(2, 30, 3)
    distance = torch.cdist(points, vertices).min(-1)
    rings = vertex_rings(torch.arange(30).view(10, 3), 30)
    index, near = nearest_vertices(points, posed_skin(vertices, rings), 0.6)
    assert torch.equal(near, distance.values < 0.6)
    assert 0.1 < near.float().mean() < 0.9
    assert torch.equal(index[near], distance.indices[near])
