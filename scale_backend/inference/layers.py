"""The network's layers in the arithmetic the hardware is best at.

On a CPU a layer is one oneDNN call with weights laid out once, its activation fused where oneDNN knows it (relu,
silu). softplus, which oneDNN's layers do not know, is compiled by numba where that is installed. Everywhere else it is
plain torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional

FUSED = {"none": ("none", []), "relu": ("relu", []), "silu": ("swish", []), "leaky_relu": ("leaky_relu", [0.2])}


def _softplus(x: Tensor) -> Tensor:
    if x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float32) and x.is_contiguous():
        jit = softplus_jit()
        if jit is not None:
            return jit(x)
    return functional.softplus(x)


IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": torch.relu_,
    "silu": lambda x: functional.silu(x, inplace=True),
    "leaky_relu": lambda x: functional.leaky_relu_(x, 0.2),
    "softplus": _softplus,
}


@functools.cache
def softplus_jit() -> Callable[[Tensor], Tensor] | None:
    """softplus in place, compiled for this CPU; None without numba. The first call compiles, or reads the cache."""
    if find_spec("numba") is None:
        return None
    try:
        from scale_backend.cpu.softplus_jit import softplus_

        for dtype in (torch.float32, torch.bfloat16):
            softplus_(torch.zeros(1, dtype=dtype))
    except (ImportError, RuntimeError, OSError):  # a numba too old for this numpy, or no folder for its cache
        return None
    return softplus_


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
