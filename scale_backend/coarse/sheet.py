"""The coarse mesh of a garment, and how it is simulated: what a garment file holds of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.coarse.correction import Correction
from scale_backend.machine.moving import to_device

GROUPS_A_SECOND = 120  # moments at which the body is looked at
STEPS = 4  # of the simulation from one of them to the next
MOST_SECONDS = 2.0
MOST_STRETCH = 1.9  # of a relaxation that takes one vertex after the other; at 2 it no longer converges


@dataclass(frozen=True)
class CoarseSettings:
    """How the coarse mesh moves."""

    seconds: float = 2 / 3
    """How long before the present it begins, at rest on its carrier."""
    stretch: float = 1.8
    """Of the mean correction that a vertex's edges ask for."""
    air: float = 2.5
    """Share of its speed that cloth loses to the air in a second, as the exponent of e."""
    margin: float = 0.009
    """Metres above the skin where the body stops it."""

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= MOST_SECONDS:
            raise ValueError(f"Coarse cloth falls for up to {MOST_SECONDS:g} s, not for {self.seconds}.")
        if not 0 <= self.stretch <= MOST_STRETCH:
            raise ValueError(f"stretch is at most {MOST_STRETCH}, not {self.stretch}: beyond, cloth overshoots.")
        if not 0 <= self.air <= 100 or not 0 <= self.margin <= 0.1:
            raise ValueError(f"air is at most 100 and the margin at most 0.1 m, not {self.air} and {self.margin}.")

    @property
    def groups(self) -> int:
        """How many times the body is looked at."""
        return max(1, round(self.seconds * GROUPS_A_SECOND))


@dataclass(frozen=True)
class CoarseSheet:
    """C vertices that stand for a carrier's V. Rest pose of the body they belong to."""

    template: Tensor  # [C, 3] metres
    triangles: Tensor  # [K, 3]
    blend_weights: Tensor  # [C, J]
    shape_components: Tensor  # [C, 3, S]
    held: Tensor  # [C] 1: goes where the body takes it; 0: is free
    index: Tensor  # [V, N] the coarse vertices that each of the carrier's goes with
    weights: Tensor  # [V, N] rows sum to 1
    correction: Correction | None = None  # what it lacks in the mean; None: it stays where it fell

    def to(self, device: str | torch.device) -> CoarseSheet:
        return to_device(self, device)
