"""The network's layers in the arithmetic the hardware is best at.

On a CPU a layer is one oneDNN call with weights laid out once, its activation fused where oneDNN knows it (relu,
silu). softplus, which oneDNN's layers do not know, is code of our own where llvmlite is installed. Everywhere else it
is plain torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend.cpu import llvm_jit, softplus

FUSED: dict[str, tuple[str, list[float]]] = {  # as oneDNN calls them, with their numbers
    "none": ("none", []), "relu": ("relu", []), "silu": ("swish", []), "leaky_relu": ("leaky_relu", [0.2]),
}  # fmt: skip


def _softplus(x: Tensor) -> Tensor:
    if x.device.type == "cpu" and x.dtype in softplus.SIZES and x.is_contiguous() and llvm_jit.available():
        return softplus.softplus_(x)
    return functional.softplus(x)


IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": torch.relu_,
    "silu": lambda x: functional.silu(x, inplace=True),
    "leaky_relu": lambda x: functional.leaky_relu_(x, 0.2),
    "softplus": _softplus,
}


class Layer:
    """activation(x W^T + b), with b a row for all points or a row for each."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str, dtype: torch.dtype):
        self.weight = weight.to(dtype).contiguous()
        self.bias = None if bias is None else bias.to(dtype)
        self.dtype, self.activation = dtype, activation
        self.packed = None
        if weight.device.type == "cpu" and dtype != torch.float16 and has_packed_layers():
            self.packed = self.weight.to_mkldnn()

    def __call__(self, x: Tensor, added: Tensor | None = None) -> Tensor:  # [..., in], [..., out] -> [..., out]
        x = x.to(self.dtype)
        if self.packed is None:
            y = functional.linear(x, self.weight, self.bias)
            return IN_PLACE[self.activation](y if added is None else y.add_(added))
        layer = torch.ops.mkldnn._linear_pointwise
        if added is not None:
            return IN_PLACE[self.activation](layer.binary(x, added, self.packed, self.bias, "add"))
        if self.activation in FUSED:
            name, numbers = FUSED[self.activation]
            return layer(x, self.packed, self.bias, name, numbers, "")
        return IN_PLACE[self.activation](layer(x, self.packed, self.bias, "none", [], ""))


@functools.cache
def has_packed_layers() -> bool:
    """Whether this torch has oneDNN's fused layers."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
