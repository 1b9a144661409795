"""The MLP on a CPU's matrix tiles, its weights laid out for them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend.cpu import amx
from scale_backend.cpu.activations import ACTIVATIONS
from scale_backend.cpu.tile_code import ROWS, TileChain
from scale_backend.inference.folding import FoldedNetwork, Linear
from scale_backend.inference.fused_mlp import FusedMLP
from scale_backend.inference.precision import Precision


class TileMLP(FusedMLP):
    """In bfloat16 or, with a `split` precision, in pairs of it: nearly float32."""

    group = ROWS

    def __init__(self, network: FoldedNetwork, precision: Precision):
        self.split = precision.split
        encoded = network.settings.input_channels - network.settings.features
        # in bfloat16 a place would be rounded to a few millimetres: upper and lower parts in channels of their own
        self.features, self.places = filled(network.settings.features), filled(encoded if self.split else 3 * encoded)
        super().__init__(network, precision)

    @staticmethod
    def offers(network: FoldedNetwork, precision: Precision) -> bool:
        """Whether this machine and this code have what is asked for."""
        settings = network.settings
        asked = precision.split or precision.dtype == torch.bfloat16
        if not asked or network.skip.weight.device.type != "cpu" or not amx.available():
            return False
        return settings.hidden % 32 == 0 and settings.activation in ACTIVATIONS

    def _encoded(self, place: Tensor) -> Tensor:  # [M, E'] -> [M, E] bfloat16
        parts = [upper(place), place - upper(place)]
        if not self.split:
            return widened(torch.cat([*parts, parts[0]], 1), self.places).to(torch.bfloat16)
        return torch.cat([widened(part, self.places) for part in parts], 1).to(torch.bfloat16)

    def _chain(self) -> TileChain:
        settings, layers = self.settings, len(self.network.trunk) - 1
        return TileChain(
            self.features, self.places, settings.hidden, settings.activation, layers, self.split
        )  # fmt: skip

    def _inputs(self, x: Tensor) -> Tensor:
        rows, channels = x.shape
        make = torch.empty if channels == self.features else torch.zeros
        inputs = make(rows, self.features * (1 + self.split), dtype=torch.bfloat16)
        inputs[:, :channels] = x
        if self.split:
            inputs[:, self.features : self.features + channels] = x - inputs[:, :channels]
        return inputs

    def _outputs(self, out: Tensor) -> Tensor:
        return out[..., :3] + out[..., 3:6]

    def _pack(self, weight: Tensor) -> Tensor:  # [out, in]
        return pack(upper(weight), weight - upper(weight)) if self.split else pack(weight)

    def _pack_first(self, layer: Linear) -> Tensor:
        features, inputs = self.settings.features, self.settings.input_channels
        place = layer.weight[:, features:inputs]
        if not self.split:
            place = torch.cat([place, place, place - upper(place)], 1)
        parts = [widened(layer.weight[:, :features], self.features), widened(place, self.places)]
        return self._pack(torch.cat([*parts, layer.weight[:, inputs:]], 1))

    def _pack_output(self, weight: Tensor) -> Tensor:
        """Both parts in columns of their own: rounding them would be rounding the points."""
        columns = torch.cat([upper(weight), weight - upper(weight)])
        if self.split:  # the inputs' lower parts meet the weights' upper ones alone
            columns = torch.cat([columns, torch.cat([upper(weight), torch.zeros_like(weight)])], 1)
        return pack(columns)


def upper(values: Tensor) -> Tensor:
    """Rounded to bfloat16."""
    return values.to(torch.bfloat16).to(values.dtype)


def filled(channels: int) -> int:
    return -(-channels // 32) * 32


def widened(values: Tensor, channels: int) -> Tensor:  # [R, C] -> [R, channels]
    return functional.pad(values, (0, channels - values.shape[1]))


def pack(*parts: Tensor) -> Tensor:  # [out, in] each -> bfloat16
    """Weights as tiles of 32 inputs and 16 outputs, pairs of inputs side by side: all inputs of 32 outputs in turn."""
    layouts = []
    for weight in parts:
        outputs, inputs = weight.shape
        weight = functional.pad(weight, (0, 0, 0, -outputs % 16)).to(torch.bfloat16)
        tiles = weight.view(-1, 16, inputs // 32, 16, 2).permute(0, 2, 3, 1, 4)  # [O, K, 16, 16, 2]
        across = 2 if len(tiles) > 1 else 1
        layouts.append(tiles.unflatten(0, (-1, across)).transpose(1, 2))  # [O, K, across, 16, 16, 2]
    return torch.cat(layouts, 2).flatten()
