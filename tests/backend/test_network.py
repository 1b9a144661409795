"""Shapes as in released checkpoints, options, and patch coordinates."""

from pathlib import Path

import pytest
import torch

from scale_backend.model.network import NetworkSettings, ScaleNetwork, encode_uv, patch_grid

RELEASED = Path(__file__).with_name("released_checkpoint_names.txt")


def released_name(name: str) -> str:
    """Our parameter's name in a released checkpoint."""
    part, rest = name.split(".", 1)
    if part == "unet":
        side, number, rest = rest.split(".", 2)
        label = (
            f"conv{int(number) + 1}" if side == "downs" else f"upconv{'C' if int(number) > 2 else ''}{int(number) + 1}"
        )
        return f"unet.{label}.{rest}"
    branch, rest = rest.split(".", 1)
    if branch == "skip":
        number, suffix = 5, ""
    else:
        number, rest = rest.split(".", 1)
        number = int(number) + (1 if branch == "trunk" else 6)
        suffix = "N" if branch == "normal" else ""
    layer, tensor = rest.rsplit(".", 1)
    return f"map2Dto3D.{layer}{number}{suffix}.{tensor}"


def test_parameters_map_one_to_one_onto_a_released_checkpoint():
    expected = dict(line.split(" ", 1) for line in RELEASED.read_text().splitlines())
    state = ScaleNetwork(NetworkSettings()).state_dict()
    assert list(state.pop("latent").shape) == [1, 256]  # in the second file of a released pair
    ours = {released_name(name): str(list(value.shape)) for name, value in state.items()}
    assert ours == expected


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("mode", ["upconv", "upsample"])
def test_map_sizes_and_up_modes(size, mode):
    settings = NetworkSettings(map_size=size, up_mode=mode, unet_width=4, hidden=16, uv_frequencies=6)
    network = ScaleNetwork(settings).eval()
    features = network.pose_features(torch.randn(2, 3, size, size))
    assert features.shape == (2, 64, size, size)
    residual, normal = network.decode(features.flatten(2).mT[:, :5], torch.rand(5, 2), torch.rand(5, 2))
    assert residual.shape == normal.shape == (2, 5, 3)
    assert not residual.any()  # training starts from the skinned carrier


def test_patch_grid_is_ij_ordered():
    third = 1 / 3
    grid = patch_grid(NetworkSettings())
    assert torch.allclose(grid[:5], torch.tensor([[0, 0], [0, third], [0, 2 * third], [0, 1], [third, 0]]))
    open_ended = patch_grid(NetworkSettings(pq_include_end=False, pq_min=-1, pq_max=1))
    assert torch.allclose(open_ended[:4, 1], torch.tensor([-1, -0.5, 0, 0.5]))


def test_uv_encoding():
    settings = NetworkSettings(uv_frequencies=2)
    encoded = encode_uv(torch.tensor([[0.75, 0.25]]), settings)[0]
    pi = torch.pi
    expected = [0.5, -0.5]
    for k in (1, 2):
        expected += [*torch.sin(torch.tensor([0.5, -0.5]) * pi * k), *torch.cos(torch.tensor([0.5, -0.5]) * pi * k)]
    assert torch.allclose(encoded, torch.tensor([float(x) for x in expected]), atol=1e-6)
    assert settings.uv_channels == 10
    assert NetworkSettings(uv_frequencies=2, uv_include_input=False).uv_channels == 8


@pytest.mark.parametrize("wrong", [{"map_size": 40}, {"up_mode": "nearest"}, {"points_per_patch": 15}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        NetworkSettings(**wrong)
