"""The simulation on a CPU, as code of our own: `falling.fall` to rounding, and the same to the bit in any company."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from scale_backend.coarse import falling_code
from scale_backend.coarse.falling import FARTHEST, FASTEST, REACH, STEP, kept_speed
from scale_backend.coarse.sheet import STEPS, CoarseSettings
from scale_backend.cpu import llvm_jit
from scale_backend.settling.blocks import Blocks
from scale_backend.settling.constraints import Constraints


@functools.cache
def compiled(lanes: int) -> Callable[..., None]:
    """It computes without Python's lock."""
    kinds = [ctypes.c_void_p] * 10 + [ctypes.c_int64] * 4
    with llvm_jit.compiling:
        return llvm_jit.functions(falling_code.module(lanes), ("fall",), kinds, "")[0]


class Faller:
    """One coarse mesh laid out for the code. Needs llvmlite. Nothing of it changes in use: threads may share it."""

    def __init__(self, constraints: Constraints, colours: list[Tensor], held: Tensor, settings: CoarseSettings):
        lanes = llvm_jit.vector_lanes() or 4
        self.run, self.settings = compiled(lanes), settings
        self.blocks = Blocks(constraints, lanes, colours)
        self.shares = self.blocks.blocked(torch.stack([constraints.edges.share, 1 - held], 1).float())
        self.lengths = self.blocks.lengths(constraints)

    @property
    def order(self) -> Tensor:  # [B lanes] vertices, as the targets are wanted
        return self.blocks.order

    def __call__(
        self,
        targets: Tensor,  # [G + 1, 3, B lanes] metres, of the vertices in `order`
        skin: Tensor,  # [G + 1, N, 8]
        gravity: Tensor,  # [3] metres a square second
        constraints: Constraints | None = None,  # at the lengths of another rest shape
    ) -> Tensor:  # [C, 3]
        blocks, lanes = self.blocks, self.blocks.lanes
        lengths = self.lengths if constraints is None else blocks.lengths(constraints)
        targets, skin = targets.contiguous(), skin.contiguous()
        place = torch.nn.functional.pad(targets[0].T, (0, 1)).contiguous()
        before = targets[0] - (targets[1] - targets[0]) / STEPS
        before = before.unflatten(1, (-1, lanes)).transpose(0, 1).contiguous()  # [B, 3, lanes]
        touch = torch.empty(len(blocks), falling_code.TOUCH_VECTORS, lanes)
        chosen, pull = self.settings, (gravity * STEP**2).tolist()
        numbers = torch.tensor([kept_speed(chosen), *pull, chosen.stretch, chosen.margin, REACH**2, FARTHEST,
                                FASTEST * STEP, 1 / STEPS])  # fmt: skip
        parts = (place, before, blocks.table, blocks.index, lengths, self.shares, targets, skin, touch, numbers)
        addresses = [part.data_ptr() for part in parts]
        self.run(*addresses, targets.shape[0] - 1, STEPS, len(blocks), skin.shape[1])
        return place[blocks.place, :3]
