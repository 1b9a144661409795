"""A decode recorded once and replayed: some hundred kernel launches of a frame become one.

Written for CUDA and, for want of a GPU, only tested in its CPU form, in which a replay calls the function again on the
same buffers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]  # points and normals
Function = Callable[..., Pair]
WARM_UPS = 3  # runs before recording, in which libraries choose their kernels


class Replay:
    """`function` of tensors whose shapes stay the same. It may not read a value back from the device."""

    def __init__(self, function: Function, inputs: tuple[Tensor, ...]):
        self.function = function
        self.inputs = tuple(x.clone() for x in inputs)
        self.graph: torch.cuda.CUDAGraph | None = None
        if inputs[0].device.type == "cuda":
            self._record()

    def _record(self) -> None:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                self.function(*self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.outputs = self.function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> Pair:
        """Outputs that stay valid until the next call."""
        for buffer, value in zip(self.inputs, inputs, strict=True):
            buffer.copy_(value, non_blocking=True)
        if self.graph is None:
            return self.function(*self.inputs)
        self.graph.replay()
        return self.outputs


def to_host(tensors: Pair) -> Pair:
    """Copies in the computer's memory; from CUDA through page-locked memory, all with one wait."""
    if tensors[0].device.type != "cuda":
        return tensors[0].cpu(), tensors[1].cpu()
    a, b = tensors
    copies = (_page_locked(a), _page_locked(b))
    for copy, x in zip(copies, tensors, strict=True):
        copy.copy_(x, non_blocking=True)
    torch.cuda.current_stream().synchronize()
    return copies


def _page_locked(like: Tensor) -> Tensor:
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
