"""Fast arithmetic against exact: layers, softplus, the U-Net as matrix products, and the garments that ship."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from scale_backend.cpu import amx, llvm_jit
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.assets import asset_folder, find_motion
from scale_backend.formats.errors import UserError
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.motions import load_motion
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.inference import layers
from scale_backend.inference.convolutions import MatrixUNet
from scale_backend.inference.folding import fold
from scale_backend.inference.layers import Layer
from scale_backend.inference.precision import candidates, fast_precisions, is_equal
from scale_backend.inference.vector_layer import VectorLayer, float32_layer
from scale_backend.machine.cores import Cores
from scale_backend.model.garment import load_garment
from scale_backend.model.network import NetworkSettings
from tests.making import make_garment, random_network

GARMENTS = sorted((asset_folder() / "garments").glob("*.safetensors"))
EPSILON = {torch.float32: 2**-20, torch.bfloat16: 2**-8}  # relative


@pytest.mark.parametrize("lanes", [16, 8, 4, 0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_softplus(monkeypatch, lanes, dtype):
    """As on a CPU with such vectors; 4: with others, 0: without llvmlite."""
    if lanes > max(llvm_jit.vector_lanes(), 4):
        pytest.skip(f"this CPU has no vectors of {lanes} floats")
    monkeypatch.setattr(llvm_jit, "vector_lanes", lambda: lanes)
    if not lanes:
        monkeypatch.setattr(llvm_jit, "available", lambda: False)
    x = torch.cat([torch.linspace(-100, 100, 4001), torch.linspace(-2, 2, 4001)]).to(dtype)
    exact = functional.softplus(x.double())
    y = layers.IN_PLACE["softplus"](x.clone()).double()
    assert ((y - exact).abs() <= EPSILON[dtype] * exact + 1e-9).all()
    assert layers.IN_PLACE["softplus"](torch.tensor([torch.nan] * 40, dtype=dtype)).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", ["none", "relu", "silu", "leaky_relu", "softplus"])
def test_layers(activation, dtype):
    torch.manual_seed(1)
    weight, bias, x, added = torch.randn(32, 48) / 7, torch.randn(32), torch.randn(100, 48), torch.randn(100, 32)
    activate = {"none": lambda y: y, "leaky_relu": lambda y: functional.leaky_relu(y, 0.2)}.get(
        activation, getattr(functional, activation, None)
    )
    rounded = [t.to(dtype).double() for t in (weight, bias, x, added)]
    for row in (None, added):
        bias_row = rounded[1] if row is None else rounded[1] + rounded[3]
        exact = activate(rounded[2] @ rounded[0].T + bias_row)
        layer = Layer(weight, bias, activation, dtype)
        y = layer(x.to(dtype), None if row is None else row.to(dtype))
        assert y.dtype == dtype
        assert ((y.double() - exact).abs() <= 8 * EPSILON[dtype] * (exact.abs() + 1)).all()


@pytest.mark.parametrize("lanes", [16, 8])
@pytest.mark.parametrize("rows", [1, 6, 13])
@pytest.mark.parametrize("activation", ["none", "relu", "leaky_relu"])
def test_layers_in_vectors_are_their_formula(activation, rows, lanes):
    if lanes > llvm_jit.vector_lanes():
        pytest.skip(f"this CPU has no vectors of {lanes} floats")
    activate = {"none": lambda y: y, "relu": functional.relu, "leaky_relu": lambda y: functional.leaky_relu(y, 0.2)}
    torch.manual_seed(1)
    weight, bias, x = torch.randn(128, 36) / 6, torch.randn(128), torch.randn(2, rows, 36)
    for added in (bias, None):
        layer = VectorLayer(weight, added, activation, lanes)
        sums = x.double() @ weight.double().T + (0 if added is None else bias.double())
        exact = activate[activation](sums)
        y = layer(x)
        assert y.shape == exact.shape and ((y - exact).abs() <= 8 * EPSILON[torch.float32] * (exact.abs() + 1)).all()
        assert torch.equal(layer(x[1, -1]), y[1, -1])  # to the bit in any company


def test_layers_of_other_sizes_are_left_to_torch():
    assert isinstance(float32_layer(torch.randn(40, 36), None, "none"), Layer)
    assert isinstance(float32_layer(torch.randn(64, 35), None, "none"), Layer)
    kind = VectorLayer if llvm_jit.vector_lanes() else Layer
    assert isinstance(float32_layer(torch.randn(64, 36), None, "relu"), kind)


@pytest.mark.parametrize("size", [32, 64])
def test_unet_as_matrix_products(size):
    network = fold(random_network(NetworkSettings(map_size=size, unet_width=8, hidden=16)))
    x = torch.randn(3, 3, size, size) * 0.3
    rows = MatrixUNet(network)(x.permute(0, 2, 3, 1).contiguous())
    assert torch.allclose(rows.permute(0, 3, 1, 2), network.pose_features(x), atol=2e-5, rtol=1e-4)


def test_cores_keep_the_order_and_pass_errors_on():
    cores = Cores(3)
    threads = torch.get_num_threads()
    assert cores.map(lambda x: x * x, range(20)) == [x * x for x in range(20)]
    assert torch.get_num_threads() == threads
    assert cores.map(lambda _: torch.get_num_threads(), range(3)) == [1, 1, 1]
    nested = cores.map(lambda x: cores.map(lambda y: x + y, [1, 2]), [10, 20])
    assert nested == [[11, 12], [21, 22]]
    with pytest.raises(ZeroDivisionError):
        cores.map(lambda x: 1 / x, [1, 0, 2])
    with torch.inference_mode():
        assert cores.map(lambda _: torch.ones(1).is_inference(), [0]) == [True]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_tiles_cover_all_rows_evenly(count):
    cores = Cores(count)
    for rows in (1, 7, 1000, 4096, 12768):
        tiles = cores.tiles(rows, 1024)
        taken = np.concatenate([np.arange(rows)[tile] for tile in tiles])
        assert np.array_equal(taken, np.arange(rows))
        sizes = [tile.stop - tile.start for tile in tiles]
        assert max(sizes) <= 1024 and (len(tiles) % count == 0 or rows < 10)


def test_any_number_of_cores_gives_the_same():
    garment, body = make_garment("garment"), load_body("neutral")
    rotations = poses(7)
    alone, alone_normals = Decoder(garment, body, cores=Cores(1)).decode(Poses(rotations, shape=torch.ones(7, 10)))
    three, three_normals = Decoder(garment, body, cores=Cores(3)).decode(Poses(rotations, shape=torch.ones(7, 10)))
    assert (alone - three).abs().max() < 1e-5 and (alone_normals - three_normals).abs().max() < 1e-3


def poses(frames: int) -> torch.Tensor:
    motion = load_motion(find_motion("dance"))
    chosen = np.linspace(0, motion.frame_count - 1, frames).astype(int)
    return torch.from_numpy(matrices_from_axis_angle(motion.rotations[chosen]).astype(np.float32))


@pytest.mark.parametrize("file", GARMENTS, ids=lambda file: file.stem)
def test_garments_that_ship_keep_their_shape(file):
    """The bars of float16 and bfloat16: 99.9 % of points within 0.2 mm, none beyond 1 mm, normals within 2 degrees."""
    garment, body = load_garment(file), load_body("neutral")
    surface = garment.metadata()["surfaces"][0]
    exact, fast = Decoder(garment, body), Decoder(garment, body, precision="auto")
    assert fast.precision in fast_precisions("cpu")
    rotations = poses(10)
    expected, expected_normals = exact.decode(Poses(rotations), DecodeOptions(surface))
    points, normals = fast.decode(Poses(rotations), DecodeOptions(surface))
    distance = (points - expected).norm(dim=-1).flatten()
    assert distance.kthvalue(int(0.999 * len(distance))).values < 0.0002
    assert distance.max() < 0.001
    angle = (normals * expected_normals).sum(-1).clamp(-1, 1).acos().rad2deg()
    assert angle.mean() < 2


@pytest.mark.parametrize("tiles", [True, False])
def test_a_garment_that_suffers_is_decoded_exactly(monkeypatch, tiles):
    """Residuals of metres: no 16-bit format keeps those to a fifth of a millimetre; pairs of them do."""
    if not tiles:
        monkeypatch.setattr(amx, "available", lambda: False)
    garment = make_garment("garment")
    wild = replace(garment, network=random_network(garment.network.settings, size=3.0))
    decoder = Decoder(wild, load_body("neutral"), precision="auto")
    assert decoder.precision == ("split" if amx.available() else "float32")
    assert candidates("auto", torch.device("cpu"))[-1].name == "float32"
    rotations = poses(4)
    points, exact = decoder.decode(Poses(rotations))[0], Decoder(wild, load_body("neutral")).decode(Poses(rotations))[0]
    assert (points - exact).abs().max() < 0.0001  # the bar of float32


def test_equality_is_judged_by_the_bars():
    exact = torch.zeros(1, 2000, 3)
    near, one_far, many_off, broken = (exact.clone() for _ in range(4))
    near[..., 0] = 1.4e-4
    one_far[0, 0, 1] = 8e-4
    many_off[0, :10, 2] = 2e-4
    broken[0, 5] = torch.nan
    assert is_equal(near, exact)
    assert not any(is_equal(points, exact) for points in (one_far, many_off, broken))


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="auto, float32, bfloat16"):
        candidates("float8", torch.device("cpu"))
