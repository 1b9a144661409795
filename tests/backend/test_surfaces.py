"""Surface kinds: topology that fits the points, refinement, patches joined where they meet."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.assets import find_garment
from scale_backend.formats.garment_header import GarmentError
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.articulation import vertex_normals, vertex_rings
from scale_backend.geometry.body import load_body
from scale_backend.geometry.positional_map import rasterise
from scale_backend.geometry.rotations import matrix_from_axis_angle
from scale_backend.model.garment import load_garment
from scale_backend.surfaces.butterfly import butterfly
from scale_backend.surfaces.patches import patch_triangles, sample_grid
from scale_backend.surfaces.queries import feature_weights, islands
from scale_backend.surfaces.seams import cut_at_seams, smooth_queries
from scale_backend.surfaces.subdivision import subdivide
from tests.making import make_garment, skirt_carrier


@pytest.fixture(scope="module")
def body():
    return load_body("neutral")


def some_pose(frames: int = 2) -> torch.Tensor:
    torch.manual_seed(3)
    return matrix_from_axis_angle(torch.randn(frames, 24, 3) * 0.2)


def edge_uses(triangles: np.ndarray) -> np.ndarray:  # how many triangles share each edge
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def area_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_subdivision_keeps_the_surface(body, rounds):
    carrier = skirt_carrier(body)
    fine = subdivide(carrier.triangles, rounds)
    count = int(fine.triangles.max()) + 1
    origin, weights = fine.homes(count)
    places = torch.einsum("vkc,vk->vc", carrier.template[carrier.triangles[origin]], weights)
    assert torch.allclose(places[: len(carrier.template)], carrier.template)  # old vertices stay, in their order
    assert len(fine.triangles) == 4**rounds * len(carrier.triangles)
    old, new = (area_normals(p.numpy(), t.numpy()) for p, t in
                ((carrier.template, carrier.triangles), (places, fine.triangles)))  # fmt: skip
    assert np.allclose(new * 4**rounds, old[fine.origin.numpy()], atol=1e-6)  # same planes, same side, equal parts
    open_edges = (edge_uses(carrier.triangles.numpy()) == 1).sum()
    assert (edge_uses(fine.triangles.numpy()) == 1).sum() == 2**rounds * open_edges  # no crack, the borders split


def test_finer_meshes_hold_the_coarse_one(body):
    decoder = Decoder(make_garment("garment"), body)
    coarse = decoder.decode(Poses(some_pose()), DecodeOptions("mesh", push_out=False))[0]
    for surface, factor in (("mesh-x4", 4), ("mesh-x16", 16)):
        topology = decoder.topology(surface)
        points, normals = decoder.decode(Poses(some_pose()), DecodeOptions(surface, push_out=False))
        assert len(topology.triangles) == factor * len(decoder.topology("mesh").triangles)
        assert (points[:, : coarse.shape[1]] - coarse).abs().max() < 1e-5
        assert topology.uv.shape == (3 * len(topology.triangles), 2)
        assert normals.shape == points.shape == (2, len(topology.patch), 3)


def test_new_vertices_are_decoded_and_not_only_placed_between(body):
    """The network is asked at the new vertices: they leave the straight line between the old ones."""
    decoder = Decoder(load_garment(find_garment("dress")), body)
    points = decoder.decode(Poses(some_pose(1)), DecodeOptions("mesh-x4", push_out=False))[0][0]
    fine = subdivide(decoder.model.carrier.triangles, 1)
    old = len(decoder.model.carrier.template)
    middle = fine.triangles[1::4, 0], fine.triangles[0::4, 0], fine.triangles[1::4, 1]  # ab, a, b
    between = (points[middle[1]] + points[middle[2]]) / 2
    assert (middle[0] >= old).all()
    assert (points[middle[0]] - between).norm(dim=1).mean() > 5e-5  # metres


def test_patches_of_a_body_face_outwards_and_keep_to_themselves(body):
    garment = make_garment("body")
    decoder = Decoder(garment, body)
    topology = decoder.topology("patches", "whole body")
    triangles, patch = topology.triangles, topology.patch
    still = torch.eye(3).expand(1, 24, 3, 3)
    points, normals = decoder.decode(
        Poses(still), DecodeOptions("patches", "whole body", push_out=False, normals="decoded")
    )
    within = (patch[triangles] == patch[triangles[:, :1]]).all(1)
    assert within.sum() == garment.layout.mask.sum() * 18  # of 3 x 3 cells, each two triangles
    agreement = (area_normals(points[0].numpy(), triangles) * normals[0].numpy()[triangles].mean(1)).sum(1)
    by_patch = np.bincount(patch[triangles[:, 0]], agreement)
    assert (by_patch > -1e-9).all()
    assert topology.uv.min() > 0
    assert topology.uv.max() < 1


def test_only_cloth_is_meshed(body):
    garment = make_garment("body")
    cloth = torch.zeros_like(garment.cloth).unflatten(0, (-1, 16))
    cloth[100:120] = True
    decoder = Decoder(replace(garment, cloth=cloth.flatten()), body)
    topology = decoder.topology("patches", "clothes")
    assert set(np.unique(topology.patch)) == set(range(100, 120))
    assert decoder.decode(Poses(some_pose()), DecodeOptions("patches"))[0].shape == (2, 20 * 16, 3)


def test_continuous_patches_are_one_sheet_an_island(body):
    """Samples of a map whose carrier is sampled exactly: all cells of an island hang together."""
    garment = make_garment("garment")
    carrier, layout = garment.carrier, garment.layout
    fine = rasterise(carrier.uv, carrier.uv_triangles, layout.size * 4)
    count = int(layout.mask.sum()) * 16
    points, normals = torch.randn(count, 3), torch.randn(count, 3)
    triangles = patch_triangles(carrier, layout, True, points, normals)
    assert (edge_uses(triangles.numpy()) <= 2).all()
    grid = sample_grid(layout, 16)
    island = torch.full((count,), -1)
    there = (grid.point >= 0) & fine.mask
    island[grid.point[there]] = islands(carrier.uv_triangles, len(carrier.uv))[fine.triangle_index[there]]
    assert (island[triangles] == island[triangles[:, :1]]).all()
    rings = vertex_rings(triangles, count)
    pieces = connected_pieces(triangles[:, :2].numpy(), triangles[:, 1:].numpy(), count)
    assert len(np.unique(pieces[rings.present.sum(1).bool().numpy()])) == 2  # front and back of the skirt


def connected_pieces(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([a, b])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def test_patches_that_meet_are_joined(body):
    """Patch mode: points laid out as one plane join everywhere in an island; pulled apart, they do not."""
    garment = make_garment("body")
    carrier, layout = garment.carrier_on(body), garment.layout
    grid = sample_grid(layout, 16)
    place = torch.stack(torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij"), -1)
    inside = grid.point >= 0
    points = torch.zeros(int(layout.mask.sum()) * 16, 3)
    points[grid.point[inside], :2] = place[inside]
    normals = torch.tensor([0.0, 0.0, 1.0]).expand_as(points)
    gap = grid.pixel // layout.size * 2.0
    apart = points.clone()
    apart[grid.point[inside], 0] += gap[inside]  # rows of pixels pulled two steps apart
    counts = [len(patch_triangles(carrier, layout, False, p, normals)) for p in (points, apart)]
    alone = int(layout.mask.sum()) * 18
    assert counts[0] > 1.3 * alone
    assert alone < counts[1] < counts[0]


def test_a_kind_that_is_not_offered_is_named(body):
    with pytest.raises(GarmentError, match="not 'patches'"):
        Decoder(make_garment("garment"), body).topology("patches")
    with pytest.raises(GarmentError, match="not 'mesh'"):
        Decoder(make_garment("body"), body).topology("mesh")


def bumpy(columns: int = 24, rows: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """A regular grid of triangles on a smooth bumpy surface; spacing 1 / columns."""
    v, u = torch.meshgrid(torch.arange(rows) / columns, torch.arange(columns) / columns, indexing="ij")
    number = torch.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (n.flatten() for n in (number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]))
    triangles = torch.cat([torch.stack([a, b, d], 1), torch.stack([a, d, c], 1)])
    return torch.stack([u, v, height(u, v)], -1).flatten(0, 1), triangles


def height(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return 0.1 * (9 * u).sin() * (7 * v).cos()


@pytest.mark.parametrize("rounds", [1, 2])
def test_new_places_lie_on_the_smooth_surface(rounds):
    vertices, triangles = bumpy()
    stencils = butterfly(triangles, len(vertices), rounds)
    fine = subdivide(triangles, rounds)
    origin, weights = fine.homes(len(stencils.index))
    flat = torch.einsum("vkc,vk->vc", vertices[triangles[origin]], weights)
    smooth = (vertices[stencils.index] * stencils.weights[..., None]).sum(1)
    assert torch.equal(smooth[: len(vertices)], vertices)
    inner = ((flat[:, :2] > 0.13) & (flat[:, :2] < torch.tensor([0.82, 0.49]))).all(1)  # away from the borders
    error = [(x[inner, 2] - height(x[inner, 0], x[inner, 1])).abs().mean() for x in (flat, smooth)]
    assert error[1] < 0.15 * error[0]


def test_any_mesh_has_stencils_that_keep_planes(body):
    """Affine maps of the vertices carry over: odd valences, borders, cut corners, a fin on an edge."""
    rest = skirt_carrier(body)
    octahedron = [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1], [1, 5, 2], [2, 5, 3], [3, 5, 4], [4, 5, 1]]
    fin = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    for triangles in (rest.triangles, torch.tensor(octahedron), fin, torch.tensor([[0, 1, 2]])):
        count = int(triangles.max()) + 1
        for rounds in (1, 2):
            stencils = butterfly(triangles, count, rounds)
            assert len(stencils.index) == int(subdivide(triangles, rounds).triangles.max()) + 1
            assert torch.allclose(stencils.weights.sum(1), torch.ones(len(stencils.index)), atol=1e-6)
            assert stencils.weights.abs().sum(1).max() < 2.5


@pytest.mark.parametrize("surface", ["mesh-x4", "mesh-x16"])
def test_charts_meet_at_their_seams(body, surface):
    """Along seams the dress turns little more than elsewhere; the rest mesh's vertices stay."""
    decoder = Decoder(load_garment(find_garment("dress")), body)
    pose = some_pose(1)
    coarse, joined = (
        decoder.decode(Poses(pose), DecodeOptions(kind, push_out=False))[0][0] for kind in ("mesh", surface)
    )
    assert (joined[: len(coarse)] - coarse).abs().max() < 1e-5
    prepared = decoder.prepare(surface, "clothes")
    decoder.prepared[surface, "clothes", "faces"] = replace(prepared, binding=None, rings=None)
    torn = decoder.decode(Poses(pose), DecodeOptions(surface, push_out=False))[0][0][: len(joined)]
    fine = subdivide(decoder.model.host_carrier.triangles, 1 if surface == "mesh-x4" else 2)
    cut = cut_at_seams(fine, decoder.model.host_carrier.uv_triangles)
    on_seam = cut.vertex[len(joined) :].unique()
    assert len(on_seam) > 40
    (torn_seam, _), (seam, elsewhere) = (turns(points, fine.triangles, on_seam) for points in (torn, joined))
    assert seam < 0.5 * torn_seam and seam < 1.6 * elsewhere


def test_a_vertex_on_a_seam_is_the_mean_of_its_charts(body):
    decoder = Decoder(make_garment("garment"), body)
    pose, carrier = some_pose(1), decoder.model.host_carrier
    points = decoder.decode(Poses(pose), DecodeOptions(push_out=False))[0][0]
    cut = cut_at_seams(subdivide(carrier.triangles, 0), carrier.uv_triangles)
    prepared = decoder.prepare("mesh", "clothes")
    decoder.prepared["mesh", "clothes", "faces"] = replace(prepared, binding=None, rings=None)
    torn = decoder.decode(Poses(pose), DecodeOptions(push_out=False))[0][0]
    copies = torch.arange(len(points), len(torn))
    own = cut.vertex[copies]
    assert len(copies) == 2 * 12 and (torn[copies] - torn[own]).norm(dim=1).min() > 0
    assert torch.allclose(points[own], (torn[own] + torn[copies]) / 2, atol=1e-6)
    rest = torch.ones(len(points), dtype=torch.bool)
    rest[own] = False
    assert torch.allclose(points[rest], torn[: len(points)][rest], atol=1e-6)


def turns(points: torch.Tensor, triangles: torch.Tensor, on_seam: torch.Tensor) -> tuple[float, float]:
    """How far the triangles round a vertex face from its normal, radians: at seams and elsewhere."""
    rings = vertex_rings(triangles, len(points))
    normals = vertex_normals(points[None], rings)[0]
    a, b, c = points[triangles].unbind(1)
    faces = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    angle = (faces[:, None] - normals[triangles]).norm(dim=-1)
    seam = torch.isin(triangles, on_seam)
    return float(angle[seam].mean()), float(angle[~seam].mean())


def test_features_are_mixed_without_a_step(body):
    """A ramp over the map stays a ramp; a single pixel becomes a hill whose slope and curvature go on."""
    t = torch.linspace(0, 1, 101)[:-1].double()
    weights = feature_weights(t)
    assert torch.allclose(weights.sum(1), torch.ones_like(t))
    assert torch.allclose(weights @ torch.tensor([-1.0, 0, 1, 2]).double(), t, atol=1e-12)
    hill = weights.flip(1).T.flatten()  # of one pixel, over the four gaps in whose mix it is
    curvature = hill.diff().diff()
    assert weights.min() >= 0 and curvature.diff().abs().max() < 4e-6


def test_places_in_the_layout_do_not_turn_between_vertices(body):
    """On charts that are bent smoothly, finer vertices follow the bend, not the flat triangles."""
    carrier, size = skirt_carrier(body), 32
    bent = replace(carrier, uv=bend(carrier.uv))
    fine = subdivide(carrier.triangles, 1)
    cut = cut_at_seams(fine, carrier.uv_triangles)
    stencils = butterfly(carrier.triangles, len(carrier.template), 1)
    flat, found = (
        (smooth_queries(one, rasterise(one.uv, one.uv_triangles, size), cut, stencils).uv * (size - 1) + 0.5) / size
        for one in (carrier, bent)
    )
    row, column = flat.T
    expected = bend(torch.stack([column, 1 - row], 1))
    straight = torch.einsum("mkc,mk->mc", bent.uv[carrier.uv_triangles[cut.triangle]], cut.weights)
    error, before = (
        (places - expected).norm(dim=1) for places in (torch.stack([found[:, 1], 1 - found[:, 0]], 1), straight)
    )
    assert before.max() > 2e-3 and error.mean() < 0.3 * before.mean()


def bend(uv: torch.Tensor) -> torch.Tensor:  # [U, 2]
    return uv + 0.02 * torch.sin(9 * uv.flip(1))
