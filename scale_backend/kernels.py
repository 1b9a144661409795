"""The MLP's layers in the arithmetic the hardware is best at.

On a CPU with bfloat16 units a layer is one oneDNN call with packed weights, its activation fused where oneDNN knows
it (relu, silu). Everywhere else it is plain torch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from scale_backend.devices import matrix_units
from scale_backend.network import ACTIVATIONS

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FUSED = {"relu": "relu", "silu": "swish", "none": "none"}  # oneDNN's names


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """The MLP's number format. `auto`: bfloat16 on a CPU with units for it, else float32. Raises ValueError."""
    if precision == "auto":
        has_units = device.type == "cpu" and {"amx_bf16", "avx512_bf16"} & set(matrix_units())
        return torch.bfloat16 if has_units else torch.float32
    if precision not in PRECISIONS:
        raise ValueError(f"The precision must be auto, {', '.join(PRECISIONS)}, not '{precision}'.")
    return PRECISIONS[precision]


class Layer:
    """activation(x W^T + b), with b a row for all points or a row for each."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str, dtype: torch.dtype):
        self.weight = weight.to(dtype)
        self.bias = None if bias is None else bias.to(dtype)
        self.activation = activation
        self.activate = ACTIVATIONS.get(activation)
        self.packed = None
        if weight.device.type == "cpu" and dtype == torch.bfloat16 and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
            self.packed = self.weight.contiguous().to_mkldnn()

    def __call__(self, x: Tensor, added: Tensor | None = None) -> Tensor:  # [R, in], [R, out] -> [R, out]
        fused = "none"
        if self.packed is not None:
            fused = FUSED.get(self.activation, "none") if added is None else "none"
            y = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, fused, [], "")
        else:
            y = functional.linear(x, self.weight, self.bias)
        if added is not None:
            y = y.add_(added)
        return y if fused != "none" or self.activate is None else self.activate(y)
