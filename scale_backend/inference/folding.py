"""A trained network with all that does not depend on the pose folded into its weights: batch norms and the
latent code. For inference only; equal to the network in eval mode up to rounding (tests/backend/test_engine.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from scale_backend.machine.moving import to_device
from scale_backend.model.network import Down, Hidden, NetworkSettings, Output, ScaleNetwork, Up

Convolution = tuple[Tensor, Tensor | None]  # weights and biases


@dataclass(frozen=True)
class Linear:
    weight: Tensor  # [out, in]
    bias: Tensor  # [out]

    def to(self, device: str | torch.device) -> Linear:
        return to_device(self, device)


@dataclass(frozen=True)
class FoldedNetwork:
    """The U-Net, ready to run, and the MLP's layers, which the kinds of MLP put into their own arithmetic."""

    settings: NetworkSettings
    downs: tuple[Convolution, ...]
    ups: tuple[Convolution, ...]
    trunk: tuple[Linear, ...]
    skip: Linear
    residual: tuple[Linear, ...]
    normal: tuple[Linear, ...]
    color: tuple[Linear, ...]  # empty for a network without colours

    def pose_features(self, x: Tensor) -> Tensor:  # [F, 3, H, W] -> [F, C, H, W]
        skips = []
        for i, (weight, bias) in enumerate(self.downs):
            x = functional.conv2d(functional.leaky_relu(x, 0.2) if i else x, weight, bias, 2, 1)
            skips.append(x)
        for i, (weight, bias) in enumerate(self.ups):
            x = functional.relu(skips.pop() if i == 0 else torch.cat([x, skips.pop()], 1))
            if self.settings.up_mode == "upconv":
                x = functional.conv_transpose2d(x, weight, bias, 2, 1)
            else:
                x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
                x = functional.conv2d(x, weight, bias, 1, 1)
        return x

    def to(self, device: str | torch.device) -> FoldedNetwork:
        def convolutions(layers: Sequence[Convolution]) -> tuple[Convolution, ...]:
            return tuple((w.to(device), None if b is None else b.to(device)) for w, b in layers)

        def linears(layers: Sequence[Linear]) -> tuple[Linear, ...]:
            return tuple(layer.to(device) for layer in layers)

        return FoldedNetwork(
            self.settings, convolutions(self.downs), convolutions(self.ups), linears(self.trunk),
            self.skip.to(device), linears(self.residual), linears(self.normal),
            linears(self.color),
        )  # fmt: skip


def norm_scale_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch norm in eval mode as x * scale + shift."""
    assert norm.running_mean is not None and norm.running_var is not None  # ours keep them
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift + norm.bias if norm.affine else shift


@torch.no_grad()
def fold(network: ScaleNetwork, blend: Sequence[float] | None = None) -> FoldedNetwork:
    """The network for inference, in float32, with the mean of its latent codes that `blend` asks for."""
    code = network.code(blend)
    downs: list[Convolution] = []
    for down in cast("Iterable[Down]", network.unet.downs):
        weight, bias = down.conv.weight, None
        if down.norm:
            scale, bias = norm_scale_shift(down.bn)
            weight = weight * scale[:, None, None, None]
        downs.append((weight, bias))
    ups = [_fold_up(up, code, network.settings.up_mode) for up in cast("Iterable[Up]", network.unet.ups)]

    def linear(layer: nn.Module) -> Linear:
        assert isinstance(layer, Hidden | Output)
        weight, bias = layer.conv.weight[..., 0], layer.conv.bias
        assert bias is not None
        if isinstance(layer, Hidden):
            scale, shift = norm_scale_shift(layer.bn)
            weight, bias = weight * scale[:, None], bias * scale + shift
        return Linear(weight.contiguous(), bias)

    mlp = network.mlp
    return FoldedNetwork(
        network.settings, tuple(downs), tuple(ups), tuple(linear(x) for x in mlp.trunk), linear(mlp.skip),
        tuple(linear(x) for x in mlp.residual), tuple(linear(x) for x in mlp.normal),
        tuple(linear(x) for x in mlp.color or ()),
    )  # fmt: skip


def _fold_up(up: Up, code: Tensor, mode: str) -> Convolution:
    conv = up.up[1] if isinstance(up.up, nn.Sequential) else up.up
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
    if up.bn is None:
        return conv.weight, conv.bias
    scale, shift = norm_scale_shift(up.bn.bn)
    gamma = up.bn.conv_gamma(code[..., None])[0, :, 0]
    beta = up.bn.conv_beta(code[..., None])[0, :, 0]
    scale, shift = scale * gamma, shift * gamma + beta
    # output channels come second in a transposed convolution, first in a plain one
    shape = (1, -1, 1, 1) if mode == "upconv" else (-1, 1, 1, 1)
    return conv.weight * scale.view(shape), shift
