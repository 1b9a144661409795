"""What a surface kind is to the decoder: where the network is asked, and how vertices come from its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scale_backend.gathering import gather_sum
from scale_backend.queries import Queries

RestDecoder = Callable[[Queries], tuple[Tensor, Tensor]]  # points and unit normals [M, 3] in the rest pose


SMOOTHING = (0.5, -0.52, 0.5, -0.52, 0.5, -0.52)  # Taubin 1995: inwards and out again, so that nothing shrinks


@dataclass(frozen=True)
class Binding:
    """Vertices as weighted means of decoded points, smoothed: each patch has an error of its own."""

    index: Tensor  # [V, K] into the queries
    weights: Tensor  # [V, K], rows sum to 1
    ring: Tensor  # [V, R] neighbours on the surface; on its borders those along the border
    ring_weights: Tensor  # [V, R], rows sum to 1

    def to(self, device: str | torch.device) -> Binding:
        return Binding(*(value.to(device) for value in self.__dict__.values()))

    def vertices(self, points: Tensor) -> Tensor:  # [F, M, 3] -> [F, V, 3]
        vertices = gather_sum(points, self.index, self.weights)
        for share in SMOOTHING:
            vertices = torch.lerp(vertices, gather_sum(vertices, self.ring, self.ring_weights), share)
        return vertices


def neighbours(triangles: Tensor, count: int) -> tuple[Tensor, Tensor]:  # [T, 3] -> ring, weights [V, R]
    """Each vertex's neighbours with equal weights, its own place where it has none."""
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).long().sort(1).values
    edges, uses = edges.unique(dim=0, return_counts=True)
    border = torch.zeros(count, dtype=torch.bool)
    border[edges[uses == 1].flatten()] = True
    both = torch.cat([edges, edges.flip(1)])
    kept = ~border[both[:, 0]] | (uses == 1).repeat(2)
    both = both[kept]
    both = both[both[:, 0].argsort(stable=True)]
    degree = both[:, 0].bincount(minlength=count)
    column = torch.arange(len(both)) - (degree.cumsum(0) - degree)[both[:, 0]]
    ring = torch.arange(count)[:, None].repeat(1, max(1, int(degree.max())))
    ring[both[:, 0], column] = both[:, 1]
    weights = (torch.arange(ring.shape[1]) < degree.clamp_min(1)[:, None]).float()
    return ring, weights / weights.sum(1, keepdim=True)


@dataclass(frozen=True)
class Surface:
    """A surface kind of one garment. What it holds stays the same from frame to frame."""

    queries: Queries
    topology: dict[str, np.ndarray]  # see Decoder.topology
    own_normals: bool = False  # of the mesh itself; else those the network gives
    binding: Binding | None = None  # None: the decoded points are the vertices
