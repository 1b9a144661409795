"""The layers of an MLP as one program: who reads what, and where branches flow into each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

BRANCHES = (1, 2)  # that a code is for: residuals or colours alone, residuals and normals


@dataclass(frozen=True)
class Chain:
    """The MLP that a code computes."""

    features: int
    place: int  # channels of what depends on the place alone
    hidden: int
    activation: str
    trunk: int  # layers between the first and the fifth

    buffers = 3  # for activations

    def run(
        self,
        branches: int,  # of two hidden layers and an output of up to 3 channels
        buffers: Sequence[str],  # 3, or 4: then outputs come last, and each layer follows another
        layer: Callable[[str, int, str, str], None],  # name, inputs, the hidden ones, where to
        output: Callable[[str, int], None],  # the hidden ones, number of the branch
    ) -> None:
        """All layers in their order."""
        one, other, shared, *more = buffers
        layer("first", self.features + self.place, other, one)
        for _ in range(self.trunk):
            layer("hidden", self.hidden, one, other)
            one, other = other, one
        layer("fifth", self.features + self.place + self.hidden, one, shared)
        ends = [other, *more]
        for branch in range(branches):
            layer("hidden", self.hidden, shared, one)
            layer("hidden", self.hidden, one, ends[branch if more else 0])
            if not more:
                output(other, branch)
        for branch in range(branches if more else 0):
            output(ends[branch], branch)
