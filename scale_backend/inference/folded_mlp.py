"""The shared MLP for inference: folded weights, the first and fifth layers split into what depends on the pose and
what depends on the place alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend.inference.folding import FoldedNetwork
from scale_backend.inference.layers import Layer
from scale_backend.inference.mlp import Place
from scale_backend.inference.precision import Precision
from scale_backend.model.network import encode_uv


class FoldedMLP:
    """Features of queries to residuals and normals, and to colours where the network has them."""

    tile = 2048  # rows at a time: 2 MiB of bfloat16 at 256 channels, in and out: a core's second cache

    def __init__(self, network: FoldedNetwork, precision: Precision):
        self.settings, self.precision = network.settings, precision
        dtype = precision.dtype
        self.first, self.skip = network.trunk[0], network.skip
        activation = network.settings.activation
        features, inputs = self.settings.features, self.settings.input_channels
        # the places' share carries the bias of the split layers
        self.from_features = Layer(self.first.weight[:, :features], None, activation, dtype)
        self.trunk = [Layer(x.weight, x.bias, activation, dtype) for x in network.trunk[1:]]
        self.skip_features = Layer(self.skip.weight[:, :features], None, "none", dtype)
        self.skip_hidden = Layer(self.skip.weight[:, inputs:], None, activation, dtype)
        # the outputs stay in float32: a rounded residual would be a rounded point
        first, last, output = network.residual
        self.residual = [
            Layer(first.weight, first.bias, activation, dtype),
            Layer(last.weight, last.bias, activation, dtype),
            Layer(output.weight, output.bias, "none", torch.float32),
        ]
        first, last, output = network.normal
        self.normal = [
            Layer(first.weight, first.bias, activation, dtype),
            Layer(last.weight, last.bias, activation, dtype),
            Layer(output.weight, output.bias, "none", torch.float32),
        ]
        ends = (activation, activation, "none")
        self.color = [Layer(x.weight, x.bias, end, dtype) for x, end in zip(network.color, ends, strict=False)]

    def place(self, uv: Tensor, pq: Tensor) -> Place:  # [M, 2], [M, 2] -> 2 x [M, H]
        """What they add to the first and the fifth layer."""
        place = torch.cat([encode_uv(uv, self.settings), pq], -1)
        features, inputs = self.settings.features, self.settings.input_channels
        first = functional.linear(place, self.first.weight[:, features:], self.first.bias)
        fifth = functional.linear(place, self.skip.weight[:, features:inputs], self.skip.bias)
        dtype = self.precision.dtype
        return Place((first.to(dtype), fifth.to(dtype)))

    def __call__(
        self,
        features: Tensor,  # [F, R, C], or [F, K, C] with `of`
        place: Place,  # of the R queries
        with_normals: bool = True,
        of: Tensor | None = None,  # [R] into K: which features a query has, where many share them
    ) -> tuple[Tensor, Tensor | None]:  # [F, R, 3], [F, R, 3] or None
        """Residuals and, where asked for, normals, in the local frame."""
        if of is not None:
            features = features.index_select(1, of)
        h = self._shared(features, place)
        residual = self._branch(h, self.residual).view(*features.shape[:2], 3)
        if not with_normals:
            return residual, None
        return residual, self._branch(h, self.normal).view(*features.shape[:2], 3)

    def colors(self, features: Tensor, place: Place) -> Tensor:  # as in a call -> [F, R, 3] in 0..1
        h = self._branch(self._shared(features, place), self.color)
        return h.float().sigmoid().view(*features.shape[:2], 3)

    def _shared(self, features: Tensor, place: Place) -> Tensor:  # [F, R, H], or [R, H] of one frame
        x, (first, fifth) = features.to(self.precision.dtype), place.parts
        if len(x) > 1:
            first, fifth = first.expand(len(x), -1, -1), fifth.expand(len(x), -1, -1)
        else:
            x = x[0]
        h = self.from_features(x, first)
        for layer in self.trunk:
            h = layer(h)
        return self.skip_hidden(h, self.skip_features(x, fifth))

    @staticmethod
    def _branch(h: Tensor, layers: list[Layer]) -> Tensor:  # [..., H] -> [..., 3]
        for layer in layers:
            h = layer(h)
        return h
