"""The MLP as code of our own against the network it stands for. What the CPU has no units for is only compiled."""

from dataclasses import replace

import pytest
import torch

from scale_backend.cpu import amx, llvm_jit, tile_code, vector_code
from scale_backend.cpu.piecewise import EVEN, LAST, WIDTH, table
from scale_backend.cpu.tile_code import TileChain
from scale_backend.cpu.vector_code import VectorChain
from scale_backend.inference.choice import mlp_of
from scale_backend.inference.folded_mlp import FoldedMLP
from scale_backend.inference.folding import FoldedNetwork, fold
from scale_backend.inference.mlp import InferenceMLP
from scale_backend.inference.precision import PRECISIONS, fast_precisions
from scale_backend.inference.tile_mlp import TileMLP, pack
from scale_backend.inference.vector_mlp import VectorMLP
from scale_backend.model.network import ACTIVATIONS, NetworkSettings
from tests.making import random_network

NETWORKS = {
    "plain": NetworkSettings(unet_width=8, hidden=64),
    "wide": NetworkSettings(unet_width=8, hidden=256),
    "silu": NetworkSettings(unet_width=8, hidden=96, activation="silu"),
    "five blocks": NetworkSettings(unet_width=8, hidden=160, activation="silu"),
    "relu": NetworkSettings(unet_width=8, hidden=32, activation="relu"),
    "sines": NetworkSettings(unet_width=8, hidden=64, uv_frequencies=4),
    "odd": NetworkSettings(unet_width=8, hidden=64, features=20, colors=True),
}
LARGE = (-1e6, -200.0, -20.0, 0.0, 20.0, 200.0, 1e6)
LANES = llvm_jit.vector_lanes()
needs_tiles = pytest.mark.skipif(not amx.available(), reason="this CPU has no matrix tiles")


@pytest.fixture(params=[16, 8])
def lanes(request, monkeypatch) -> int:
    """As on a CPU with AVX-512, or with AVX2 alone."""
    if request.param > LANES:
        pytest.skip(f"this CPU has no vectors of {request.param} floats")
    monkeypatch.setattr(llvm_jit, "vector_lanes", lambda: request.param)
    return request.param


def network(name: str) -> FoldedNetwork:
    return fold(random_network(NETWORKS[name], size=2.0))


def queries(folded: FoldedNetwork, rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    features = torch.randn(1, rows, folded.settings.features, generator=random)
    uv, pq = (torch.rand(rows, 2, generator=random) for _ in range(2))
    return features, uv, pq


def decoded(mlp: InferenceMLP, features: torch.Tensor, uv: torch.Tensor, pq: torch.Tensor) -> list[torch.Tensor]:
    place = mlp.place(uv, pq)
    colors = [mlp.colors(features, place)] if mlp.settings.colors else []
    return [*mlp(features, place), *colors]


@needs_tiles
@pytest.mark.parametrize("rows", [5, 32, 165])
@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_give_what_the_layers_give(name, rows):
    folded = network(name)
    asked = queries(folded, rows)
    exact = decoded(FoldedMLP(folded, PRECISIONS["float32"]), *asked)
    rounded = decoded(FoldedMLP(folded, PRECISIONS["bfloat16"]), *asked)
    fast = decoded(mlp_of(folded, PRECISIONS["bfloat16"]), *asked)
    split = decoded(mlp_of(folded, PRECISIONS["split"]), *asked)
    for ours, theirs, nearly, expected in zip(fast, rounded, split, exact, strict=True):
        assert ours.shape == nearly.shape == expected.shape
        size, allowed = expected.abs().mean(), (theirs - expected).square().mean().sqrt()
        if rows > 100:  # enough for a mean: no more than torch's own rounding
            assert (ours - expected).square().mean().sqrt() < 1.2 * allowed
        assert (ours - expected).abs().max() < 0.1 * size
        assert (nearly - expected).abs().max() < 1e-4 * size  # 16 bits, nine layers


@pytest.mark.parametrize("rows", [5, 96, 165])
@pytest.mark.parametrize("name", NETWORKS)
def test_vectors_give_what_the_layers_give(name, rows, lanes):
    folded = network(name)
    mlp = mlp_of(folded, PRECISIONS["float32"])
    assert isinstance(mlp, VectorMLP)
    asked = queries(folded, rows)
    ours, exact = (decoded(one, *asked) for one in (mlp, FoldedMLP(folded, PRECISIONS["float32"])))
    for one, expected in zip(ours, exact, strict=True):
        assert one.shape == expected.shape
        assert (one - expected).abs().max() < 2e-5 * expected.abs().mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_that_share_features(name, lanes):
    folded = network(name)
    of = torch.arange(100).repeat_interleave(3)[:259]  # no whole number of groups, and not all of the features
    features = torch.randn(2, 100, folded.settings.features, generator=torch.Generator().manual_seed(1))
    _, uv, pq = queries(folded, len(of))
    for precision, other in (("float32", FoldedMLP), ("bfloat16", None)):
        mlp = mlp_of(folded, PRECISIONS[precision])
        same = mlp if other is None else other(folded, PRECISIONS[precision])
        apart = same(features[:, of], same.place(uv, pq))
        for rows in (slice(None), slice(100, 131)):
            for ours, theirs in zip(mlp(features, mlp.place(uv, pq)[rows], of=of[rows]), apart, strict=True):
                assert (ours - theirs[:, rows]).abs().max() <= 2e-5 * theirs.abs().mean()
    scattered = torch.tensor([0, 99, 5])
    mlp = mlp_of(folded, PRECISIONS["float32"])
    place = mlp.place(uv[:3], pq[:3])
    assert torch.equal(mlp(features, place, of=scattered)[0], mlp(features[:, scattered], place)[0])


@pytest.mark.parametrize("precision", ["bfloat16", "split", "float32"])
def test_a_row_is_the_same_to_the_bit_in_any_company(precision):
    folded = network("plain")
    mlp = mlp_of(folded, PRECISIONS[precision])
    if isinstance(mlp, FoldedMLP):
        pytest.skip("this CPU has no units for it")
    features, uv, pq = queries(folded, 100)
    place = mlp.place(uv, pq)
    together, normals = mlp(features, place)
    for rows in (slice(0, 1), slice(17, 60), slice(40, 100)):
        alone, none = mlp(features[:, rows], place[rows], with_normals=False)
        assert none is None and torch.equal(alone, together[:, rows])
        assert torch.equal(mlp(features[:, rows], place[rows])[1], normals[:, rows])
    frames = mlp(features.expand(3, -1, -1), place)[0]
    assert torch.equal(frames, together.expand(3, -1, -1))


@needs_tiles
@pytest.mark.parametrize("value", LARGE)
@pytest.mark.parametrize("name", ["plain", "silu", "relu"])
def test_activations_on_tiles_bear_large_numbers(name, value):
    folded = network(name)
    for precision, tolerance in (("bfloat16", 0.05), ("split", 2e-4)):
        assert error_with_large_features(folded, precision, value) <= tolerance


@pytest.mark.parametrize("value", LARGE)
@pytest.mark.parametrize("name", ["plain", "silu", "relu"])
def test_activations_in_vectors_bear_large_numbers(name, value, lanes):
    assert error_with_large_features(network(name), "float32", value) <= 2e-5


def error_with_large_features(folded: FoldedNetwork, precision: str, value: float) -> float:
    features, uv, pq = queries(folded, 3)
    features[:] = value
    mlp = mlp_of(folded, PRECISIONS[precision])
    assert not isinstance(mlp, FoldedMLP)
    ours = decoded(mlp, features, uv, pq)
    exact = decoded(FoldedMLP(folded, PRECISIONS["float32"]), features, uv, pq)
    return max(
        float((one - expected).abs().max() / expected.abs().max()) for one, expected in zip(ours, exact, strict=True)
    )


@pytest.mark.parametrize("activation", EVEN)
def test_pieces_are_nearer_than_bfloat16_rounds(activation):
    x = torch.cat([torch.linspace(-LAST, LAST, 100_001), torch.linspace(-0.01, 0.01, 1001)])
    t = x.abs()
    coefficients = table(activation)[:, (t / WIDTH).round().long()]
    ours = x.clamp_min(0) + sum(torch.from_numpy(c) * t**k for k, c in enumerate(coefficients))
    exact = ACTIVATIONS[activation](x.double())
    error = (ours - exact).abs()
    assert error.max() < 1e-4
    assert error.square().mean().sqrt() < 0.05 * (exact.bfloat16() - exact).square().mean().sqrt()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_is_no_number_stays_none(activation, lanes):
    folded = fold(random_network(NetworkSettings(unet_width=8, hidden=64, activation=activation)))
    features, uv, pq = queries(folded, 12)
    features[0, 5, 7] = float("nan")
    for points in decoded(mlp_of(folded, PRECISIONS["float32"]), features, uv, pq):
        assert points[0, 5].isnan().all() and points[0, :5].isfinite().all() and points[0, 6:].isfinite().all()


def test_weights_are_laid_out_as_the_tiles_read_them():
    weight = torch.arange(64 * 96, dtype=torch.float32).view(64, 96) % 251  # whole numbers that bfloat16 has
    layout = pack(weight).float().view(2, 3, 2, 16, 16, 2)  # columns / 32, inputs / 32, tile, pair, column, of a pair
    for block, step, tile, pair, column, odd in ((0, 0, 0, 0, 0, 0), (1, 2, 1, 15, 7, 1), (0, 1, 1, 3, 9, 0)):
        expected = weight[32 * block + 16 * tile + column, 32 * step + 2 * pair + odd]
        assert layout[block, step, tile, pair, column, odd] == expected
    upper, lower = pack(weight, -weight).view(2, 3, 4, 512).split(2, 2)
    assert torch.equal(upper, -lower) and torch.equal(upper.flatten(), pack(weight))


CODES = [
    *(TileChain(64, 32, 128, name, 3, split) for name in ACTIVATIONS for split in (False, True)),
    TileChain(64, 32, 64, "softplus", 3, False),
    *(VectorChain(64, 4, 192, name, 3, lanes, 6, 32, lanes == 8) for name in ACTIVATIONS for lanes in (16, 8)),
]


@pytest.mark.skipif(not llvm_jit.available(), reason="no llvmlite, or an old one")
@pytest.mark.parametrize("chain", CODES, ids=str)
def test_the_code_compiles_everywhere(chain):
    import llvmlite.binding as llvm

    module = llvm.parse_assembly((tile_code if isinstance(chain, TileChain) else vector_code).module(chain))
    module.verify()
    layers = {"first", "hidden", "fifth", "output"}
    if isinstance(chain, TileChain):
        layers.add("ending")
    assert {f.name for f in module.functions if not f.is_declaration} == {*layers, "chain1", "chain2"}


def test_without_units_the_layers_do_it(monkeypatch):
    monkeypatch.setattr(amx, "available", lambda: False)
    monkeypatch.setattr(llvm_jit, "vector_lanes", lambda: 0)
    folded = network("plain")
    assert "split" not in fast_precisions("cpu")
    asked = queries(folded, 40)
    exact = decoded(FoldedMLP(folded, PRECISIONS["float32"]), *asked)
    for name in ("bfloat16", "split", "float32"):
        mlp = mlp_of(folded, PRECISIONS[name])
        assert isinstance(mlp, FoldedMLP)
        if name != "bfloat16":
            assert all(torch.equal(a, b) for a, b in zip(decoded(mlp, *asked), exact, strict=True))


def test_what_the_code_has_not_is_left_to_the_layers():
    odd = fold(random_network(replace(NETWORKS["plain"], hidden=40)))
    for precision in PRECISIONS.values():
        assert isinstance(mlp_of(odd, precision), FoldedMLP)
    assert isinstance(mlp_of(network("plain"), PRECISIONS["float16"]), FoldedMLP)


@needs_tiles
def test_tiles_take_what_is_rounded():
    for name in ("bfloat16", "split"):
        assert isinstance(mlp_of(network("plain"), PRECISIONS[name]), TileMLP)
