"""The network of SCALE (Ma et al. 2021): a U-Net over the positional map and one MLP shared by all patches.

Parameter shapes equal those of released checkpoints one to one (tests/backend/test_network.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

MAP_SIZES = (32, 64, 128, 256)
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softplus": functional.softplus,
    "silu": functional.silu,
    "relu": functional.relu,
}

# of what makes a network large
MOST = {"features": 4096, "unet_width": 1024, "hidden": 8192, "latent": 4096, "points_per_patch": 4096, "inputs": 1024,
        "codes": 4096}  # fmt: skip
MOST_FREQUENCIES = 32


@dataclass(frozen=True)
class NetworkSettings:
    """What fixes the parameter shapes, and how patch coordinates are presented."""

    map_size: int = 32
    """Side of the positional map, pixels: 32, 64, 128 or 256."""
    features: int = 64
    """Channels of the pose features a pixel carries."""
    unet_width: int = 32
    """Channels of the first U-Net layer (nf)."""
    hidden: int = 256
    """Width of the shared MLP."""
    latent: int = 256
    """Length of the latent code."""
    up_mode: str = "upconv"
    """upconv (transposed convolution) or upsample (bilinear, then a 3x3 convolution)."""
    points_per_patch: int = 16
    """N, a square number."""
    pq_include_end: bool = True
    """Whether the patch grid reaches the end of its range."""
    pq_min: float = 0.0
    pq_max: float = 1.0
    uv_frequencies: int = 0
    """Sinusoidal encoding of uv with this many frequencies; 0: none."""
    uv_include_input: bool = True
    """With the encoding: raw uv in front of it."""
    activation: str = "softplus"
    """Of the MLP: softplus (the paper's), silu or relu (cheaper)."""
    colors: bool = False
    """Whether a third branch of the MLP gives each point a colour."""
    inputs: int = 3
    """Channels of the U-Net's input: the positional map's three, and those of earlier moments and of gravity."""
    codes: int = 1
    """Latent codes: one for each fabric."""

    def __post_init__(self) -> None:
        if self.map_size not in MAP_SIZES:
            raise ValueError(f"map_size must be 32, 64, 128 or 256, not {self.map_size}.")
        if self.up_mode not in ("upconv", "upsample"):
            raise ValueError(f"up_mode must be upconv or upsample, not '{self.up_mode}'.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not '{self.activation}'.")
        for name, most in MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from 1 to {most}, not {getattr(self, name)}.")
        if not 0 <= self.uv_frequencies <= MOST_FREQUENCIES:
            raise ValueError(f"uv_frequencies must be from 0 to {MOST_FREQUENCIES}, not {self.uv_frequencies}.")
        if math.isqrt(self.points_per_patch) ** 2 != self.points_per_patch:
            raise ValueError(f"points_per_patch must be a square number, not {self.points_per_patch}.")

    @property
    def uv_channels(self) -> int:
        if not self.uv_frequencies:
            return 2
        return 4 * self.uv_frequencies + (2 if self.uv_include_input else 0)

    @property
    def input_channels(self) -> int:
        return self.features + self.uv_channels + 2


def patch_grid(settings: NetworkSettings) -> Tensor:  # [N, 2]
    """(p, q) of a patch's points: a regular grid, 'ij' order."""
    side = math.isqrt(settings.points_per_patch)
    if settings.pq_include_end:
        line = torch.linspace(settings.pq_min, settings.pq_max, side)
    else:
        line = torch.linspace(settings.pq_min, settings.pq_max, side + 1)[:-1]
    return torch.cartesian_prod(line, line)


def encode_uv(uv: Tensor, settings: NetworkSettings) -> Tensor:  # [..., 2] in [0, 1] -> [..., uv_channels]
    """uv as the network sees it: raw, or sines and cosines of pi 2^k uv with uv mapped to [-1, 1]."""
    if not settings.uv_frequencies:
        return uv
    scaled = 2 * uv - 1
    parts = [scaled] if settings.uv_include_input else []
    for k in range(settings.uv_frequencies):
        parts += [(math.pi * 2**k * scaled).sin(), (math.pi * 2**k * scaled).cos()]
    return torch.cat(parts, -1)


class Down(nn.Module):
    """Halve the map. LeakyReLU before, batch norm without affine after, where asked for."""

    def __init__(self, channels_in: int, channels_out: int, activate: bool = True, norm: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 4, 2, 1, bias=False)
        self.activate = activate
        if norm:
            self.bn = nn.BatchNorm2d(channels_out, affine=False)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(functional.leaky_relu(x, 0.2) if self.activate else x)
        return self.bn(x) if self.norm else x


class LatentNorm(nn.Module):
    """Batch norm whose scale and shift come from the latent code."""

    def __init__(self, channels: int, latent: int):
        super().__init__()
        self.conv_gamma = nn.Conv1d(latent, channels, 1)
        self.conv_beta = nn.Conv1d(latent, channels, 1)
        self.bn = nn.BatchNorm2d(channels, affine=False)
        for conv, bias in ((self.conv_gamma, 1.0), (self.conv_beta, 0.0)):
            nn.init.zeros_(conv.weight)
            assert conv.bias is not None
            nn.init.constant_(conv.bias, bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:  # code: [1, L], or [F, L] where frames differ in it
        gamma = self.conv_gamma(code[..., None])[..., None]  # [1 or F, C, 1, 1]
        beta = self.conv_beta(code[..., None])[..., None]
        return gamma * self.bn(x) + beta


class Up(nn.Module):
    """Double the map. ReLU before, latent norm after all but the last."""

    def __init__(self, channels_in: int, channels_out: int, latent: int, mode: str, last: bool = False):
        super().__init__()
        self.up: nn.ConvTranspose2d | nn.Sequential
        if mode == "upconv":
            self.up = nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1, bias=last)
        else:
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(channels_in, channels_out, 3, 1, 1, bias=last),
            )
        self.bn = None if last else LatentNorm(channels_out, latent)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        x = self.up(functional.relu(x))
        return x if self.bn is None else self.bn(x, code)


class UNet(nn.Module):
    """Pose features: a positional map to feature map of the same size.

    A 32 map takes five steps down to one pixel; each doubling of the map adds a step of the innermost width.
    """

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        steps = int(math.log2(settings.map_size))
        width = settings.unet_width
        widths = [width * min(2**i, 8) for i in range(steps)]
        self.downs = nn.ModuleList(
            Down(settings.inputs if i == 0 else widths[i - 1], widths[i], activate=i > 0, norm=0 < i < steps - 1)
            for i in range(steps)
        )
        ups = []
        for i in range(steps):
            inputs = widths[-1] if i == 0 else 2 * widths[steps - 1 - i]
            last = i == steps - 1
            outputs = settings.features if last else widths[steps - 2 - i]
            ups.append(Up(inputs, outputs, settings.latent, settings.up_mode, last))
        self.ups = nn.ModuleList(ups)

    def forward(self, positional_map: Tensor, code: Tensor) -> Tensor:  # [F, inputs, H, W] -> [F, C, H, W]
        skips = []
        x = positional_map
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = self.ups[0](skips.pop(), code)
        for up in self.ups[1:]:
            x = up(torch.cat([x, skips.pop()], 1), code)
        return x


class Hidden(nn.Module):
    """A hidden layer of the MLP over rows: linear, batch norm, activation. The weight keeps Conv1d's shape."""

    def __init__(self, channels_in: int, channels_out: int, activation: str):
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.conv = nn.Conv1d(channels_in, channels_out, 1)
        self.bn = nn.BatchNorm1d(channels_out)

    def forward(self, x: Tensor) -> Tensor:  # [R, C]
        return self.activation(self.bn(functional.linear(x, self.conv.weight[..., 0], self.conv.bias)))


class Output(nn.Module):
    """A linear output layer, zero at the start so that training begins from the skinned carrier."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels_out, 1)
        nn.init.zeros_(self.conv.weight)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.conv.weight[..., 0], self.conv.bias)


class LocalPoints(NamedTuple):
    """What the network says of points."""

    residual: Tensor  # [F, M, 3] in the local frame
    normal: Tensor | None  # [F, M, 3] in the local frame, not of unit length
    colors: Tensor | None  # [F, M, 3] in 0..1


class SharedMLP(nn.Module):
    """Features and patch coordinates of a point to its residual and normal, in the local frame, and its colour."""

    def __init__(self, channels_in: int, hidden: int, activation: str, colors: bool = False):
        super().__init__()

        def layer(channels: int) -> Hidden:
            return Hidden(channels, hidden, activation)

        self.trunk = nn.ModuleList([layer(channels_in), layer(hidden), layer(hidden), layer(hidden)])
        self.skip = layer(channels_in + hidden)
        self.residual = nn.ModuleList([layer(hidden), layer(hidden), Output(hidden, 3)])
        self.normal = nn.ModuleList([layer(hidden), layer(hidden), Output(hidden, 3)])
        self.color = nn.ModuleList([layer(hidden), layer(hidden), Output(hidden, 3)]) if colors else None

    def forward(self, x: Tensor, with_normals: bool = True, with_colors: bool = False) -> LocalPoints:  # [R, C]
        h = x
        for layer in self.trunk:
            h = layer(h)
        h = self.skip(torch.cat([x, h], -1))
        return LocalPoints(
            _through(self.residual, h),
            _through(self.normal, h) if with_normals else None,
            _through(self.color, h).sigmoid() if with_colors and self.color is not None else None,
        )


def _through(layers: nn.ModuleList, x: Tensor) -> Tensor:  # [R, C] -> [R, 3]
    for layer in layers:
        x = layer(x)
    return x


class ScaleNetwork(nn.Module):
    """U-Net, latent codes and shared MLP."""

    def __init__(self, settings: NetworkSettings):
        super().__init__()
        self.settings = settings
        self.latent = nn.Parameter(torch.randn(settings.codes, settings.latent) / math.sqrt(settings.latent))
        self.unet = UNet(settings)
        self.mlp = SharedMLP(settings.input_channels, settings.hidden, settings.activation, settings.colors)

    def codes(self) -> Tensor:  # [K, L]
        """The latent codes, kept inside the unit ball."""
        return self.latent / self.latent.norm(dim=1, keepdim=True).clamp_min(1.0)

    def code(self, blend: Sequence[float] | None = None) -> Tensor:  # [1, L]
        """The mean of the codes with these weights; the first code where there are none."""
        if blend is None:
            return self.codes()[:1]
        weights = self.latent.new_tensor(blend)
        return (weights / weights.sum() @ self.codes())[None]

    def pose_features(
        self,
        positional_map: Tensor,  # [F, inputs, H, W]
        chosen: Tensor | None = None,  # [F] which code each frame has; None: the first
    ) -> Tensor:  # [F, C, H, W]
        return self.unet(positional_map, self.code() if chosen is None else self.codes()[chosen])

    def decode(
        self,
        features: Tensor,  # [F, M, C] a query's pose features
        uv: Tensor,  # [M, 2] in [0, 1]
        pq: Tensor,  # [M, 2]
        with_normals: bool = True,
    ) -> tuple[Tensor, Tensor | None]:  # residual [F, M, 3], normal [F, M, 3] where asked for
        local = self._local(features, uv, pq, with_normals, False)
        return local.residual, local.normal

    def decode_colored(self, features: Tensor, uv: Tensor, pq: Tensor) -> LocalPoints:  # as in `decode`
        """Everything that the network says of points; for networks with colours."""
        return self._local(features, uv, pq, True, True)

    def _local(self, features: Tensor, uv: Tensor, pq: Tensor, with_normals: bool, with_colors: bool) -> LocalPoints:
        place = torch.cat([encode_uv(uv, self.settings), pq], -1).expand(len(features), -1, -1)
        rows = torch.cat([features, place.to(features.dtype)], -1)
        residual, normal, colors = self.mlp(rows.flatten(0, 1), with_normals, with_colors)

        def shaped(x: Tensor) -> Tensor:
            return x.float().view(len(features), -1, 3)

        return LocalPoints(
            shaped(residual), None if normal is None else shaped(normal), None if colors is None else shaped(colors)
        )
