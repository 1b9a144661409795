"""The MLP in float32 on a CPU's vector units."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend.cpu import llvm_jit
from scale_backend.cpu.activations import ACTIVATIONS
from scale_backend.cpu.vector_code import OUTPUTS, VectorChain, registers
from scale_backend.inference.folding import FoldedNetwork, Linear
from scale_backend.inference.fused_mlp import FusedMLP, Program
from scale_backend.inference.mlp import Place
from scale_backend.inference.precision import Precision


class VectorMLP(FusedMLP):
    """Every number is a float32. With its layers' sums in registers it is spared torch's passes over memory."""

    def __init__(self, network: FoldedNetwork, precision: Precision):
        self.lanes = llvm_jit.vector_lanes()
        kept = registers(self.lanes, network.settings.hidden)
        assert kept is not None  # `offers` has said so
        self.group, self.columns = kept
        super().__init__(network, precision)
        features, layers = self.settings.features, (network.trunk[0], network.skip)
        self.table_weight = torch.cat([layer.weight[:, :features] for layer in layers])  # [2 H, C]
        self.table_bias = torch.cat([layer.bias for layer in layers])
        self.shared = {
            program.branches: self._without_features(program) for program in (self.residual, self.with_normal)
        }

    @staticmethod
    def offers(network: FoldedNetwork, precision: Precision) -> bool:
        """Whether this machine and this code have what is asked for."""
        settings, lanes = network.settings, llvm_jit.vector_lanes()
        exact = precision.dtype == torch.float32 and not precision.split
        if not exact or network.skip.weight.device.type != "cpu":
            return False
        even = settings.features % 2 == settings.input_channels % 2 == 0
        return even and registers(lanes, settings.hidden) is not None and settings.activation in ACTIVATIONS

    def _encoded(self, place: Tensor) -> Tensor:  # [M, E]
        return place

    def _chain(self) -> VectorChain:
        settings, layers = self.settings, len(self.network.trunk) - 1
        place = settings.input_channels - settings.features
        return VectorChain(
            settings.features, place, settings.hidden, settings.activation, layers,
            self.lanes, self.group, self.columns, False,
        )  # fmt: skip

    def _decode_shared(self, features: Tensor, of: Tensor, place: Place, program: Program) -> Tensor:
        """The features' share in the first and fifth layers once for all rows that have them: 6 % of all products."""
        first, last = int(of.min()), int(of.max()) + 1
        if last - first > len(of):
            return super()._decode_shared(features, of, place, program)
        tables = functional.linear(features[:, first:last], self.table_weight, self.table_bias)  # [F, K, 2 H]
        rows = (of - first).int()[:, None]
        shared = self.shared[program.branches]
        return torch.stack([self._outputs(self._run(shared, rows, place, table)) for table in tables])

    def _without_features(self, program: Program) -> Program:
        """The program for rows that share features."""
        assert isinstance(program.chain, VectorChain)
        features, inputs, hidden = self.settings.features, self.settings.input_channels, self.settings.hidden
        trunk, fifth = program.chain.trunk * hidden * hidden, (inputs + hidden) * hidden
        sizes = [inputs * hidden, trunk, fifth, len(program.weights) - inputs * hidden - trunk - fifth]
        layers = list(program.weights.split(sizes))
        for k in (0, 2):
            layers[k] = layers[k].view(hidden // self.columns, -1, self.columns)[:, features:].flatten()
        return replace(program, chain=replace(program.chain, shared=True), weights=torch.cat(layers))

    def _inputs(self, x: Tensor) -> Tensor:
        return x.contiguous()

    def _outputs(self, out: Tensor) -> Tensor:
        return out[..., :3]

    def _pack(self, weight: Tensor) -> Tensor:
        """As many columns as are computed together, input after input."""
        return weight.unflatten(0, (-1, self.columns)).mT.flatten()

    def _pack_first(self, layer: Linear) -> Tensor:
        return self._pack(layer.weight)

    def _pack_output(self, weight: Tensor) -> Tensor:
        return functional.pad(weight, (0, 0, 0, OUTPUTS - len(weight))).mT.flatten()
