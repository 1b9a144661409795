"""Triangles split in four, with the place of every new corner on the triangle it came from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.formats.errors import UserError


@dataclass(frozen=True)
class Subdivided:
    """A mesh after some rounds of splitting. The first vertices are the old ones, in their order."""

    triangles: Tensor  # [T 4^n, 3]
    origin: Tensor  # [T 4^n] the triangle each came from
    weights: Tensor  # [T 4^n, 3, 3] its corners' barycentrics there
    rounds: int  # n

    def homes(self, count: int) -> tuple[Tensor, Tensor]:  # origin [V], barycentrics [V, 3]
        """Each vertex's place on the old mesh, in the first triangle that holds it."""
        flat = self.triangles.flatten()
        first = torch.full((count,), len(flat)).scatter_reduce(0, flat, torch.arange(len(flat)), "amin")
        if (first == len(flat)).any():
            raise UserError("The carrier has vertices that no triangle holds.")
        return self.origin[first // 3], self.weights[first // 3, first % 3]


def subdivide(triangles: Tensor, rounds: int) -> Subdivided:  # [T, 3]
    """Split each triangle at the middles of its edges, `rounds` times."""
    mesh = Subdivided(triangles, torch.arange(len(triangles)), torch.eye(3).repeat(len(triangles), 1, 1), 0)
    for _ in range(rounds):
        mesh = _split(mesh)
    return mesh


def split_edges(triangles: Tensor) -> Tensor:  # [T, 3] -> [4 T, 3]
    """Split triangles at the middles ab, bc, ca of their edges. New vertices are numbered behind the old ones, in the
    order of (smaller end, larger end)."""
    a, b, c = triangles.unbind(1)
    count = int(triangles.max()) + 1
    ends = torch.stack([torch.stack([a, b], 1), torch.stack([b, c], 1), torch.stack([c, a], 1)], 1).sort(2).values
    _, edge = (ends[..., 0] * count + ends[..., 1]).unique(return_inverse=True)
    ab, bc, ca = (count + edge).unbind(1)
    four = [torch.stack(corners, 1) for corners in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    return torch.stack(four, 1).flatten(0, 1)


def _split(mesh: Subdivided) -> Subdivided:
    triangles = split_edges(mesh.triangles)
    wa, wb, wc = mesh.weights.unbind(1)
    wab, wbc, wca = (wa + wb) / 2, (wb + wc) / 2, (wc + wa) / 2
    corners = ((wa, wab, wca), (wab, wb, wbc), (wca, wbc, wc), (wab, wbc, wca))
    weights = torch.stack([torch.stack(three, 1) for three in corners], 1)
    return Subdivided(triangles, mesh.origin.repeat_interleave(4), weights.flatten(0, 1), mesh.rounds + 1)
