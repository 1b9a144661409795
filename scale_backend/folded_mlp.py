"""The shared MLP for inference: folded weights, the first and fifth layers split into what depends on the pose and
what depends on the place alone, and rows taken a cache-sized tile at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend.folding import FoldedNetwork
from scale_backend.kernels import Layer
from scale_backend.network import encode_uv

TILE = 2048  # rows; 1 MiB of activations in bfloat16 at 256 channels stays in a core's cache


@dataclass(frozen=True)
class Place:
    """What uv and pq of M queries add to the first and the fifth layer: the same for every pose."""

    first: Tensor  # [M, H]
    fifth: Tensor  # [M, H]


class FoldedMLP:
    """Features of queries to residuals and normals."""

    def __init__(self, network: FoldedNetwork, dtype: torch.dtype):
        self.settings, self.dtype = network.settings, dtype
        self.first, self.skip = network.trunk[0], network.skip
        activation = network.settings.activation
        features, inputs = self.settings.features, self.settings.input_channels
        # the places' share carries the bias of the split layers
        self.from_features = Layer(self.first.weight[:, :features], None, activation, dtype)
        self.trunk = [Layer(x.weight, x.bias, activation, dtype) for x in network.trunk[1:]]
        self.skip_features = Layer(self.skip.weight[:, :features], None, "none", dtype)
        self.skip_hidden = Layer(self.skip.weight[:, inputs:], None, activation, dtype)
        # the outputs stay in float32: a rounded residual would be a rounded point
        self.residual = [Layer(x.weight, x.bias, activation, dtype) for x in network.residual[:-1]]
        self.residual_output = Layer(network.residual[-1].weight, network.residual[-1].bias, "none", torch.float32)
        self.normal = [Layer(x.weight, x.bias, activation, dtype) for x in network.normal[:-1]]
        self.normal_output = Layer(network.normal[-1].weight, network.normal[-1].bias, "none", torch.float32)

    def place(self, uv: Tensor, pq: Tensor) -> Place:  # [M, 2], [M, 2]
        place = torch.cat([encode_uv(uv, self.settings), pq], -1)
        features, inputs = self.settings.features, self.settings.input_channels
        first = functional.linear(place, self.first.weight[:, features:], self.first.bias)
        fifth = functional.linear(place, self.skip.weight[:, features:inputs], self.skip.bias)
        return Place(first.to(self.dtype), fifth.to(self.dtype))

    def __call__(
        self, features: Tensor, place: Place, with_normals: bool = True
    ) -> tuple[Tensor, Tensor | None]:  # [F, M, C] -> [F, M, 3], [F, M, 3] or None
        """Residuals and, where asked for, normals, in the local frame."""
        frames, count, _ = features.shape
        residual = features.new_empty(frames, count, 3, dtype=torch.float32)
        normal = torch.empty_like(residual) if with_normals else None
        features = features.to(self.dtype)
        step = TILE if features.device.type == "cpu" else count
        for frame in range(frames):
            for start in range(0, count, step):
                rows = slice(start, start + step)
                h = self._trunk(features[frame, rows], place.first[rows], place.fifth[rows])
                residual[frame, rows] = self._branch(h, self.residual, self.residual_output)
                if normal is not None:
                    normal[frame, rows] = self._branch(h, self.normal, self.normal_output)
        return residual, normal

    def _trunk(self, x: Tensor, first: Tensor, fifth: Tensor) -> Tensor:  # [R, C], [R, H], [R, H] -> [R, H]
        h = self.from_features(x, first)
        for layer in self.trunk:
            h = layer(h)
        return self.skip_hidden(h, self.skip_features(x, fifth))

    def _branch(self, h: Tensor, layers: list[Layer], output: Layer) -> Tensor:  # [R, H] -> [R, 3]
        for layer in layers:
            h = layer(h)
        return output(h.float())
