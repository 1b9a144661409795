"""Triangles that are stretched too far."""

import numpy as np
import pytest
import torch

from scale_backend.geometry.stretching import MOST, drawn_together, rest_sizes

SIDE = 12  # vertices along a square of cloth
SIZE = 1.3


@pytest.fixture(scope="module")
def square():
    """A square of a centimetre a step, as vertices and triangles."""
    y, x = np.mgrid[:SIDE, :SIDE]
    rest = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3) * 0.01
    corner = (y * SIDE + x)[:-1, :-1].ravel()
    triangles = np.concatenate([corner[:, None] + [0, 1, SIDE], corner[:, None] + [1, SIDE + 1, SIDE]])
    return torch.from_numpy(rest).float(), torch.from_numpy(triangles)


def stretch(points: torch.Tensor, rest: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:  # [T]
    def areas(x: torch.Tensor) -> torch.Tensor:
        a, b, c = x[triangles].unbind(1)
        return torch.linalg.cross(b - a, c - a).norm(dim=-1)

    return areas(points) / areas(rest) / SIZE**2


def test_cloth_that_is_not_stretched_stays_to_the_bit(square):
    rest, triangles = square
    points = SIZE * rest[None] * torch.tensor([1.2, 1.2, 1.0])
    for reads_back in (True, False):
        assert torch.equal(drawn_together(points, rest_sizes(triangles, rest), SIZE, reads_back), points)


def test_a_vertex_that_was_pushed_away_is_drawn_back(square):
    """With what lies round it, and nothing else; on a GPU, where no value is read back, the same."""
    rest, triangles = square
    points = SIZE * rest.clone()
    pushed = SIDE * 5 + 5
    points[pushed] += torch.tensor([0.0, 0.01, 0.03])
    assert stretch(points, rest, triangles).max() > 2
    drawn = drawn_together(points[None], rest_sizes(triangles, rest), SIZE, True)[0]
    assert stretch(drawn, rest, triangles).max() < MOST + 1e-4
    moved = (drawn - points).norm(dim=-1)
    assert moved[pushed] == moved.max() > 0.005
    corners = [0, SIDE - 1, SIDE * (SIDE - 1), SIDE * SIDE - 1]
    assert torch.equal(drawn[corners], points[corners])
    whole = drawn_together(torch.stack([points, SIZE * rest]), rest_sizes(triangles, rest), SIZE, False)
    assert (whole[0] - drawn).abs().max() < 1e-6
    assert torch.equal(whole[1], SIZE * rest)
