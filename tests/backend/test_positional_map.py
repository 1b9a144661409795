"""Rasterisation against brute force, and the conventions of the published format."""

import numpy as np
import pytest
import torch

from scale_backend.geometry.body import load_body
from scale_backend.geometry.positional_map import positional_map, rasterise


def brute_force(uv: np.ndarray, triangles: np.ndarray, size: int) -> np.ndarray:
    """First triangle round each pixel centre, all pairs."""
    index = np.full((size, size), -1)
    for row in range(size):
        for column in range(size):
            point = np.array([(column + 0.5) / size, 1 - (row + 0.5) / size])
            for t, corners in enumerate(uv[triangles]):
                matrix = np.vstack([corners.T, np.ones(3)])
                if abs(np.linalg.det(matrix)) > 1e-12 and (np.linalg.solve(matrix, [*point, 1]) >= -1e-9).all():
                    index[row, column] = t
                    break
    return index


def test_equals_brute_force():
    rng = np.random.default_rng(0)
    uv = rng.random((40, 2)) * 1.2 - 0.1  # some of it outside the map
    triangles = rng.integers(0, 40, (30, 3))
    layout = rasterise(torch.from_numpy(uv), torch.from_numpy(triangles), 16)
    assert np.array_equal(layout.triangle_index.numpy(), brute_force(uv, triangles, 16))


def test_pixel_convention():
    """Row 0 is the top of the map (large v); the value is the surface point at the pixel's centre."""
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    vertices = torch.cat([uv, torch.zeros(4, 1)], 1)[None]  # the position is the uv itself
    values = positional_map(vertices, triangles, rasterise(uv, triangles, 32))
    row, column = 3, 20
    assert torch.allclose(values[0, :2, row, column], torch.tensor([(column + 0.5) / 32, 1 - (row + 0.5) / 32]))


def test_background_is_zero():
    uv = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]])
    triangles = torch.tensor([[0, 1, 2]])
    layout = rasterise(uv, triangles, 32)
    values = positional_map(torch.full((1, 3, 3), 7.0), triangles, layout)
    assert (values[0, :, ~layout.mask] == 0).all()
    assert torch.allclose(values[0, :, layout.mask], torch.tensor(7.0))


@pytest.mark.parametrize("size", [32, 64, 128])
def test_embedded_body_covers_the_map(size):
    body = load_body("neutral")
    layout = rasterise(body.uv, body.uv_triangles, size)
    assert int(layout.mask.sum()) == size * size
    assert torch.allclose(layout.barycentrics.sum(-1), torch.ones(size, size), atol=1e-6)
