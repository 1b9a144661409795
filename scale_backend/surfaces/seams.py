"""Seams: where the charts of a UV layout meet on the surface.

The network sees places in the UV layout, and a vertex on a seam has one in each chart that meets there: the answers
differ a little. The vertex takes that of its first chart, and the other charts are moved to meet it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scale_backend.carrier import Carrier
from scale_backend.gathering import gather_sum
from scale_backend.positional_map import UVLayout
from scale_backend.queries import Queries, islands, surface_queries
from scale_backend.surfaces.butterfly import Stencils
from scale_backend.surfaces.subdivision import Subdivided


@dataclass(frozen=True)
class ChartVertices:
    """A mesh cut along its seams. The first V of M vertices are those of the whole mesh, each in its first chart;
    behind them come the copies in other charts."""

    vertex: Tensor  # [M] of the whole mesh
    island: Tensor  # [M]
    triangle: Tensor  # [M] of the carrier, in that chart
    weights: Tensor  # [M, 3] barycentrics there
    triangles: Tensor  # [T, 3] into M


def cut_at_seams(mesh: Subdivided, uv_triangles: Tensor) -> ChartVertices:  # [T, 3] of the carrier
    """Raises ValueError where a vertex is in no triangle."""
    corner_vertex = mesh.triangles.flatten()
    count = int(corner_vertex.max()) + 1
    island_of = islands(uv_triangles, int(uv_triangles.max()) + 1)
    charts = int(island_of.max()) + 1
    corner_island = island_of[mesh.origin].repeat_interleave(3)
    pairs, corner_pair = (corner_vertex * charts + corner_island).unique(return_inverse=True)
    corners = torch.arange(len(corner_vertex))
    first = torch.full((len(pairs),), len(corners)).scatter_reduce(0, corner_pair, corners, "amin")
    own_corner = torch.full((count,), len(corners)).scatter_reduce(0, corner_vertex, corners, "amin")
    if (own_corner == len(corners)).any():
        raise ValueError("The carrier has vertices that no triangle holds.")
    own = corner_pair[own_corner]  # [V]
    copy = torch.ones(len(pairs), dtype=torch.bool)
    copy[own] = False
    order = torch.cat([own, copy.nonzero()[:, 0]])
    number = torch.empty(len(pairs), dtype=torch.long)
    number[order] = torch.arange(len(pairs))
    corner = first[order]
    return ChartVertices(
        vertex=pairs[order] // charts,
        island=pairs[order] % charts,
        triangle=mesh.origin[corner // 3],
        weights=mesh.weights[corner // 3, corner % 3],
        triangles=number[corner_pair].reshape(-1, 3),
    )


def smooth_queries(carrier: Carrier, layout: UVLayout, mesh: ChartVertices, stencils: Stencils) -> Queries:
    """Queries at a mesh's vertices, placed by stencils; features by their place in the flat triangle's chart."""
    queries = surface_queries(carrier, layout, mesh.triangle, mesh.weights)
    return replace(queries, corners=stencils.index[mesh.vertex], weights=stencils.weights[mesh.vertex])


@dataclass(frozen=True)
class Weld:
    """Decoded points are V vertices, and behind them C copies of seam vertices as their other charts have them."""

    copied: Tensor  # [C] the vertex of each copy
    moved: Tensor  # [W] vertices near seams
    index: Tensor  # [W, K] copies that they follow
    weights: Tensor  # [W, K]
    count: int  # V

    def to(self, device: str | torch.device) -> Weld:
        tensors = (self.copied, self.moved, self.index, self.weights)
        return Weld(*(value.to(device) for value in tensors), self.count)

    def means(self, values: Tensor) -> Tensor:  # [F, V + C, D] -> [F, V, D]
        """What decoded points have, at the vertices."""
        return values[:, : self.count]

    def vertices(self, points: Tensor) -> Tensor:  # [F, V + C, 3] -> [F, V, 3]
        """A chart's own vertices move as its copies must to meet the seam; smoothly, and less with each edge."""
        gap = points[:, self.copied] - points[:, self.count :]
        welded = points[:, : self.count].clone()
        welded[:, self.moved] += gather_sum(gap, self.index, self.weights)
        return welded


def weld(coarse: ChartVertices, fine: ChartVertices, stencils: Stencils) -> Weld | None:
    """For a subdivided mesh whose vertices are `stencils` of the coarse one's. Coarse vertices stay where they are.

    None where the charts do not meet.
    """
    coarse_count, count = int(coarse.vertex.max()) + 1, int(fine.vertex.max()) + 1
    copies = torch.arange(coarse_count, len(coarse.vertex))
    charts = int(coarse.island.max()) + 1
    copy_of = torch.full((coarse_count * charts,), -1)
    copy_of[coarse.vertex[copies] * charts + coarse.island[copies]] = torch.arange(len(copies))
    followed = copy_of[stencils.index * charts + fine.island[:count, None]]  # [V, K] copies in the vertex's own chart
    weights = stencils.weights * (followed >= 0)
    weights[:coarse_count] = 0
    moved = (weights != 0).any(1).nonzero()[:, 0]
    if not len(moved):
        return None
    return Weld(coarse.vertex[copies], moved, followed[moved].clamp_min(0), weights[moved], count)
