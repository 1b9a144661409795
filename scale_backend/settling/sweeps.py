"""The sweeps as torch computes them: on a GPU, and on a CPU for which there is no code of our own.

All vertices move at once, each by what it reads of the sweep before (Jacobi), so the order of vertices, frames and
threads changes nothing. Position-based dynamics (Müller et al. 2007) without mass, time and memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from scale_backend.settling.constraints import Constraints, Pairs

MOST_SWEEPS = 1000
FARTHEST = 1.0  # metres
# How a sweep turns a mesh's finest ripples round, for each 1 of stretch, bend and smooth: largest eigenvalues, measured
# on four garments of 4,755 to 8,523 vertices. At 2 and beyond ripples grow from sweep to sweep.
RIPPLES, STEEPEST = (1.33, 1.25, 1.57), 2.0


@dataclass(frozen=True)
class Settling:
    """How a fabric settles."""

    sweeps: int = 40
    smoothed: int = 32
    """Sweeps, from the first, in which the displacement is kept smooth; the others then find the length."""
    stretch: float = 1.0
    """Of the mean correction that a vertex's edges ask for."""
    bend: float = 0.1
    """The same across edges: how much the fabric resists folding."""
    smooth: float = 0.3
    """How far a displacement goes towards its neighbours' mean in a sweep: the wider a fabric's folds, the further."""
    pull: float = 0.003
    """Share of the displacement that is taken back in a sweep."""
    reach: float = 0.06
    """Metres that a vertex may go from where the network put it."""

    def __post_init__(self) -> None:
        if type(self.sweeps) is not int or type(self.smoothed) is not int:
            raise ValueError("Sweeps are whole numbers.")
        if not 0 <= self.smoothed <= self.sweeps <= MOST_SWEEPS:
            raise ValueError(f"Cloth settles in up to {MOST_SWEEPS} sweeps, not in {self.sweeps}.")
        if not 0 <= self.pull <= 1 or not 0 <= self.reach <= FARTHEST:
            raise ValueError(f"pull is a share, and reach at most {FARTHEST:g} m; not {self.pull} and {self.reach}.")
        parts = self.stretch, self.bend, self.smooth, self.pull, self.reach
        steepness = sum(part * ripple for part, ripple in zip(parts, RIPPLES, strict=False))
        if min(parts) < 0 or steepness > STEEPEST:
            raise ValueError(f"stretch, bend and smooth are 0 or more, and {RIPPLES} times them at most {STEEPEST:g} "
                             f"together: beyond, sweeps overshoot; not {parts[:3]}.")  # fmt: skip


@dataclass(frozen=True)
class Planes:
    """For each vertex the half-space that it must stay in: normal . x >= offset. A zero normal allows all."""

    normal: Tensor  # [F, V, 3] unit or zero
    offset: Tensor  # [F, V] metres; at most 0 where the normal is zero


class TorchSweeper:
    """A sheet's constraints, ready to settle it."""

    def __init__(self, constraints: Constraints):
        self.constraints = constraints

    def of(self, rest: Tensor) -> TorchSweeper:  # [V, 3] metres, or [F, V, 3]
        """The same sheet with the lengths of another rest shape, or of each frame's."""
        return TorchSweeper(self.constraints.of(rest))

    def __call__(self, answer: Tensor, planes: Planes | None, settling: Settling) -> Tensor:  # as `settle`
        return settle(answer, self.constraints, planes, settling)


def settle(answer: Tensor, constraints: Constraints, planes: Planes | None, settling: Settling) -> Tensor:
    """answer [F, V, 3] metres, what the network says -> [F, V, 3], with its length back and outside the planes."""
    place, laid = answer, _corrections(answer, constraints.edges)[1]
    for sweep in range(settling.sweeps):
        stretch, mean = _corrections(place, constraints.edges)
        bend = _corrections(place, constraints.bends)[0]
        step = settling.stretch * stretch + settling.bend * bend
        if sweep < settling.smoothed:
            step = step + settling.smooth * (mean - laid)
        moved = (place + step - answer) * (1 - settling.pull)
        distance = moved.norm(dim=-1, keepdim=True)
        place = answer + moved * (settling.reach / distance.clamp_min(settling.reach))
        if planes is not None:
            depth = (planes.offset - (planes.normal * place).sum(-1)).clamp_min(0)
            place = place + depth[..., None] * planes.normal
    return place


def _corrections(place: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:  # [F, V, 3] -> 2 x [F, V, 3]
    """What a vertex's pairs ask for, and where the mean of its others lies, both seen from it and means over pairs.

    (s - 1) / (s + 1), with s the squared ratio of a distance to its rest, is 1 - 1 / ratio near rest; it needs no root
    and stays bounded where two vertices meet.
    """
    apart = place[:, pairs.index] - place[:, :, None]  # [F, V, K, 3]
    squared = apart.square().sum(-1) * pairs.inverse
    asked = ((squared - 1) / (squared + 1))[..., None] * apart
    return asked.sum(2) * pairs.share[:, None], apart.sum(2) * pairs.share[:, None]
