"""The engine against the straightforward reference, and how results move with the root and the body's shape."""

from dataclasses import replace

import pytest
import torch

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.garment_header import GarmentError
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.articulation import rest_frames, vertex_frames
from scale_backend.geometry.body import load_body, pose_vertices
from scale_backend.geometry.rotations import matrix_from_axis_angle
from scale_backend.inference.folded_mlp import FoldedMLP
from scale_backend.inference.folding import fold
from scale_backend.inference.precision import PRECISIONS
from tests.backend import reference
from tests.making import make_garment, random_network


@pytest.fixture(scope="module")
def body():
    return load_body("neutral")


def random_pose(frames: int = 3, size: float = 0.3) -> torch.Tensor:
    torch.manual_seed(5)
    return matrix_from_axis_angle(torch.randn(frames, 24, 3) * size)


def test_patches_equal_the_reference(body):
    garment = make_garment("body")
    rotations = random_pose()
    rotations[:, 0] = torch.eye(3)
    points, normals = Decoder(garment, body).decode(
        Poses(rotations), DecodeOptions("points", "whole body", push_out=False)
    )
    posed = pose_vertices(body, rotations, -body.mean_joints[:1].expand(3, 3))
    layout = garment.layout
    expected = reference.decode_patches(
        garment.network.state_dict(), posed, body.triangles, layout.triangle_index, layout.barycentrics
    )
    assert (points - expected[0].flatten(1, 2) - body.mean_joints[0]).abs().max() < 1e-5
    assert (normals - expected[1].flatten(1, 2)).abs().max() < 1e-3


@pytest.mark.parametrize(("mode", "activation"), [("upconv", "softplus"), ("upsample", "silu"), ("upconv", "relu")])
def test_folding_changes_nothing(mode, activation):
    settings = make_garment("body").network.settings
    network = random_network(replace(settings, up_mode=mode, activation=activation))
    folded = fold(network)
    x = torch.randn(2, 3, 32, 32) * 0.3
    features = network.pose_features(x)
    assert torch.allclose(folded.pose_features(x), features, atol=1e-4, rtol=1e-4)
    rows, uv, pq = features.flatten(2).mT, torch.rand(1024, 2), torch.rand(1024, 2)
    for name, tolerance in (("float32", 2e-5), ("bfloat16", 1e-3)):  # of residuals of about 0.01
        mlp = FoldedMLP(folded, PRECISIONS[name])
        place = mlp.place(uv, pq)
        decoded = mlp(rows, place)
        for ours, plain in zip(decoded, network.decode(rows, uv, pq), strict=True):
            assert (ours - plain).abs().max() < tolerance
        alone = mlp(rows[:1], place)
        assert (alone[0] - decoded[0][:1]).abs().max() < tolerance


@pytest.mark.parametrize(("kind", "surface"), [("garment", "mesh"), ("garment", "points"), ("body", "points")])
def test_root_moves_the_clothes_rigidly(body, kind, surface):
    decoder = Decoder(make_garment(kind), body)
    rotations = random_pose(2)
    rotations[:, 0] = torch.eye(3)
    still, still_normals = decoder.decode(Poses(rotations), DecodeOptions(surface))
    turned = rotations.clone()
    turned[:, 0] = matrix_from_axis_angle(torch.tensor([0.3, -2.0, 0.5]))
    translation = torch.tensor([[1.0, 2.0, 3.0]]).expand(2, 3)
    moved, moved_normals = decoder.decode(Poses(turned, translation), DecodeOptions(surface))
    pelvis = body.mean_joints[0]
    expected = (still - pelvis) @ turned[0, 0].T + pelvis + translation[0]
    assert (moved - expected).abs().max() < 1e-5
    assert (moved_normals - still_normals @ turned[0, 0].T).abs().max() < 1e-5


def test_clothes_follow_the_bodys_shape(body):
    decoder = Decoder(make_garment("garment"), body)
    pose = random_pose(1)
    plain, _ = decoder.decode(Poses(pose))
    zero, _ = decoder.decode(Poses(pose, shape=torch.zeros(10)))
    wide, _ = decoder.decode(Poses(pose, shape=torch.full((16,), 0.8)))
    assert torch.equal(plain, zero)
    assert 0.002 < (wide - plain).norm(dim=-1).mean() < 0.2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_frames_are_the_same_to_the_bit_alone_and_in_a_batch(body, precision):
    decoder = Decoder(make_garment("garment"), body, precision=precision)
    rotations, translation, shape = random_pose(4), torch.randn(4, 3), torch.randn(4, 10)
    together = decoder.decode(Poses(rotations, translation, shape))
    for i in range(4):
        alone = decoder.decode(Poses(*(x[i : i + 1] for x in (rotations, translation, shape))))
        assert torch.equal(alone[0][0], together[0][i]) and torch.equal(alone[1][0], together[1][i])


def test_topology_fits_the_points(body):
    decoder = Decoder(make_garment("garment"), body)
    for surface in ("mesh", "points"):
        topology = decoder.topology(surface)
        points, normals = decoder.decode(Poses(random_pose(1)), DecodeOptions(surface))
        assert points.shape == normals.shape == (1, len(topology.patch), 3)
        assert len(topology.region) == points.shape[1]
        assert torch.allclose(normals.norm(dim=-1), torch.ones(1), atol=1e-5)
    mesh = decoder.topology("mesh")
    assert mesh.triangles.max() == len(mesh.patch) - 1
    assert len(mesh.uv) == 3 * len(mesh.triangles)
    with pytest.raises(GarmentError, match="surfaces"):
        decoder.topology("poisson")
    with pytest.raises(GarmentError, match="parts"):
        decoder.topology("mesh", "whole body")


def test_zero_residual_is_the_skinned_carrier(body):
    garment = make_garment("garment")
    for branch in (garment.network.mlp.residual, garment.network.mlp.normal):
        torch.nn.init.zeros_(branch[-1].conv.weight)
        torch.nn.init.zeros_(branch[-1].conv.bias)
    decoder = Decoder(garment, body)
    points, _ = decoder.decode(Poses(torch.eye(3).expand(1, 24, 3, 3)), DecodeOptions(push_out=False))
    assert (points[0] - garment.carrier.template).abs().max() < 1e-5


def test_vertex_frames_are_the_rotation_of_a_rigid_motion(body):
    rest = rest_frames(body.template, body.triangles)
    rotation = matrix_from_axis_angle(torch.tensor([0.4, 1.0, -0.7]))
    frames = vertex_frames(2 * (body.template @ rotation.T)[None], rest)
    assert (frames - 2 * rotation).abs().max() < 1e-3


def test_another_body_is_refused(body):
    with pytest.raises(GarmentError, match="made for the body 'neutral'"):
        Decoder(make_garment("garment"), replace(body, name="other", template=body.template * 1.1))
