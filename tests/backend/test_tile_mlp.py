"""The MLP on matrix tiles against the network it stands for. Where the CPU has no tiles its code is only compiled."""

from dataclasses import replace

import pytest
import torch

from scale_backend import amx, amx_code
from scale_backend.folded_mlp import FoldedMLP
from scale_backend.folding import FoldedNetwork, fold
from scale_backend.network import NetworkSettings
from scale_backend.precision import PRECISIONS, fast_precisions
from scale_backend.tile_mlp import TileMLP, mlp_of, pack
from tests.making import random_network

NETWORKS = {
    "plain": NetworkSettings(unet_width=8, hidden=64),
    "wide": NetworkSettings(unet_width=8, hidden=256),
    "silu": NetworkSettings(unet_width=8, hidden=96, activation="silu"),
    "relu": NetworkSettings(unet_width=8, hidden=32, activation="relu"),
    "sines": NetworkSettings(unet_width=8, hidden=64, uv_frequencies=4),
    "odd": NetworkSettings(unet_width=8, hidden=64, features=20, colors=True),
}
needs_tiles = pytest.mark.skipif(not amx.available(), reason="this CPU has no matrix tiles")


def network(name: str) -> FoldedNetwork:
    return fold(random_network(NETWORKS[name], size=2.0))


def queries(folded: FoldedNetwork, rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(3)
    features = torch.randn(1, rows, folded.settings.features, generator=random)
    uv, pq = (torch.rand(rows, 2, generator=random) for _ in range(2))
    return features, uv, pq


def decoded(mlp: TileMLP | FoldedMLP, features: torch.Tensor, uv: torch.Tensor, pq: torch.Tensor) -> list[torch.Tensor]:
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


@needs_tiles
@pytest.mark.parametrize("precision", ["bfloat16", "split"])
def test_a_row_is_the_same_to_the_bit_in_any_company(precision):
    folded = network("plain")
    mlp = mlp_of(folded, PRECISIONS[precision])
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
@pytest.mark.parametrize("value", [-1e6, -200.0, -20.0, 0.0, 20.0, 200.0, 1e6])
@pytest.mark.parametrize("name", ["plain", "silu", "relu"])
def test_activations_bear_large_numbers(name, value):
    folded = network(name)
    features, uv, pq = queries(folded, 3)
    features[:] = value
    for precision, tolerance in (("bfloat16", 0.05), ("split", 2e-4)):
        ours = decoded(mlp_of(folded, PRECISIONS[precision]), features, uv, pq)
        exact = decoded(FoldedMLP(folded, PRECISIONS["float32"]), features, uv, pq)
        for one, expected in zip(ours, exact, strict=True):
            assert (one - expected).abs().max() <= tolerance * expected.abs().max()


def test_weights_are_laid_out_as_the_tiles_read_them():
    weight = torch.arange(64 * 96, dtype=torch.float32).view(64, 96) % 251  # whole numbers that bfloat16 has
    layout = pack(weight).float().view(2, 3, 2, 16, 16, 2)  # columns / 32, inputs / 32, tile, pair, column, of a pair
    for block, step, tile, pair, column, odd in ((0, 0, 0, 0, 0, 0), (1, 2, 1, 15, 7, 1), (0, 1, 1, 3, 9, 0)):
        expected = weight[32 * block + 16 * tile + column, 32 * step + 2 * pair + odd]
        assert layout[block, step, tile, pair, column, odd] == expected
    upper, lower = pack(weight, -weight).view(2, 3, 4, 512).split(2, 2)
    assert torch.equal(upper, -lower) and torch.equal(upper.flatten(), pack(weight))


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("activation", amx_code.ACTIVATIONS)
def test_the_code_compiles_everywhere(activation, split):
    llvm = pytest.importorskip("llvmlite.binding")
    if llvm.llvm_version_info[0] < amx.OLDEST_LLVM:
        pytest.skip("an old LLVM")
    chain = amx_code.Chain(64, 32, 128, activation, 3, 2, split)
    module = llvm.parse_assembly(amx_code.module(chain))
    module.verify()
    assert {f.name for f in module.functions if not f.is_declaration} == {"first", "hidden", "fifth", "output", "chain"}


def test_without_tiles_the_layers_do_it(monkeypatch):
    monkeypatch.setattr(amx, "available", lambda: False)
    folded = network("plain")
    assert "split" not in fast_precisions("cpu")
    for name in ("bfloat16", "split"):
        assert isinstance(mlp_of(folded, PRECISIONS[name]), FoldedMLP)
    asked = queries(folded, 40)
    exact = decoded(FoldedMLP(folded, PRECISIONS["float32"]), *asked)
    assert all(
        torch.equal(a, b) for a, b in zip(decoded(mlp_of(folded, PRECISIONS["split"]), *asked), exact, strict=True)
    )


@needs_tiles
def test_what_the_code_has_not_is_left_to_the_layers():
    odd = fold(random_network(replace(NETWORKS["plain"], hidden=40)))
    assert isinstance(mlp_of(odd, PRECISIONS["bfloat16"]), FoldedMLP)
    for name in ("float32", "mixed", "float16"):
        assert isinstance(mlp_of(network("plain"), PRECISIONS[name]), FoldedMLP)
