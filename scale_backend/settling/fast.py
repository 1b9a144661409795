"""The sweeps on a CPU, as code of our own: `sweeps.settle` to rounding, and the same to the bit in any company."""

from __future__ import annotations

import copy
import ctypes
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from scale_backend.cpu import llvm_jit
from scale_backend.settling import code
from scale_backend.settling.blocks import Blocks
from scale_backend.settling.constraints import Constraints
from scale_backend.settling.sweeps import Planes, Settling


@functools.cache
def compiled(lanes: int) -> tuple[Callable[..., None], ...]:
    """The code's three sweeps. They compute without Python's lock."""
    kinds = [ctypes.c_void_p] * 8 + [ctypes.c_int64] * 2
    with llvm_jit.compiling:
        return tuple(llvm_jit.functions(code.module(lanes), ("first", "smooth", "free"), kinds, ""))


class Sweeper:
    """One sheet laid out for the code. Needs llvmlite. Nothing of it changes in use: threads may share it."""

    def __init__(self, constraints: Constraints):
        lanes = llvm_jit.vector_lanes() or 4
        self.sweep, self.blocks = compiled(lanes), Blocks(constraints, lanes)
        self.shares = self.blocks.blocked(torch.stack([constraints.edges.share, constraints.bends.share], 1))
        self.lengths = self.blocks.lengths(constraints)

    def of(self, rest: Tensor) -> Sweeper:  # [V, 3] metres
        """The same sheet with the lengths of another rest shape."""
        other = copy.copy(self)
        other.lengths = self.blocks.lengths(self.blocks.constraints.of(rest))
        return other

    def __call__(self, answer: Tensor, planes: Planes | None, settling: Settling) -> Tensor:
        """answer [F, V, 3] metres -> [F, V, 3], as `sweeps.settle`."""
        frames = range(len(answer))
        return torch.stack(
            [
                self._frame(answer[f], None if planes is None else (planes.normal[f], planes.offset[f]), settling)
                for f in frames
            ]
        )

    def _frame(self, answer: Tensor, plane: tuple[Tensor, Tensor] | None, settling: Settling) -> Tensor:  # [V, 3]
        blocks = self.blocks
        laid, bound = torch.zeros_like(answer), answer.new_zeros(len(answer), 4)
        if plane is not None:
            bound = torch.cat([plane[0], plane[1][:, None]], 1)
        frame = blocks.blocked(torch.cat([answer, laid, bound], 1))
        place = torch.nn.functional.pad(answer, (0, 1))[blocks.order].contiguous()
        other = torch.empty_like(place)
        numbers = torch.tensor([settling.stretch, settling.bend, settling.smooth, 1 - settling.pull, settling.reach])
        fixed = [a.data_ptr() for a in (blocks.table, blocks.index, self.lengths, self.shares, frame, numbers)]
        first, smooth, free = self.sweep
        for sweep in range(settling.sweeps):
            run = first if sweep == 0 else smooth if sweep < settling.smoothed else free
            run(place.data_ptr(), other.data_ptr(), *fixed, 0, len(blocks))
            place, other = other, place
        return place[blocks.place, :3]
