"""The MLP on a CPU's matrix tiles, its weights laid out for them: all layers in one call for many points."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend import amx, amx_code
from scale_backend.amx_code import ROWS, Chain
from scale_backend.folded_mlp import FoldedMLP
from scale_backend.folding import FoldedNetwork, Linear
from scale_backend.network import encode_uv
from scale_backend.precision import Precision


def mlp_of(network: FoldedNetwork, precision: Precision) -> FoldedMLP | TileMLP:
    """A network's MLP, ready to run: on matrix tiles where there are some and the precision allows."""
    return TileMLP(network, precision) if TileMLP.offers(network, precision) else FoldedMLP(network, precision)


class TileMLP:
    """As `FoldedMLP`, in bfloat16 or, with a `split` precision, in pairs of it: nearly float32."""

    def __init__(self, network: FoldedNetwork, precision: Precision):
        self.settings, self.precision, self.network = network.settings, precision, network
        encoded = self.settings.input_channels - self.settings.features
        # in bfloat16 a place would be rounded to a few millimetres: upper and lower parts in channels of their own
        place = encoded if precision.split else 3 * encoded
        self.chain = Chain(
            filled(self.settings.features), filled(place), self.settings.hidden, self.settings.activation,
            len(network.trunk) - 1, 1, precision.split,
        )  # fmt: skip
        self.branches = {
            1: self._prepare(network.residual),
            2: self._prepare(network.residual, network.normal),
            **({"color": self._prepare(network.color)} if network.color else {}),
        }

    @staticmethod
    def offers(network: FoldedNetwork, precision: Precision) -> bool:
        """Whether this machine and this code have what is asked for."""
        settings = network.settings
        asked = precision.split or (precision.dtype == torch.bfloat16 and not precision.exact_residual)
        if not asked or network.skip.weight.device.type != "cpu" or not amx.available():
            return False
        return settings.hidden % 32 == 0 and settings.activation in amx_code.ACTIVATIONS

    def place(self, uv: Tensor, pq: Tensor) -> Tensor:  # [M, 2], [M, 2] -> [M, E] bfloat16
        place = torch.cat([encode_uv(uv, self.settings), pq], -1)
        parts = [upper(place), place - upper(place)]
        if not self.chain.split:
            return widened(torch.cat([*parts, parts[0]], 1), self.chain.place).to(torch.bfloat16)
        return torch.cat([widened(part, self.chain.place) for part in parts], 1).to(torch.bfloat16)

    def __call__(
        self,
        features: Tensor,  # [F, R, C]
        place: Tensor,  # [R, E]
        with_normals: bool = True,
    ) -> tuple[Tensor, Tensor | None]:  # [F, R, 3], [F, R, 3] or None
        """Residuals and, where asked for, normals, in the local frame."""
        decoded = self._decode(features, place, 1 + with_normals)
        return decoded[:, :, 0], decoded[:, :, 1] if with_normals else None

    def colors(self, features: Tensor, place: Tensor) -> Tensor:  # as in a call -> [F, R, 3] in 0..1
        return self._decode(features, place, "color")[:, :, 0].sigmoid()

    def _decode(self, features: Tensor, place: Tensor, branches: int | str) -> Tensor:  # -> [F, R, B, 3]
        return torch.stack([self._decode_frame(x, place, *self.branches[branches]) for x in features])

    def _decode_frame(self, x: Tensor, place: Tensor, chain: Chain, weights: Tensor, biases: Tensor) -> Tensor:
        rows, channels = x.shape
        blocks, whole = -(-rows // ROWS), rows // ROWS
        inputs = x.new_empty(blocks * ROWS, chain.features * chain.parts, dtype=torch.bfloat16)
        if rows % ROWS or channels < chain.features:
            inputs.zero_()  # whatever lay there could be no number
        inputs[:rows, :channels] = x
        if chain.split:
            inputs[:rows, chain.features : chain.features + channels] = x - inputs[:rows, :channels]
        out = x.new_empty(blocks * ROWS, chain.branches, 16)
        scratch = torch.empty(chain.scratch, dtype=torch.uint8)
        function = amx.compiled(chain)

        def run(first: int, place: Tensor, blocks: int) -> None:
            arrays = (inputs[first:], place, weights, biases, out[first:], scratch)
            function(*(array.data_ptr() for array in arrays), blocks)

        if whole:
            run(0, place, whole)
        if blocks > whole:
            run(whole * ROWS, functional.pad(place[whole * ROWS :], (0, 0, 0, -rows % ROWS)), 1)
        return out[:rows, :, :3] + out[:rows, :, 3:6]

    def _prepare(self, *branches: tuple[Linear, ...]) -> tuple[Chain, Tensor, Tensor]:
        """The chain that ends in these branches, its weights and biases."""
        first, *trunk = self.network.trunk
        layers = [self._pack_with_place(first), *(self._pack(layer.weight) for layer in trunk)]
        layers.append(self._pack_with_place(self.network.skip))
        biases = [layer.bias for layer in (*self.network.trunk, self.network.skip)]
        for *hidden, output in branches:
            layers += [self._pack(layer.weight) for layer in hidden]
            layers.append(self._pack_output(output.weight))
            biases += [*(layer.bias for layer in hidden), functional.pad(output.bias, (0, 16 - len(output.bias)))]
        return replace(self.chain, branches=len(branches)), torch.cat(layers), torch.cat(biases)

    def _pack(self, weight: Tensor) -> Tensor:  # [out, in]
        return pack(upper(weight), weight - upper(weight)) if self.chain.split else pack(weight)

    def _pack_with_place(self, layer: Linear) -> Tensor:
        features, inputs = self.settings.features, self.settings.input_channels
        place = layer.weight[:, features:inputs]
        if not self.chain.split:
            place = torch.cat([place, place, place - upper(place)], 1)
        parts = [widened(layer.weight[:, :features], self.chain.features), widened(place, self.chain.place)]
        return self._pack(torch.cat([*parts, layer.weight[:, inputs:]], 1))

    def _pack_output(self, weight: Tensor) -> Tensor:
        """Both parts in columns of their own: rounding them would be rounding the points."""
        columns = torch.cat([upper(weight), weight - upper(weight)])
        if self.chain.split:  # the inputs' lower parts meet the weights' upper ones alone
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
