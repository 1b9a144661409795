"""The network's normals at the vertices of a surface with faces, in place of those of its faces."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from scale_backend.decoding.decoder import Decoder
from scale_backend.decoding.frames import network_input, pose_frames
from scale_backend.formats.assets import find_garment, find_motion
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.motions import load_motion
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.articulation import vertex_normals, vertex_rings
from scale_backend.geometry.body import load_body, pose_vertices
from scale_backend.geometry.positional_map import surface_points
from scale_backend.geometry.rotations import matrix_from_axis_angle
from scale_backend.model.garment import load_garment
from scale_backend.model.tracked_surface import TrackedSurface
from scale_backend.surfaces.queries import Queries
from scale_backend.surfaces.seams import cut_at_seams
from scale_backend.surfaces.subdivision import subdivide
from tests.backend import reference
from tests.backend.reference import query_frames
from tests.backend.serving import poses
from tests.making import make_garment


@pytest.fixture(scope="module")
def body():
    return load_body("neutral")


def some_pose(frames: int = 2) -> torch.Tensor:
    """Without the root's turn: what is decoded stands in the space of the training data."""
    torch.manual_seed(8)
    rotations = matrix_from_axis_angle(torch.randn(frames, 24, 3) * 0.25)
    rotations[:, 0] = torch.eye(3)
    return rotations


def of_faces(points: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:  # [F, V, 3] -> [F, V, 3]
    return vertex_normals(points, vertex_rings(triangles.long(), points.shape[1]))


def network_normals(decoder: Decoder, rotations: torch.Tensor, queries: Queries) -> torch.Tensor:  # [F, M, 3]
    """By the plain network: a query's features are mixed from the pixels round it, its normal leaves the rest one."""
    state, size = decoder.model.garment.network.state_dict(), decoder.model.layout.size
    pose = pose_frames(decoder.model, Poses(rotations, torch.zeros(len(rotations), 3)))
    seen = network_input(decoder.model, pose).mT.unflatten(2, (size, size))
    code = state["latent"] / max(1.0, float(state["latent"].norm()))
    pixels = reference.unet(seen, state, code).flatten(2)  # [F, C, H W]
    features = (pixels[:, :, queries.taps] * queries.tap_weights).sum(-1)
    uv, pq = (x.T.expand(len(rotations), -1, -1) for x in (queries.uv, queries.pq))
    local = reference.mlp(torch.cat([features, uv, pq], 1), state)[1].mT
    local = local + surface_points(decoder.model.rest.normals[None], queries.corners, queries.weights)
    frames = query_frames(pose.vertices, queries, decoder.model)[1]
    return normalize(torch.einsum("fmij,fmj->fmi", frames, local), dim=-1)


def test_a_mesh_has_the_networks_normals(body):
    """On a seam the mean of what the charts give."""
    decoder, rotations = Decoder(make_garment("garment"), body), some_pose()
    points, normals = decoder.decode(Poses(rotations), DecodeOptions(normals="decoded"))
    expected = network_normals(decoder, rotations, decoder.prepare("mesh", "clothes").queries)
    cut = cut_at_seams(subdivide(decoder.model.host_carrier.triangles, 0), decoder.model.host_carrier.uv_triangles)
    summed = torch.zeros_like(points).index_add(1, cut.vertex, expected)
    assert cut.vertex[points.shape[1] :].numel() > 10
    assert (normals - normalize(summed, dim=-1)).abs().max() < 1e-3
    plain_points, plain = decoder.decode(Poses(rotations))
    assert torch.equal(points, plain_points)
    assert (plain - of_faces(plain_points, torch.from_numpy(decoder.topology().triangles))).abs().max() < 1e-5
    assert (plain - normals).abs().max() > 0.01


def test_finer_meshes_have_them_too(body):
    decoder, rotations = Decoder(make_garment("garment"), body), some_pose()
    coarse = decoder.decode(Poses(rotations), DecodeOptions("mesh", normals="decoded"))[1]
    for surface in ("mesh-x4", "mesh-x16"):
        normals = decoder.decode(Poses(rotations), DecodeOptions(surface, normals="decoded"))[1]
        assert (normals[:, : coarse.shape[1]] - coarse).abs().max() < 1e-4
        assert (normals.norm(dim=-1) - 1).abs().max() < 1e-5


@pytest.fixture(scope="module")
def tracked_garment():
    """A strip of ten triangles bound to some points."""
    torch.manual_seed(4)
    weights = torch.rand(12, 5)
    a = torch.arange(10, dtype=torch.int32)
    surface = TrackedSurface(torch.randint(0, 1024, (12, 5), dtype=torch.int32), weights / weights.sum(1, keepdim=True),
                             torch.stack([a, a + 1, a + 2], 1), torch.rand(30, 2),
                             torch.arange(30, dtype=torch.int32).reshape(10, 3))  # fmt: skip
    return replace(make_garment("body"), tracked={"clothes": surface})


@pytest.mark.parametrize(("surface", "part"), [("tracked", "clothes"), ("patches", "whole body")])
def test_surfaces_of_patches_have_those_of_their_points(body, tracked_garment, surface, part):
    decoder, rotations = Decoder(tracked_garment, body), some_pose()
    posed = pose_vertices(body, rotations, -body.mean_joints[:1].expand(2, 3))
    layout = tracked_garment.layout
    everything = reference.decode_patches(
        tracked_garment.network.state_dict(), posed, body.triangles, layout.triangle_index, layout.barycentrics
    )[1].flatten(1, 2)
    normals = decoder.decode(Poses(rotations), DecodeOptions(surface, part, push_out=False, normals="decoded"))[1]
    if surface == "tracked":
        bound = tracked_garment.tracked["clothes"]
        blended = (everything[:, bound.index.long()] * bound.weights[..., None]).sum(2)
        everything = normalize(blended, dim=-1)
    assert (normals - everything).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("name", "surface", "share"),
    [("dress", "mesh", 0.999), ("dress", "mesh-x4", 0.999), ("tee-trousers", "mesh", 0.999),
     ("dress-body", "tracked", 0.99), ("dress-body", "patches", 0.95)],
)  # fmt: skip
def test_they_face_as_the_faces_do(body, name, surface, share):
    decoder = Decoder(load_garment(find_garment(name)), body, precision="auto")
    motion = load_motion(find_motion("dance"))
    rotations = torch.from_numpy(matrices_from_axis_angle(motion.rotations[20:200:60])).float()
    points, normals = decoder.decode(Poses(rotations), DecodeOptions(surface, normals="decoded"))
    plain = of_faces(points, torch.from_numpy(decoder.topology(surface).triangles))
    assert ((plain * normals).sum(-1) > 0).float().mean() > share
    assert (decoder.decode(Poses(rotations), DecodeOptions(surface))[1] - plain).abs().mean() < 1e-3


def test_the_root_turns_them(body):
    decoder, rotations = Decoder(make_garment("garment"), body), some_pose(1)
    still = decoder.decode(Poses(rotations), DecodeOptions(normals="decoded"))[1]
    rotations[:, 0] = matrix_from_axis_angle(torch.tensor([0.3, -2.0, 0.5]))
    turned = decoder.decode(Poses(rotations), DecodeOptions(normals="decoded"))[1]
    assert (turned - still @ rotations[0, 0].T).abs().max() < 1e-5


def test_through_a_backend_process(backend, garment, garment_file):
    rotations, translation = poses(3)
    decoder = Decoder(load_garment(garment_file), load_body(), precision="auto")
    expected = decoder.decode(
        Poses(torch.from_numpy(rotations), torch.from_numpy(translation)), DecodeOptions(normals="decoded")
    )[1].numpy()
    normals = backend.decode(garment, Poses(rotations, translation), DecodeOptions(normals="decoded"))[1]
    streamed = [
        n
        for _, _, n in backend.decode_stream(
            garment, Poses(rotations, translation), DecodeOptions(normals="decoded"), batch=2
        )
    ]
    assert abs(normals - expected).max() < 5e-3
    assert [len(n) for n in streamed] == [2, 1] and abs(streamed[1][0] - normals[2]).max() < 1e-3
    assert abs(backend.decode(garment, Poses(rotations, translation))[1] - normals).max() > 0.01
