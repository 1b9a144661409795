"""The simulation as torch computes it: on a GPU, and on a CPU for which there is no code of our own.

Position-based dynamics in small steps (Müller et al. 2007; Macklin et al. 2019), one relaxation a step, the vertices of
a colour at once, colour after colour. Speed is the difference to the place before (Verlet), so all of the state is two
places a vertex, and it lasts for one window: nothing is kept from frame to frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.coarse.sheet import GROUPS_A_SECOND, STEPS, CoarseSettings
from scale_backend.settling.constraints import Constraints, Pairs

STEP = 1 / (GROUPS_A_SECOND * STEPS)  # seconds
REACH = 0.1  # metres; skin further away does not count
FARTHEST = 1.0  # metres that cloth may be from where the body takes it: nothing grows without end
FASTEST = 10.0  # metres a second: pushed out of a limb at once, cloth would fly away


@dataclass(frozen=True)
class Touch:
    """The skin near each vertex from one look to the next: a plane that moves."""

    place: Tensor  # [F, C, 3]
    shift: Tensor  # [F, C, 3] until the next look
    normal: Tensor  # [F, C, 3]
    margin: Tensor  # [F, C] metres; -inf: nothing is near


def fall(
    targets: Tensor,  # [F, G + 1, C, 3] where the body takes the cloth
    skin: Tensor,  # [F, G + 1, N, 8] of `surroundings.skin_rows`
    constraints: Constraints,
    colours: list[Tensor],  # vertices of which no two share an edge
    held: Tensor,  # [C]
    settings: CoarseSettings,
    gravity: Tensor,  # [F, 3] metres a square second
) -> Tensor:  # [F, C, 3] at the end
    """It begins where the body has it, and moves as the body moves it then."""
    place = targets[:, 0].clone()
    before = place - (targets[:, 1] - targets[:, 0]) / STEPS
    kept, pull = kept_speed(settings), (gravity * STEP**2)[:, None]
    for group in range(targets.shape[1] - 1):
        touch = _touch(place, skin[:, group], skin[:, group + 1], settings)
        for step in range(1, STEPS + 1):
            share = step / STEPS
            speed = place - before
            speed = speed * (FASTEST * STEP / speed.norm(dim=-1, keepdim=True).clamp_min(1e-9)).clamp_max(1)
            place, before = place + speed * kept + pull, place
            target = targets[:, group] + share * (targets[:, group + 1] - targets[:, group])
            for rows in colours:
                moved = _outside(_relaxed(place, rows, constraints.edges, settings.stretch), touch, rows, share)
                away = moved - target[:, rows]
                near = (FARTHEST / away.norm(dim=-1).clamp_min(1e-9)).clamp_max(1)
                place[:, rows] = target[:, rows] + ((1 - held[rows]) * near)[..., None] * away
    return place


def kept_speed(settings: CoarseSettings) -> float:
    return float(torch.exp(torch.tensor(-settings.air * STEP)))


def _touch(place: Tensor, now: Tensor, then: Tensor, settings: CoarseSettings) -> Touch:
    """By the nearest point of the skin at the beginning, when the cloth lay outside of it."""
    squared = (place[:, :, None] - now[:, None, :, :3]).square().sum(-1)
    least, nearest = squared.min(-1)
    index = nearest[..., None].expand(-1, -1, 8)
    begin, end = now.gather(1, index), then.gather(1, index)
    margin = torch.where(least < REACH**2, settings.margin, -torch.inf)
    return Touch(begin[..., :3], end[..., :3] - begin[..., :3], end[..., 4:7], margin)


def _relaxed(place: Tensor, rows: Tensor, edges: Pairs, stretch: float) -> Tensor:  # [F, C, 3] -> [F, rows, 3]
    """As `settling.sweeps`: what a vertex's edges ask for, in the mean."""
    own = place[:, rows]
    apart = place[:, edges.index[rows]] - own[:, :, None]
    squared = apart.square().sum(-1) * edges.inverse[..., rows, :]
    asked = ((squared - 1) / (squared + 1))[..., None] * apart
    return own + stretch * asked.sum(2) * edges.share[rows, None]


def _outside(moved: Tensor, touch: Touch, rows: Tensor, share: float) -> Tensor:
    normal = touch.normal[:, rows]
    height = ((moved - touch.place[:, rows] - share * touch.shift[:, rows]) * normal).sum(-1)
    return moved + (touch.margin[:, rows] - height).clamp_min(0)[..., None] * normal


def colours_of(constraints: Constraints) -> list[Tensor]:
    """Greedily: each vertex gets the first colour that none of its edges' other ends has."""
    index, there = constraints.edges.index.tolist(), (constraints.edges.inverse > 0).tolist()
    colour = [-1] * len(index)
    for vertex, (others, real) in enumerate(zip(index, there, strict=True)):
        taken = {colour[other] for other, is_real in zip(others, real, strict=True) if is_real}
        colour[vertex] = next(k for k in range(len(others) + 1) if k not in taken)
    numbers = torch.tensor(colour)
    return [(numbers == k).nonzero()[:, 0] for k in range(int(numbers.max()) + 1)]
