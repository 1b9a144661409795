"""Weighted gathers against plain sums."""

import torch

from scale_backend.geometry.gathering import gather_sum, incidence


def test_gather_sum_and_its_gradient():
    torch.manual_seed(0)
    values = torch.randn(3, 20, 5, dtype=torch.float64, requires_grad=True)
    index, weights = torch.randint(0, 20, (11, 4)), torch.rand(11, 4, dtype=torch.float64)
    plain = torch.stack([(values[f][index] * weights[..., None]).sum(1) for f in range(3)])
    assert torch.allclose(gather_sum(values, index, weights), plain)
    assert torch.allclose(gather_sum(values, index[:, :1], weights[:, :1]), values[:, index[:, 0]] * weights[:, :1])
    assert torch.autograd.gradcheck(lambda v: gather_sum(v, index, weights), values)


def test_incidence():
    triangles = torch.tensor([[0, 1, 2], [2, 1, 3], [0, 2, 4]])
    table = incidence(triangles, 5)
    assert [sorted(set(row.tolist()) - {-1}) for row in table] == [[0, 2], [0, 1], [0, 1, 2], [1], [2]]
