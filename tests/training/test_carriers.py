"""Carriers made of garments: charts that tile the map evenly, weights that follow the skin or hang free."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from scale_backend.formats.errors import UserError
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.geometry.body import joint_transforms, load_body, pose_vertices
from scale_backend.geometry.carrier import pose_carrier
from scale_backend.geometry.positional_map import rasterise
from training.carriers import build_garment_carrier
from training.carriers.binding import (
    Diffusion,
    clothed_weights,
    diffuse,
    diffuse_blend_weights,
    find_contact,
    keep_strongest,
)
from training.carriers.rectangle_map import border_loop, map_to_rectangle
from training.carriers.square_tiling import tile_square
from training.carriers.uv_packing import cut_panel, pack_panels
from training.geometry.surface_distance import vertex_normals

SIZE = 32


def grid(columns: int, rows: int) -> np.ndarray:  # triangles [T, 3] of a grid of vertices, columns fastest
    c, r = np.meshgrid(np.arange(columns - 1), np.arange(rows - 1))
    a = (r * columns + c).ravel()
    return np.concatenate([np.stack([a, a + 1, a + columns], 1), np.stack([a + 1, a + columns + 1, a + columns], 1)])


def cone_skirt(columns: int = 40, rows: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A closed flared skirt: vertices, triangles, panel (front, back). Left and right are mirror images."""
    angle = (np.arange(columns) / columns + 0.5 / columns) * 2 * np.pi
    height, radius = np.linspace(-0.70, -0.05, rows), np.linspace(0.32, 0.15, rows)
    ring = np.stack([np.sin(angle), np.zeros(columns), np.cos(angle)], 1)
    vertices = (ring[None] * radius[:, None, None] + np.array([0, 1, 0]) * height[:, None, None]).reshape(-1, 3)
    wrapped = grid(columns + 1, rows)
    row, column = np.divmod(wrapped, columns + 1)
    triangles = row * columns + column % columns
    middle = column.sum(1) / 3 / columns
    return vertices + np.array([0, 0, 0.04]), triangles, ((middle > 0.25) & (middle < 0.75)).astype(np.uint8)


def surface_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[triangles[:, k]].astype(np.float64) for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def signed_uv_areas(uv: np.ndarray, uv_triangles: np.ndarray) -> np.ndarray:
    a, b, c = (uv[uv_triangles[:, k]].astype(np.float64) for k in range(3))
    one, two = b - a, c - a
    return (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]) / 2


def covered_and_unevenness(vertices, triangles, uv, uv_triangles) -> tuple[float, float]:
    """Share of pixel centres covered; coefficient of variation of the surface area a pixel stands for."""
    layout = rasterise(torch.from_numpy(uv), torch.from_numpy(uv_triangles.astype(np.int64)), SIZE)
    index = layout.triangle_index.numpy()
    density = surface_areas(vertices, triangles) / signed_uv_areas(uv, uv_triangles)
    density = density[index[index >= 0]]
    return float((index >= 0).mean()), float(density.std() / density.mean())


def check_charts(vertices, triangles, panel, uv, uv_triangles, most_uneven: float) -> None:
    covered, unevenness = covered_and_unevenness(vertices, triangles, uv, uv_triangles)
    assert covered > 0.99
    assert unevenness < most_uneven
    assert signed_uv_areas(uv, uv_triangles).min() > 1e-8  # none flipped, none without area
    area = 0.0
    for number in np.unique(panel):
        corners = uv[np.unique(uv_triangles[panel == number])]
        low, high = corners.min(0) * SIZE, corners.max(0) * SIZE
        np.testing.assert_allclose([low, high], np.round([low, high]), atol=1e-4)
        area += np.prod(high - low)
        up = vertices[np.unique(triangles[panel == number])][:, 1]  # sorted as in the chart
        assert np.corrcoef(up, corners[:, 1])[0, 1] > 0.8
    assert area == pytest.approx(SIZE**2, abs=1e-2)  # the rectangles tile the square


@pytest.fixture(scope="module")
def body():
    return load_body("neutral")


@pytest.fixture(scope="module", params=["dress", "tee-trousers"])
def garment(request, garments, skinned_body):
    return garments[request.param].raw(skinned_body)


@pytest.fixture(scope="module")
def carrier(garment, body):
    return build_garment_carrier(garment, body)


def test_a_skirt_fills_the_map_evenly():
    vertices, triangles, panel = cone_skirt()
    uv, uv_triangles = pack_panels(vertices, triangles, panel, SIZE)
    check_charts(vertices, triangles, panel, uv, uv_triangles, most_uneven=0.05)


def test_garments_fill_the_map_evenly(garment, carrier):
    uv, uv_triangles = carrier.uv.numpy(), carrier.uv_triangles.numpy()
    check_charts(garment.vertices, garment.triangles, garment.panel, uv, uv_triangles, most_uneven=0.10)
    for number in np.unique(garment.panel):  # a seam vertex has one uv in each panel, all others one
        of_panel = garment.panel == number
        pairs = np.stack([garment.triangles[of_panel].ravel(), uv_triangles[of_panel].ravel()], 1)
        assert len(np.unique(pairs, axis=0)) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1]))


def test_charts_are_not_mirrored():
    vertices, triangles, panel = cone_skirt()
    uv, uv_triangles = pack_panels(vertices, triangles, panel, SIZE)
    front = np.unique(triangles[panel == 0]), np.unique(uv_triangles[panel == 0])
    back = np.unique(triangles[panel == 1]), np.unique(uv_triangles[panel == 1])
    assert np.corrcoef(vertices[front[0], 0], uv[front[1], 0])[0, 1] > 0.8  # left of the body is right in front
    assert np.corrcoef(vertices[back[0], 0], uv[back[1], 0])[0, 1] < -0.8


def test_a_flat_rectangle_is_kept_as_it_is():
    x, y = np.meshgrid(np.linspace(0, 0.4, 9), np.linspace(0, 0.2, 6))
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(54)], 1)
    flat = map_to_rectangle(vertices, grid(9, 6), [0, 8, 53, 45], 0.4, 0.2)
    np.testing.assert_allclose(flat, vertices[:, :2], atol=2e-3)


def test_triangles_that_hang_on_the_border_get_area():
    """An ear in the middle of a side would be a line if its three corners stayed on that side."""
    x, y = np.meshgrid(np.linspace(0, 0.4, 9), np.linspace(0, 0.3, 7))
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(63)], 1)
    triangles = np.concatenate([grid(9, 7), [[4, 3, 63], [5, 4, 64], [4, 63, 64]]])  # two ears and one between them
    vertices = np.concatenate([vertices, [[0.175, -0.03, 0], [0.225, -0.03, 0]]])
    flat = map_to_rectangle(vertices, triangles, [0, 8, 62, 54], 8, 6, dent=0.2)
    assert signed_uv_areas(flat, triangles).min() > 1e-4
    assert flat.min() >= -1e-9 and (flat <= np.array([8, 6]) + 1e-9).all()


def test_a_tube_is_refused():
    vertices, triangles, _ = cone_skirt()
    with pytest.raises(UserError, match="disk"):
        border_loop(triangles)
    with pytest.raises(UserError, match="disk"):
        pack_panels(vertices, triangles, np.zeros(len(triangles), np.uint8))


def test_corners_of_a_panel_are_its_corners():
    vertices, triangles, panel = cone_skirt()
    front = cut_panel(vertices, triangles[panel == 0])
    low_left, low_right, high_right, high_left = front.vertices[front.corners]
    assert low_left[0] < -0.28 and low_right[0] > 0.28 and low_left[1] == low_right[1] == pytest.approx(-0.70)
    assert high_left[0] < -0.12 and high_right[0] > 0.12 and high_left[1] == high_right[1] == pytest.approx(-0.05)


@pytest.mark.parametrize("count", [1, 2, 4, 7, 12])
def test_rectangles_tile_the_square(count):
    random = np.random.default_rng(count)
    areas = random.uniform(1, 3, count)
    rectangles = tile_square(areas, random.uniform(0.5, 2, count), SIZE)
    cells = np.zeros((SIZE, SIZE), int)
    for left, low, width, height in rectangles:
        cells[left : left + width, low : low + height] += 1
    assert (cells == 1).all()
    sizes = np.array([width * height for _, _, width, height in rectangles])
    assert np.abs(np.log(sizes / sizes.sum() / (areas / areas.sum()))).max() < 0.2


def test_blend_weights_are_rows_of_few_joints(carrier, body):
    weights = carrier.blend_weights.numpy()
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert (weights > 0).sum(1).max() <= 8
    for name in ("head", "left_hand", "right_hand", "left_foot", "right_foot"):
        assert weights[:, body.joint_names.index(name)].max() == 0


def test_blend_weights_change_smoothly(garment, carrier):
    pairs = np.unique(np.sort(np.concatenate([garment.triangles[:, [0, 1]], garment.triangles[:, [1, 2]]]), 1), axis=0)
    weights = carrier.blend_weights.numpy()
    change = np.abs(weights[pairs[:, 0]] - weights[pairs[:, 1]]).sum(1)
    length = np.linalg.norm(garment.vertices[pairs[:, 0]] - garment.vertices[pairs[:, 1]], axis=1)
    assert np.percentile(change / length, 99) < 30  # a whole change of joint takes more than 6 cm
    free = garment.pin[pairs].max(1) < 0.5
    assert (change / length)[free].max() < 60


def test_carriers_are_nearly_symmetric(garment, carrier, body):
    mirror = [body.joint_names.index(_other_side(name)) for name in body.joint_names]
    weights = carrier.blend_weights.numpy()
    mirrored = garment.vertices * [-1, 1, 1]
    distance, nearest = _nearest(mirrored, garment.vertices)
    close = distance < 0.006
    assert close.sum() > 200
    difference = np.abs(weights[nearest][:, mirror] - weights)[close].sum(1)
    assert np.median(difference) < 0.05 and np.percentile(difference, 95) < 0.25


def test_a_symmetric_skirt_follows_both_legs_alike(body):
    vertices, triangles, _ = cone_skirt()
    contact = find_contact(vertices, triangles, body.template.numpy(), body.triangles.numpy())
    skin = contact.carry(clothed_weights(body.blend_weights.numpy(), body.parents, body.joint_names))
    weights = diffuse_blend_weights(vertices, triangles, skin, contact.distance)
    left, right = (body.joint_names.index(f"{side}_hip") for side in ("left", "right"))
    between = (np.abs(vertices[:, 0]) < 0.03) & (vertices[:, 1] < -0.5)
    assert between.any()
    assert np.abs(weights[between, left] - weights[between, right]).max() < 0.12
    assert weights[between][:, [left, right]].min() > 0.1
    _, partner = _nearest(vertices * [-1, 1, 1], vertices)
    np.testing.assert_allclose(weights[partner, left], weights[:, right], atol=0.03)


def test_skinned_garments_stay_whole(garment, carrier, body):
    """In a walk, a seat and a lunge no triangle away from the pinned part tears, and few points enter the body."""
    poses = np.zeros((3, 24, 3))
    joint = body.joint_names.index
    poses[0, [joint("left_hip"), joint("right_hip")], 0] = -0.6, 0.5
    poses[1, [joint("left_hip"), joint("right_hip"), joint("left_knee"), joint("right_knee")], 0] = -1.5, -1.5, 1.5, 1.5
    poses[2, [joint("left_hip"), joint("right_hip"), joint("left_knee"), joint("right_knee")], 0] = -1.2, 0.4, 1.3, 1.2
    rotations = torch.from_numpy(matrices_from_axis_angle(poses).astype(np.float32))
    posed, skins = pose_carrier(carrier, body, rotations).numpy(), pose_vertices(body, rotations).numpy()
    triangles = np.asarray(garment.triangles, np.int64)
    free = garment.pin[triangles].max(1) < 0.5
    rest = surface_areas(garment.vertices, triangles)
    for vertices, skin in zip(posed, skins, strict=True):
        assert (surface_areas(vertices, triangles) / rest)[free].max() < 3
        distance, nearest = _nearest(vertices, skin)
        normals = vertex_normals(skin, body.triangles.numpy())[nearest]
        height = ((vertices - skin[nearest]) * normals).sum(1)
        assert ((height < -0.01) & (distance < 0.05)).mean() < 0.06


def test_pinned_cloth_keeps_the_weights_it_was_simulated_with(garment, carrier, body):
    pinned = garment.pin > 0.999
    wanted = clothed_weights(garment.blend_weights, body.parents, body.joint_names)[pinned]
    assert pinned.sum() > 100
    assert np.abs(carrier.blend_weights.numpy()[pinned] - wanted).max() < 0.02  # the weakest joints are dropped


def test_garments_follow_the_shape_of_the_skin(garment, carrier, body):
    components = carrier.shape_components.numpy()
    assert components.shape == (len(garment.vertices), 3, body.shape_components.shape[2])
    distance, nearest = _nearest(garment.vertices, body.template.numpy())
    close = distance < 0.012
    skin = body.shape_components.numpy()[nearest]
    assert close.sum() > 100
    off = np.linalg.norm(components - skin, axis=1)[close]  # metres per standard deviation
    assert np.percentile(off, 95) < 0.004
    heavier = torch.zeros(1, body.shape_components.shape[2])
    heavier[0, 0] = 2.0
    assert torch.isfinite(pose_carrier(carrier, body, torch.eye(3).expand(1, 24, 3, 3), shape=heavier)).all()


def test_cloth_goes_by_the_skin_that_faces_its_way():
    """Two walls a centimetre apart: cloth on the left one, nearer to the right one, belongs to the left one."""
    wall = np.array([[0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]], float)
    faces_right, faces_left = np.array([[0, 1, 2], [0, 2, 3]]), np.array([[4, 6, 5], [4, 7, 6]])
    skin = np.concatenate([wall, wall + np.array([0.01, 0, 0])])
    cloth = wall * 0.5 + [0.008, 0.25, 0.25]
    normals = vertex_normals(cloth, faces_right)
    assert normals[0, 0] == pytest.approx(1)
    contact = find_contact(cloth, faces_right, skin, np.concatenate([faces_right, faces_left]))
    assert (contact.corners < 4).all()
    np.testing.assert_allclose(contact.distance, 0.008, atol=1e-9)


def test_diffusion_keeps_a_constant_and_the_range():
    vertices, triangles, _ = cone_skirt()
    random = np.random.default_rng(0)
    wanted, trust = random.random((len(vertices), 3)), random.uniform(1e-4, 1, len(vertices))
    result = diffuse(wanted, trust, vertices, triangles, 0.05)
    assert result.min() >= wanted.min() and result.max() <= wanted.max()
    np.testing.assert_allclose(diffuse(np.full((len(vertices), 1), 0.3), trust, vertices, triangles, 0.05), 0.3)
    assert result.std() < 0.5 * wanted.std()


def test_keeping_the_strongest_joints_makes_no_step():
    row = np.full(12, 0.05)
    row[:8] = np.linspace(0.05, 0.06, 8)
    kept = keep_strongest(np.stack([row, np.roll(row, 1) * 0.999 + row * 0.001]) / row.sum(), 8)
    assert (kept > 0).sum(1).max() <= 8
    assert Diffusion().influences == 8
    np.testing.assert_allclose(kept.sum(1), 1)


def test_rest_pose_leaves_the_carrier_where_it_was_cut(carrier, body):
    still = torch.eye(3).expand(1, 24, 3, 3)
    assert joint_transforms(body, still).shape == (1, 24, 4, 4)
    torch.testing.assert_close(pose_carrier(carrier, body, still)[0], carrier.template, atol=2e-6, rtol=0)


def _other_side(name: str) -> str:
    return name.replace("left", "#").replace("right", "left").replace("#", "right")


def _nearest(points: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return cKDTree(others).query(points)
