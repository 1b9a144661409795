"""A decode recorded once and replayed: some hundred kernel launches of a frame become one.

Written for CUDA and, for want of a GPU, only tested in its CPU form, in which a replay calls the function again on the
same buffers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[..., tuple[Tensor, ...]]
WARM_UPS = 3  # runs before recording, in which libraries choose their kernels


class Replay:
    """`function` of tensors whose shapes stay the same. It may not read a value back from the device."""

    def __init__(self, function: Function, inputs: tuple[Tensor, ...]):
        self.function = function
        self.inputs = tuple(x.clone() for x in inputs)
        self.graph = None
        if inputs[0].device.type == "cuda":
            self._record()

    def _record(self) -> None:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self.function(*self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = self.function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs that stay valid until the next call."""
        for buffer, value in zip(self.inputs, inputs, strict=True):
            buffer.copy_(value, non_blocking=True)
        if self.graph is None:
            return self.function(*self.inputs)
        self.graph.replay()
        return self.outputs


def to_host(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Copies in the computer's memory; from CUDA through page-locked memory, all with one wait."""
    if tensors[0].device.type != "cuda":
        return tuple(x.cpu() for x in tensors)
    copies = tuple(torch.empty(x.shape, dtype=x.dtype, pin_memory=True) for x in tensors)
    for copy, x in zip(copies, tensors, strict=True):
        copy.copy_(x, non_blocking=True)
    torch.cuda.current_stream().synchronize()
    return copies
