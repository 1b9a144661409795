"""Where a vertex of a tracked surface goes: along the surface with those round it, across it with its own points.

Nothing in SCALE's losses holds a patch in place along the surface. Patches slide, and where those of the left and of
the right leg share a skirt they pass each other: a surface bound to them folds over. What a viewer sees is the height
of the cloth, not where along it a vertex sits. So places are smoothed widely, by weights that keep every affine motion
of the rest surface as it is (moving least squares of degree one, Lancaster and Salkauskas 1981), and the vertex then
moves along the smooth surface's normal to the height that its points have.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.geometry.articulation import VertexRings, vertex_normals, vertex_rings
from scale_backend.geometry.gathering import gather_sum
from scale_backend.machine.moving import to_device

REACH = 5.0  # edges' length; standard deviation of the weights is half of it
NEIGHBOURS = 80
BEND = 0.7  # cosine; neighbours that face elsewhere are round a corner, or another layer
HEIGHT_ROUNDS = 4  # of averaging heights with those of the ring


@dataclass(frozen=True)
class Smoothing:
    """Weights over a surface's vertices."""

    wide: Tensor  # [V, K] vertices
    wide_weights: Tensor  # [V, K], rows sum to 1
    ring: Tensor  # [V, R] neighbours by an edge
    ring_weights: Tensor  # [V, R], rows sum to 1
    rings: VertexRings

    def to(self, device: str | torch.device) -> Smoothing:
        return to_device(self, device)

    def __call__(self, vertices: Tensor) -> Tensor:  # [F, V, 3] -> [F, V, 3]
        smooth = gather_sum(vertices, self.wide, self.wide_weights)
        normals = vertex_normals(smooth, self.rings)
        height = ((vertices - smooth) * normals).sum(-1, keepdim=True)
        for _ in range(HEIGHT_ROUNDS):
            height = torch.lerp(height, gather_sum(height, self.ring, self.ring_weights), 0.5)
        return smooth + normals * height


def surface_smoothing(rest: Tensor, triangles: Tensor) -> Smoothing:  # [V, 3], [T, 3]
    """For a surface that looks like this in the rest pose."""
    from scipy.spatial import cKDTree

    triangles = triangles.long()
    rings = vertex_rings(triangles, len(rest))
    normals = vertex_normals(rest[None], rings)[0].double()
    a, b, c = rest[triangles].unbind(1)
    reach = REACH * float(torch.cat([(a - b).norm(dim=1), (b - c).norm(dim=1), (c - a).norm(dim=1)]).median())
    place = rest.double().numpy()
    distance, index = cKDTree(place).query(place, min(NEIGHBOURS, len(place)), distance_upper_bound=reach)
    there = torch.from_numpy(index < len(place))
    wide = torch.from_numpy(index).clamp_max(len(place) - 1)
    itself = wide == torch.arange(len(place))[:, None]  # also a vertex in no triangle, which has no normal
    there &= ((normals[wide] * normals[:, None]).sum(-1) > BEND) | itself
    close = torch.exp(-2 * (torch.from_numpy(distance).nan_to_num(posinf=0.0) / reach) ** 2) * there
    offset = rest.double()[wide] - rest.double()[:, None]
    offset = offset - (offset * normals[:, None]).sum(-1, keepdim=True) * normals[:, None]  # in the tangent plane
    terms = torch.cat([torch.ones_like(close)[..., None], offset / reach], -1)  # [V, K, 4], of rank 3
    gram = torch.einsum("vk,vki,vkj->vij", close, terms, terms)
    gram[:, 1:, 1:] += 1e-3 * gram[:, :1, :1] * torch.eye(3)  # for the missing rank, and few neighbours
    first = torch.linalg.solve(gram, torch.eye(4, dtype=gram.dtype)[:1].T.expand(len(rest), 4, 1))
    weights = close * (terms @ first)[..., 0]
    weights = (weights / weights.sum(1, keepdim=True)).float()
    return Smoothing(wide, weights, *_ring(triangles, len(rest)), rings)


def _ring(triangles: Tensor, count: int) -> tuple[Tensor, Tensor]:  # [T, 3] -> neighbours, weights [V, R]
    """Each vertex's neighbours with equal weights, its own place where it has none."""
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    both = torch.cat([edges, edges.flip(1)]).unique(dim=0)
    degree = both[:, 0].bincount(minlength=count)
    column = torch.arange(len(both)) - (degree.cumsum(0) - degree)[both[:, 0]]
    ring = torch.arange(count)[:, None].repeat(1, max(1, int(degree.max())))
    ring[both[:, 0], column] = both[:, 1]
    weights = (torch.arange(ring.shape[1]) < degree.clamp_min(1)[:, None]).float()
    return ring, weights / weights.sum(1, keepdim=True)
