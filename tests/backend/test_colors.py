"""A colour for each point: the third branch, from the network to the wire."""

from dataclasses import replace

import pytest
import torch

from scale_backend.decoding.colors import decode_colors
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.garment_header import GarmentError, garment_metadata
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.formats.window import Window
from scale_backend.geometry.body import load_body, pose_vertices
from scale_backend.geometry.carrier import pose_carrier
from scale_backend.geometry.positional_map import positional_map
from scale_backend.model.garment import load_garment
from scale_backend.model.network import NetworkSettings, ScaleNetwork
from scale_backend.surfaces.queries import sample_features, surface_queries
from scale_backend.surfaces.seams import cut_at_seams
from scale_backend.surfaces.subdivision import subdivide
from tests.backend import reference
from tests.backend.test_engine import random_pose
from tests.making import make_garment, write_garment


@pytest.fixture(scope="module")
def body():
    return load_body("neutral")


def test_colors_equal_the_reference(body):
    garment = make_garment("body", colors=True)
    rotations = random_pose(2)
    colors = decode_colors(Decoder(garment, body), rotations, DecodeOptions("points", "whole body"))
    rotations[:, 0] = torch.eye(3)
    posed = pose_vertices(body, rotations, -body.mean_joints[:1].expand(2, 3))
    expected = reference.decode_patches(
        garment.network.state_dict(), posed, body.triangles, garment.layout.triangle_index, garment.layout.barycentrics
    )
    assert (colors - expected[2].flatten(1, 2)).abs().max() < 1e-4
    assert 0 <= colors.min() < 0.4 and 0.6 < colors.max() <= 1  # of many colours
    points, _ = Decoder(garment, body).decode(Poses(rotations), DecodeOptions("points", "whole body", push_out=False))
    assert (points - expected[0].flatten(1, 2) - body.mean_joints[0]).abs().max() < 1e-5  # the branch changes no point


def test_the_cloths_colors_are_those_of_its_points(body):
    garment = make_garment("body", colors=True)
    decoder, rotations = Decoder(garment, body), random_pose(1)
    whole = decode_colors(decoder, rotations, DecodeOptions("points", "whole body"))
    assert torch.allclose(decode_colors(decoder, rotations), whole[:, garment.cloth], atol=1e-5)


def test_a_mesh_has_a_color_for_each_vertex(body):
    garment = make_garment("garment", colors=True)
    rotations = random_pose(1)
    colors = decode_colors(Decoder(garment, body), rotations, DecodeOptions("mesh"))
    rotations[:, 0] = torch.eye(3)
    posed = pose_carrier(garment.carrier, body, rotations, -body.mean_joints[:1])
    features = garment.network.pose_features(positional_map(posed, garment.carrier.triangles, garment.layout))
    cut = cut_at_seams(subdivide(garment.carrier.triangles, 0), garment.carrier.uv_triangles)
    queries = surface_queries(garment.carrier, garment.layout, cut.triangle, cut.weights)
    expected = garment.network.decode_colored(sample_features(features, queries), queries.uv, queries.pq).colors
    assert colors.shape == (1, len(garment.carrier.template), 3)
    on_seam = torch.isin(torch.arange(colors.shape[1]), cut.vertex[colors.shape[1] :])
    assert (colors - expected[:, : colors.shape[1]])[:, ~on_seam].abs().max() < 1e-4
    for vertex in on_seam.nonzero()[:, 0]:  # the mean of its charts
        assert (colors[0, vertex] - expected[0, cut.vertex == vertex].mean(0)).abs().max() < 1e-4


def test_a_garment_that_knows_of_motion_has_colors_too(body):
    window = Window((0.1,), gravity=True)
    garment = replace(make_garment(colors=True, inputs=window.channels), window=window)
    colors = decode_colors(Decoder(garment, body), random_pose(2), DecodeOptions("mesh"))
    assert torch.isfinite(colors).all() and colors.shape[0] == 2
    plain = replace(make_garment(inputs=window.channels), window=window)
    with pytest.raises(GarmentError, match="has no colours"):
        decode_colors(Decoder(plain, body), random_pose(1), DecodeOptions("mesh"))


def test_files_keep_colors_and_older_files_have_none(tmp_path, body):
    path = write_garment(tmp_path / "g.safetensors", "body", colors=True)
    assert garment_metadata(path)["network"]["colors"]
    assert load_garment(path).network.mlp.color is not None
    with pytest.raises(GarmentError, match="has no colours"):
        decode_colors(Decoder(make_garment("body"), body), random_pose(1))


def test_training_starts_grey_and_gives_each_branch_a_gradient():
    network = ScaleNetwork(NetworkSettings(unet_width=4, hidden=16, colors=True))
    local = network.decode_colored(torch.randn(2, 5, 64), torch.rand(5, 2), torch.rand(5, 2))
    assert local.colors.shape == (2, 5, 3) and torch.equal(local.colors, torch.full((2, 5, 3), 0.5))
    (local.colors - 1).square().mean().backward()
    assert network.mlp.color[-1].conv.bias.grad.abs().min() > 0
