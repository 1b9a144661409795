"""What the coarse cloth meets on its way: where the body takes it, and the skin, from moment to moment.

Both are linear in the joints' transforms. Between the moments that are known these follow cubic Hermite curves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from scale_backend.coarse.sheet import CoarseSettings
from scale_backend.geometry.body import Body
from scale_backend.geometry.collision import Collider
from scale_backend.machine.moving import to_device


def times_between(lags: tuple[float, ...], settings: CoarseSettings) -> np.ndarray:  # [G + 1, L + 1]
    """Weights of the moments (the earlier ones in the order of `lags`, then the present) at each look at the body.

    Cubic Hermite curves whose slope at a moment is that of the chord between its neighbours.
    """
    knots = -np.array([*lags, 0.0])
    order = np.argsort(knots)
    at = knots[order]
    asked = np.linspace(max(-settings.seconds, at[0]), 0, settings.groups + 1)
    after = np.searchsorted(at, asked, side="right").clip(1, max(1, len(at) - 1))
    weights = np.zeros((len(asked), len(at)))
    if len(at) == 1:
        weights[:] = 1
        return weights
    slopes = _slopes(at)
    for row, (time, high) in enumerate(zip(asked, after, strict=True)):
        step = at[high] - at[high - 1]
        s = (time - at[high - 1]) / step
        weights[row, high - 1] += (1 + 2 * s) * (1 - s) ** 2
        weights[row, high] += s**2 * (3 - 2 * s)
        weights[row] += step * (s * (1 - s) ** 2 * slopes[high - 1] - s**2 * (1 - s) * slopes[high])
    back = np.empty_like(weights)
    back[:, order] = weights
    return back


def _slopes(at: np.ndarray) -> np.ndarray:  # [M] -> [M, M]
    """Each moment's slope as weights of all."""
    count = len(at)
    slopes = np.zeros((count, count))
    for k in range(count):
        low, high = max(k - 1, 0), min(k + 1, count - 1)
        slopes[k, high] += 1 / (at[high] - at[low])
        slopes[k, low] -= 1 / (at[high] - at[low])
    return slopes


@dataclass(frozen=True)
class Obstacle:
    """Points of a body's skin, at rest."""

    vertices: Tensor  # [N, 3] metres
    normals: Tensor  # [N, 3] unit
    blend_weights: Tensor  # [N, J]
    shape_components: Tensor  # [N, 3, S]

    def to(self, device: str | torch.device) -> Obstacle:
        return to_device(self, device)


def obstacle_of(body: Body, collider: Collider, normals: Tensor, count: int) -> Obstacle:  # normals [C, 3] at rest
    """So many points of the collider, each as far as possible from those before it."""
    places = body.template[collider.vertices]
    chosen = torch.empty(min(count, len(places)), dtype=torch.long)
    chosen[0], distance = 0, torch.full((len(places),), torch.inf)
    for k in range(1, len(chosen)):
        distance = torch.minimum(distance, (places - places[chosen[k - 1]]).square().sum(-1))
        chosen[k] = distance.argmax()
    among = collider.vertices[chosen]
    return Obstacle(places[chosen], normals[chosen], body.blend_weights[among], body.shape_components[among])


def carried(rest: Tensor, blend_weights: Tensor) -> Tensor:  # [F or 1, C, 3], [C, J] -> [F or 1, 4 J, C]
    """Joints' transforms [3, 4 J] times this are the vertices [3, C]."""
    shares = blend_weights.T[None, :, None] * pad(rest, (0, 1), value=1.0).mT[:, None]  # [F, J, 4, C]
    return shares.flatten(1, 2)


def turned(normals: Tensor, blend_weights: Tensor) -> Tensor:  # [N, 3], [N, J] -> [4 J, N]
    """The same for directions."""
    return (blend_weights.T[:, None] * pad(normals, (0, 1)).T[None]).flatten(0, 1)


def followed(transforms: Tensor, skin: Tensor) -> Tensor:  # [F, G, J, 3, 4], [F or 1, 4 J, C] -> [F, G, 3, C]
    frames, groups = transforms.shape[:2]
    rows = transforms.transpose(2, 3).reshape(frames, groups * 3, -1)
    return (rows @ skin).unflatten(1, (groups, 3))


def skin_rows(places: Tensor, normals: Tensor) -> Tensor:  # 2 x [F, G, 3, N] -> [F, G, N, 8]
    """A point's place and unit normal side by side, each with a number that means nothing."""
    unit = normalize(normals, dim=2, eps=1e-12)
    return torch.cat([pad(places, (0, 0, 0, 1)), pad(unit, (0, 0, 0, 1))], 2).mT.contiguous()
