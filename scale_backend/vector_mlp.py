"""The MLP in float32 on a CPU's vector units."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend import llvm_jit
from scale_backend.folding import FoldedNetwork, Linear
from scale_backend.fused_mlp import FusedMLP
from scale_backend.llvm_code import ACTIVATIONS
from scale_backend.network import encode_uv
from scale_backend.precision import Precision
from scale_backend.vector_code import OUTPUTS, VectorChain, registers


class VectorMLP(FusedMLP):
    """Every number is a float32. With its layers' sums in registers it is spared torch's passes over memory."""

    def __init__(self, network: FoldedNetwork, precision: Precision):
        self.lanes = llvm_jit.vector_lanes()
        self.group, self.columns = registers(self.lanes, network.settings.hidden)
        super().__init__(network, precision)

    @staticmethod
    def offers(network: FoldedNetwork, precision: Precision) -> bool:
        """Whether this machine and this code have what is asked for."""
        settings, lanes = network.settings, llvm_jit.vector_lanes()
        exact = precision.dtype == torch.float32 and not precision.split
        if not exact or network.skip.weight.device.type != "cpu":
            return False
        even = settings.features % 2 == settings.input_channels % 2 == 0
        return even and registers(lanes, settings.hidden) is not None and settings.activation in ACTIVATIONS

    def place(self, uv: Tensor, pq: Tensor) -> Tensor:  # [M, 2], [M, 2] -> [M, E]
        return torch.cat([encode_uv(uv, self.settings), pq], -1)

    def _chain(self, branches: int) -> VectorChain:
        settings, layers = self.settings, len(self.network.trunk) - 1
        place = settings.input_channels - settings.features
        return VectorChain(
            settings.features, place, settings.hidden, settings.activation, layers, branches,
            self.lanes, self.group, self.columns,
        )  # fmt: skip

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
