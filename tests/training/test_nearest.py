"""Nearest neighbours against all distances."""

from __future__ import annotations

import pytest
import torch

from scale_backend.formats.errors import UserError
from training.geometry.nearest import CHUNK_ELEMENTS, _brute_force, nearest, nearest_index


def test_index_and_distance_are_those_of_all_distances():
    random = torch.Generator().manual_seed(0)
    query, target = torch.rand(400, 3, generator=random), torch.rand(700, 3, generator=random)
    every = (query[:, None].double() - target[None].double()).square().sum(-1)
    distance, index = nearest(query, target)
    assert torch.equal(index, every.argmin(1))
    assert torch.allclose(distance.double(), every.min(1).values, atol=1e-7)
    assert torch.equal(_brute_force(query, target), index)
    assert CHUNK_ELEMENTS > 2**20


def test_near_points_far_from_the_origin_are_told_apart():
    # |x|² + |y|² - 2 x y in float32 would confuse points a tenth of a millimetre apart
    target = torch.tensor([[1.5, -1.0, 0.5], [1.5001, -1.0, 0.5]])
    assert _brute_force(target + torch.tensor([1e-5, 0, 0]), target).tolist() == [0, 1]


def test_gradients_reach_both_sides():
    query = torch.rand(6, 3, dtype=torch.float64, requires_grad=True)
    target = torch.rand(9, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, t: nearest(q, t)[0], (query, target))


def test_no_target_is_told():
    with pytest.raises(UserError, match="no points"):
        nearest_index(torch.rand(2, 3), torch.rand(0, 3))
