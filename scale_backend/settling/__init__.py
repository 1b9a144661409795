"""Cloth gets its length back: sweeps of length and bending constraints from what the network answered."""

from __future__ import annotations

import torch
from torch import Tensor

from scale_backend.cpu import llvm_jit
from scale_backend.settling.constraints import sheet_constraints
from scale_backend.settling.fast import Sweeper
from scale_backend.settling.sweeps import TorchSweeper

__all__ = ["Sweeper", "TorchSweeper", "sweeper_of"]


def sweeper_of(triangles: Tensor, rest: Tensor, device: torch.device) -> Sweeper | TorchSweeper:
    """A mesh of triangles [T, 3] and vertices [V, 3], metres, ready to settle on a device in the fastest way there."""
    constraints = sheet_constraints(triangles, rest)
    if device.type == "cpu" and llvm_jit.available():
        return Sweeper(constraints)
    return TorchSweeper(constraints.to(device))
