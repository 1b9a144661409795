"""Settling: cloth gets its length back, the same in torch and in code of our own, alone and in company."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from scale_backend.formats.assets import find_garment
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import load_garment
from scale_backend.settling.constraints import sheet_constraints
from scale_backend.settling.fast import Sweeper, compiled
from scale_backend.settling.sweeps import Planes, Settling, settle
from tests.making import skirt_carrier

QUICK = Settling(sweeps=4, smoothed=3)


@pytest.fixture(scope="module")
def skirt():
    carrier = skirt_carrier(load_body("neutral"), columns=37, rows=14)  # no whole number of vectors
    return carrier.template, sheet_constraints(carrier.triangles, carrier.template)


def shrunk(rest, frames=3, share=0.93):  # [V, 3] -> [F, V, 3]
    """Too short, as a mean over folds is, with faint folds of its own."""
    torch.manual_seed(1)
    return rest[None] * torch.tensor([share, 1.0, share]) + 0.002 * torch.randn(frames, *rest.shape)


def planes_below(answer, height=0.001):
    """Every second vertex is lifted a little."""
    normal = torch.nn.functional.normalize(torch.randn_like(answer), dim=-1)
    normal[:, ::2] = 0
    offset = (normal * answer).sum(-1) + height
    offset[:, ::2] = 0
    return Planes(normal, offset)


def lengths(points, constraints):  # mean of edges' lengths over those at rest
    edges = constraints.edges
    squared = (points[:, edges.index] - points[:, :, None]).square().sum(-1) * edges.inverse
    return float(squared[:, edges.inverse > 0].sqrt().mean())


def test_constraints_are_those_of_the_mesh(skirt):
    rest, constraints = skirt
    columns, rows = 37, 14
    edges = columns * rows + 2 * columns * (rows - 1)
    assert int((constraints.edges.inverse > 0).sum()) == 2 * edges
    inner = edges - 2 * columns  # all but the two borders
    assert int((constraints.bends.inverse > 0).sum()) == 2 * inner
    assert settle(rest[None], constraints, None, QUICK).sub(rest).abs().max() < 1e-6  # at rest nothing moves


def test_length_comes_back(skirt):
    rest, constraints = skirt
    answer = shrunk(rest)
    settled = settle(answer, constraints, None, Settling())
    lost = 1 - lengths(answer, constraints)
    assert lost > 0.03 and 1 - lengths(settled, constraints) < 0.6 * lost  # it was smooth, and stays so
    free = settle(answer, constraints, None, Settling(stretch=1.4, smooth=0.0))
    assert abs(1 - lengths(free, constraints)) < 0.2 * lost
    assert (settled - answer).norm(dim=-1).max() <= Settling().reach + 1e-5


def test_code_is_equal_to_torch(skirt):
    rest, constraints = skirt
    answer = shrunk(rest)
    planes = planes_below(answer)
    sweeper = Sweeper(constraints)
    for bound in (None, planes):
        expected, found = settle(answer, constraints, bound, QUICK), sweeper(answer, bound, QUICK)
        assert (found - answer).abs().max() > 1e-3
        assert (found - expected).abs().max() < 2e-6
    long = settle(answer, constraints, planes, Settling()), sweeper(answer, planes, Settling())
    assert (long[0] - long[1]).abs().max() < 1e-4  # rounding grows from sweep to sweep


def test_a_frame_is_the_same_in_any_company(skirt):
    rest, constraints = skirt
    answer, sweeper = shrunk(rest), Sweeper(constraints)
    together = sweeper(answer, None, QUICK)
    alone = torch.cat([sweeper(answer[f : f + 1], None, QUICK) for f in (2, 0, 1)])[[1, 2, 0]]
    assert torch.equal(together, alone)


def test_cloth_stays_out_of_its_planes(skirt):
    rest, constraints = skirt
    answer = shrunk(rest)
    planes = planes_below(answer, 0.004)
    settled = Sweeper(constraints)(answer, planes, Settling())
    assert ((planes.normal * settled).sum(-1) - planes.offset).min() > -1e-6


def test_reach_bounds_the_displacement(skirt):
    rest, constraints = skirt
    answer = shrunk(rest)
    settled = Sweeper(constraints)(answer, None, replace(QUICK, reach=0.002))
    assert (settled - answer).norm(dim=-1).max() <= 0.002 + 1e-6


def test_sweeps_that_would_overshoot_are_refused():
    for wrong in ({"smooth": 0.4}, {"stretch": -0.1}, {"sweeps": 5000}, {"smoothed": 41}, {"stretch": 1.6}):
        with pytest.raises(ValueError, match="sweeps"):
            Settling(**wrong)


@pytest.mark.parametrize("parts", [(1.4, 0.1, 0.0), (0.3, 0.0, 1.0), (0.8, 0.1, 0.5)])
def test_the_steepest_sweeps_stay_calm(parts):
    """On a mesh of even but irregular triangles, as garments have: ripples of 2 mm do not grow."""
    carrier = load_garment(find_garment("dress")).carrier
    assert carrier is not None
    torch.manual_seed(3)
    answer = (carrier.template + 0.002 * torch.randn_like(carrier.template))[None]
    settling = Settling(200, 200, *parts, reach=1.0)
    settled = Sweeper(sheet_constraints(carrier.triangles, carrier.template))(answer, None, settling)
    assert (settled - answer).norm(dim=-1).max() < 0.02


def test_lengths_of_another_shape(skirt):
    rest, constraints = skirt
    wider = rest * torch.tensor([1.1, 1.0, 1.1])
    expected = settle(rest[None], constraints.of(wider), None, QUICK)
    found = Sweeper(constraints).of(wider)(rest[None], None, QUICK)
    assert (found - expected).abs().max() < 2e-6 and (found - rest).norm(dim=-1).mean() > 1e-3


@pytest.mark.parametrize("lanes", [4, 8])
def test_code_for_narrower_vectors(skirt, lanes, monkeypatch):
    rest, constraints = skirt
    monkeypatch.setattr("scale_backend.cpu.llvm_jit.vector_lanes", lambda: lanes)
    answer = shrunk(rest)
    sweeper = Sweeper(constraints)
    assert sweeper.blocks.lanes == lanes and compiled(lanes)
    assert (sweeper(answer, None, QUICK) - settle(answer, constraints, None, QUICK)).abs().max() < 2e-6
