"""The sweeps on a CPU, as code of our own: `sweeps.settle` to rounding, and the same to the bit in any company."""

from __future__ import annotations

import copy
import ctypes
import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from scale_backend.cpu import llvm_jit
from scale_backend.settling import code
from scale_backend.settling.constraints import Constraints
from scale_backend.settling.sweeps import Planes, Settling


@functools.cache
def compiled(lanes: int) -> tuple[Callable[..., None], ...]:
    """The code's three sweeps. They compute without Python's lock."""
    kinds = [ctypes.c_void_p] * 8 + [ctypes.c_int64] * 2
    with llvm_jit.compiling:
        return tuple(llvm_jit.functions(code.module(lanes), ("first", "smooth", "free"), kinds, ""))


class Sweeper:
    """One sheet's constraints laid out for the code: vertices with as many edges together, a block a vector.

    Needs llvmlite. Nothing of it changes in use: threads may share it.
    """

    def __init__(self, constraints: Constraints):
        self.lanes = llvm_jit.vector_lanes() or 4
        self.sweep = compiled(self.lanes)
        edges, bends = constraints.edges, constraints.bends
        count = len(constraints)
        degree, bend_degree = ((pairs.inverse > 0).sum(1) for pairs in (edges, bends))
        order = torch.argsort(degree * (1 << 16) + bend_degree, stable=True)
        self.order = torch.cat([order, order[-1:].expand(-count % self.lanes)])  # [B lanes]; the last fills its block
        self.place = torch.empty(count, dtype=torch.long)  # of each vertex in that order
        self.place[order] = torch.arange(count)
        columns = [self._columns(d) for d in (degree, bend_degree)]
        starts = [np.concatenate([[0], np.cumsum(c)]) for c in columns]
        first = starts[0][-1]
        self.blocks = torch.from_numpy(
            np.stack([starts[0][:-1], columns[0], first + starts[1][:-1], columns[1]], 1).astype(np.int64)
        )
        self.columns = columns
        self.index = torch.cat(
            [self._laid(self.place[p.index], c) for p, c in zip((edges, bends), columns, strict=True)]
        )
        self.index = self.index.int().contiguous()
        self.shares = self._blocked(torch.stack([edges.share, bends.share], 1))
        self.constraints = constraints
        self.lengths = self._lengths(constraints)

    def of(self, rest: Tensor) -> Sweeper:  # [V, 3] metres
        """The same sheet with the lengths of another rest shape."""
        other = copy.copy(self)
        other.lengths = self._lengths(self.constraints.of(rest))
        return other

    def _lengths(self, constraints: Constraints) -> Tensor:  # [rows, lanes]
        kinds = zip((constraints.edges, constraints.bends), self.columns, strict=True)
        return torch.cat([self._laid(pairs.inverse, columns) for pairs, columns in kinds]).contiguous()

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
        laid, bound = torch.zeros_like(answer), answer.new_zeros(len(answer), 4)
        if plane is not None:
            bound = torch.cat([plane[0], plane[1][:, None]], 1)
        frame = self._blocked(torch.cat([answer, laid, bound], 1))
        place = torch.nn.functional.pad(answer, (0, 1))[self.order].contiguous()
        other = torch.empty_like(place)
        numbers = torch.tensor([settling.stretch, settling.bend, settling.smooth, 1 - settling.pull, settling.reach])
        fixed = [a.data_ptr() for a in (self.blocks, self.index, self.lengths, self.shares, frame, numbers)]
        first, smooth, free = self.sweep
        for sweep in range(settling.sweeps):
            run = first if sweep == 0 else smooth if sweep < settling.smoothed else free
            run(place.data_ptr(), other.data_ptr(), *fixed, 0, len(self.blocks))
            place, other = other, place
        return place[self.place, :3]

    def _columns(self, degree: Tensor) -> np.ndarray:  # [V] -> [B] vectors that a block needs
        return degree[self.order].view(-1, self.lanes).amax(1).numpy()

    def _laid(self, values: Tensor, columns: np.ndarray) -> Tensor:  # [V, K] -> [sum of columns, lanes]
        """A block's rows turned to columns, without those that no vertex of it needs."""
        rows = values[self.order].unflatten(0, (-1, self.lanes)).mT  # [B, K, lanes]
        wanted = torch.arange(rows.shape[1])[None] < torch.from_numpy(columns)[:, None]
        return rows[wanted]

    def _blocked(self, values: Tensor) -> Tensor:  # [V, C] -> [B, C, lanes]
        return values[self.order].unflatten(0, (-1, self.lanes)).mT.contiguous()
