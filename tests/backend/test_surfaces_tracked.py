"""Surfaces reconstructed from points: borders stay open, and what is bound to the points moves with them."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree

from scale_backend.cli import main
from scale_backend.client.backend import Backend, BackendError
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.garment_header import GarmentError, garment_metadata
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.geometry.rotations import matrix_from_axis_angle
from scale_backend.model.garment import load_garment, save_garment
from scale_backend.model.tracked_surface import TrackedSurface
from scale_backend.reconstruction.meshlab import border_edges, reconstruct
from scale_backend.reconstruction.poisson import decode_meshes
from scale_backend.reconstruction.tracking import track
from tests.making import make_garment


def tube(count: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals of an open tube, 0.3 m wide and 0.6 m long: a skirt without a body."""
    random = np.random.default_rng(seed)
    angle, height = np.arange(count) * 2.399963, (np.arange(count) + random.random(count) * 0.2) / count * 0.6
    normals = np.stack([np.cos(angle), 0 * angle, np.sin(angle)], 1)
    return normals * 0.15 + np.stack([0 * angle, height, 0 * angle], 1), normals


def border_loops(vertices: np.ndarray, triangles: np.ndarray) -> list[float]:  # lengths, metres
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = border_edges(triangles)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    loop = connected_components(graph, directed=False)[1][edges[:, 0]]
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    return [float(length[loop == number].sum()) for number in np.unique(loop)]


def test_reconstruction_stays_open_where_the_cloth_ends():
    points, normals = tube()
    vertices, triangles = reconstruct(points, normals)
    loops = border_loops(vertices, triangles)
    assert len(loops) == 2  # top and hem, and no hole
    assert all(0.85 < length / (np.pi * 0.3) < 1.15 for length in loops)
    assert np.abs(np.hypot(vertices[:, 0], vertices[:, 2]) - 0.15).max() < 0.008
    assert -0.03 < vertices[:, 1].min() < 0.03
    assert 0.57 < vertices[:, 1].max() < 0.63


def test_a_gap_in_the_cloth_is_closed():
    points, normals = tube()
    hole = np.linalg.norm(points - [0.15, 0.3, 0.0], axis=1) < 0.03
    vertices, triangles = reconstruct(points[~hole], normals[~hole])
    assert hole.sum() > 10
    assert len(border_loops(vertices, triangles)) == 2


def test_a_tracked_surface_follows_its_points():
    points, normals = tube()
    bent = points * [1.3, 1.0, 1.0] + np.stack([0.5 * points[:, 1] ** 2, 0 * points[:, 0], 0 * points[:, 0]], 1)
    numbers = np.arange(len(points)) + 7
    surface = track(np.stack([points, bent]).astype(np.float32), normals.astype(np.float32), numbers)
    surface.check(len(points) + 7)
    assert int(surface.index.min()) >= 7
    assert len(border_loops(points, surface.triangles.numpy())) == 2
    weights, index = surface.weights.numpy(), surface.index.numpy() - 7
    for place in (points, bent):
        vertices = (place[index] * weights[..., None]).sum(1)
        assert cKDTree(place).query(vertices)[0].max() < 0.02  # a step between points
        expected = place[cKDTree(points).query((points[index] * weights[..., None]).sum(1))[1]]
        assert np.linalg.norm(vertices - expected, axis=1).mean() < 0.01
    corners = surface.uv.numpy()[surface.uv_triangles.numpy()]
    doubled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert corners.min() >= 0
    assert corners.max() <= 1
    assert (np.abs(doubled) > 0).mean() > 0.99
    assert 0.3 < np.abs(doubled).sum() / 2 <= 1.0  # charts do not overlap: they cannot fill more than the square


@pytest.fixture(scope="module")
def tracked_garment():
    """Random weights: the surface is what matters here, ten triangles bound to some points."""
    random = np.random.default_rng(4)
    index = torch.from_numpy(random.integers(0, 1024 * 16, (12, 5)).astype(np.int32))
    weights = torch.from_numpy(random.random((12, 5)).astype(np.float32))
    a = torch.arange(10, dtype=torch.int32)  # a strip
    triangles = torch.stack([a, a + 1, a + 2], 1)
    surface = TrackedSurface(index, weights / weights.sum(1, keepdim=True), triangles, torch.rand(30, 2),
                             torch.arange(30, dtype=torch.int32).reshape(10, 3))  # fmt: skip
    return replace(make_garment("body"), tracked={"clothes": surface})


def test_tracked_surface_in_the_garment_file(tmp_path, tracked_garment):
    path = tmp_path / "g.safetensors"
    save_garment(path, tracked_garment)
    assert garment_metadata(path)["surfaces"][0] == "tracked"
    back = load_garment(path).tracked
    assert set(back) == {"clothes"}
    for name, value in tracked_garment.tracked["clothes"].__dict__.items():
        assert torch.allclose(getattr(back["clothes"], name), value, atol=1e-3), name
    wrong = replace(tracked_garment.tracked["clothes"], index=tracked_garment.tracked["clothes"].index + 99_999)
    save_garment(path, replace(tracked_garment, tracked={"clothes": wrong}))
    with pytest.raises(GarmentError, match="tracked surface's index"):
        load_garment(path)


def smoothed(vertices: torch.Tensor, rest: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    """Moving least squares along the rest surface and heights over it, written out vertex by vertex."""
    count = len(rest)

    def normals(places: torch.Tensor) -> torch.Tensor:
        summed = torch.zeros_like(places)
        for a, b, c in triangles.tolist():
            summed[[a, b, c]] += torch.linalg.cross(places[b] - places[a], places[c] - places[a])
        return summed / summed.norm(dim=1, keepdim=True)

    edges = [(a, b) for t in triangles.tolist() for a, b in ((t[0], t[1]), (t[1], t[2]), (t[2], t[0]))]
    reach = 5 * torch.tensor([float((rest[a] - rest[b]).norm()) for a, b in edges]).median()
    facing = normals(rest)
    weights = torch.zeros(count, count, dtype=torch.float64)
    for v in range(count):
        offset = (rest - rest[v]).double()
        distance = offset.norm(dim=1)
        near = (distance < reach) & (facing @ facing[v] > 0.7)
        offset = offset - torch.outer(offset @ facing[v].double(), facing[v].double())
        terms = torch.cat([torch.ones(count, 1), offset / reach], 1)
        close = torch.exp(-2 * (distance / reach) ** 2) * near
        gram = terms.T @ torch.diag(close) @ terms
        gram[1:, 1:] += 1e-3 * gram[0, 0] * torch.eye(3)
        row = close * (terms @ torch.linalg.inv(gram)[:, 0])
        weights[v] = row / row.sum()
    moved = []
    for places in vertices:
        smooth = weights.float() @ places
        across = normals(smooth)
        height = ((places - smooth) * across).sum(1)
        for _ in range(4):
            around = [sorted({b for e in edges for b in e if v in e} - {v}) for v in range(count)]
            height = 0.5 * height + 0.5 * torch.stack([height[r].mean() for r in around])
        moved.append(smooth + across * height[:, None])
    return torch.stack(moved)


def test_decoded_vertices_are_means_of_decoded_points(tracked_garment):
    body = load_body("neutral")
    decoder = Decoder(tracked_garment, body)
    torch.manual_seed(1)
    pose = matrix_from_axis_angle(torch.randn(2, 24, 3) * 0.2)
    everything = decoder.decode(Poses(pose), DecodeOptions("points", "whole body", push_out=False))[0]
    surface = tracked_garment.tracked["clothes"]
    still = decoder.decode(
        Poses(torch.eye(3).expand(1, 24, 3, 3)), DecodeOptions("points", "whole body", push_out=False)
    )[0]
    bound, rest = ((p[:, surface.index.long()] * surface.weights[..., None]).sum(2) for p in (everything, still))
    expected = smoothed(bound, rest[0], surface.triangles)
    points, normals = decoder.decode(Poses(pose), DecodeOptions("tracked", push_out=False))
    assert (points - expected).abs().max() < 1e-4
    assert points.shape == normals.shape == (2, 12, 3)
    assert decoder.topology("tracked").uv.shape == (30, 2)
    with pytest.raises(GarmentError, match="not of whole body"):
        decoder.topology("tracked", "whole body")


def test_poisson_frames_of_the_shipped_dress():
    from scale_backend.formats.assets import find_garment

    decoder = Decoder(load_garment(find_garment("dress-body")), load_body("neutral"))
    pose = torch.eye(3).expand(1, 24, 3, 3).numpy()
    [mesh] = decode_meshes(decoder, Poses(pose), DecodeOptions(part="clothes"))
    assert mesh.frame == 0
    assert mesh.points.shape == mesh.normals.shape == (len(mesh.patch), 3)
    assert mesh.triangles.max() == len(mesh.points) - 1
    assert len(border_loops(mesh.points, mesh.triangles)) == 4  # neck, two armholes, hem
    with pytest.raises(GarmentError, match="ask for meshes"):
        decoder.topology("poisson")

    with Backend.start(sys.executable, device="cpu", threads=1) as backend:  # the same through a backend process
        garment = backend.open_garment("dress-body")["id"]
        streamed = list(backend.decode_meshes(garment, Poses(pose.repeat(2, 0))))
        with pytest.raises(BackendError, match="parts"):
            next(backend.decode_meshes(garment, Poses(pose), DecodeOptions(part="sleeves")))
    assert [frame for frame, _ in streamed] == [0, 1]
    for _, arrays in streamed:
        assert arrays["points"].shape == arrays["normals"].shape == (len(arrays["patch"]), 3)
        assert np.abs(len(arrays["points"]) / len(mesh.points) - 1) < 0.02
        assert arrays["triangles"].max() == len(arrays["points"]) - 1


def test_the_command_writes_poisson_meshes(tmp_path):
    """A mesh a frame, with as many vertices as it takes; borders stay open."""
    arguments = ["decode", "dress", "--motion", "walk", "--frames", "3", "--surface", "poisson", "--axes", "Y"]
    assert main([*arguments, "--out", str(tmp_path), "--device", "cpu"]) == 0
    mesh = trimesh.load(tmp_path / "dress_00003.ply", process=False)
    assert len(mesh.faces) > 10_000 and not mesh.is_watertight
    assert mesh.bounds[1, 1] - mesh.bounds[0, 1] == pytest.approx(0.97, abs=0.05)  # of a dress, along Y
