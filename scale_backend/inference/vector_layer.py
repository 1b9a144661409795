"""A layer in float32 as code of our own, on a CPU's vector units."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend.cpu import llvm_jit
from scale_backend.cpu.vector_code import SingleLayers
from scale_backend.inference.layers import Layer


class VectorLayer:
    """activation(x W^T + b), where oneDNN is slow: for few rows and large weights, which are read once and in order."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str, lanes: int):
        self.inputs, self.outputs, self.activation = weight.shape[1], len(weight), activation
        self.kind = SingleLayers(lanes)
        self.weight = weight.unflatten(0, (-1, self.kind.columns)).mT.contiguous()  # [N / columns, K, columns]
        self.bias = torch.zeros(self.outputs) if bias is None else bias.contiguous()

    def __call__(self, x: Tensor) -> Tensor:  # [..., K] -> [..., N]
        count = x.shape[:-1].numel()
        rows = functional.pad(x.reshape(count, self.inputs), (0, 0, 0, -count % self.kind.rows)).contiguous()
        out = torch.empty(len(rows), self.outputs)
        arrays = (rows, self.weight, self.bias, out)
        function = llvm_jit.linear(self.kind.lanes)[self.activation]
        function(*(a.data_ptr() for a in arrays), self.inputs, self.outputs, len(rows) // self.kind.rows)
        return out[:count].view(*x.shape[:-1], self.outputs)


def float32_layer(weight: Tensor, bias: Tensor | None, activation: str) -> VectorLayer | Layer:
    """A layer on the CPU: code of our own where there is some for this CPU and these sizes."""
    lanes = llvm_jit.vector_lanes()
    outputs, inputs = weight.shape
    if (
        lanes
        and activation in SingleLayers.activations
        and inputs % 4 == 0
        and outputs % SingleLayers(lanes).columns == 0
    ):
        return VectorLayer(weight, bias, activation, lanes)
    return Layer(weight, bias, activation, torch.float32)
