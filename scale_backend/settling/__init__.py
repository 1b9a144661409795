"""Cloth gets its length back: sweeps of length and bending constraints from what the network answered."""

from __future__ import annotations

from torch import Tensor

from scale_backend.cpu import llvm_jit
from scale_backend.settling.constraints import sheet_constraints
from scale_backend.settling.fast import Sweeper
from scale_backend.settling.sweeps import TorchSweeper


def sweeper_of(triangles: Tensor, rest: Tensor) -> Sweeper | TorchSweeper:  # [T, 3], [V, 3] metres
    """A mesh ready to settle on the device that its tensors are on, in the fastest way there is."""
    constraints = sheet_constraints(triangles, rest.cpu())
    if rest.device.type == "cpu" and llvm_jit.available():
        return Sweeper(constraints)
    return TorchSweeper(constraints.to(rest.device))
