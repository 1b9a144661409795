"""Seams: where the charts of a UV layout meet on the surface.

The network sees places in the UV layout, and a vertex on a seam has one in each chart that meets there: the answers
differ a little, in height and in slope.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scale_backend.formats.errors import UserError
from scale_backend.geometry.carrier import Carrier
from scale_backend.geometry.gathering import gather_sum, incidence
from scale_backend.geometry.positional_map import UVLayout
from scale_backend.machine.moving import to_device
from scale_backend.surfaces.butterfly import Stencils, butterfly
from scale_backend.surfaces.queries import Queries, islands, surface_queries
from scale_backend.surfaces.subdivision import Subdivided, subdivide

REACH = 1.5  # coarse edges


@dataclass(frozen=True)
class ChartVertices:
    """A mesh cut along its seams. The first V of M vertices are those of the whole mesh, each in its first chart;
    behind them come the copies in other charts."""

    vertex: Tensor  # [M] of the whole mesh
    island: Tensor  # [M]
    triangle: Tensor  # [M] of the carrier, in that chart
    weights: Tensor  # [M, 3] barycentrics there
    corner: Tensor  # [M] the first of the mesh's 3 T corners that it is
    triangles: Tensor  # [T, 3] into M
    rounds: int  # of splitting


def cut_at_seams(mesh: Subdivided, uv_triangles: Tensor) -> ChartVertices:  # [T, 3] of the carrier
    """Raises UserError where a vertex is in no triangle."""
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
        raise UserError("The carrier has vertices that no triangle holds.")
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
        corner=corner,
        rounds=mesh.rounds,
        triangles=number[corner_pair].reshape(-1, 3),
    )


def smooth_queries(carrier: Carrier, layout: UVLayout, mesh: ChartVertices, stencils: Stencils) -> Queries:
    """Queries at a mesh's vertices, placed by stencils, and in the UV layout by those of each chart: where flat
    triangles meet, a place that turned would crease the cloth."""
    charts = butterfly(carrier.uv_triangles, len(carrier.uv), mesh.rounds)
    corners = subdivide(carrier.uv_triangles, mesh.rounds).triangles.flatten()
    uv = gather_sum(carrier.uv[None], charts.index, charts.weights)[0][corners[mesh.corner]]
    queries = surface_queries(carrier, layout, mesh.triangle, mesh.weights, uv)
    return replace(queries, corners=stencils.index[mesh.vertex], weights=stencils.weights[mesh.vertex])


@dataclass(frozen=True)
class Seams:
    """From a mesh cut along its seams to a whole one. A vertex on a seam is the mean of its charts' answers. Finer
    meshes, which would show a crease there, are led across: near a seam their vertices lie on the smooth surface
    through the rest mesh's decoded vertices, wholly on the seam and less away from it."""

    count: int  # V vertices of the whole mesh
    seam: Tensor  # [S] vertices
    charts: Tensor  # [S, C] what each is the mean of, among the M of the cut mesh
    chart_weights: Tensor  # [S, C]
    near: Tensor  # [W] vertices of a finer mesh; none for the rest mesh
    share: Tensor  # [W, 1] of the smooth surface in their place: 1 on the seam, 0 at REACH
    index: Tensor  # [W, K] vertices of the rest mesh
    weights: Tensor  # [W, K]

    def to(self, device: str | torch.device) -> Seams:
        return to_device(self, device)

    def means(self, values: Tensor) -> Tensor:  # [F, M, C] -> [F, V, C]
        """What decoded points have, at the vertices."""
        return self.vertices(values)

    def vertices(self, points: Tensor) -> Tensor:  # [F, M, C] -> [F, V, C]
        whole = points[:, : self.count].clone()
        whole[:, self.seam] = gather_sum(points, self.charts, self.chart_weights)
        if len(self.near):
            smooth = gather_sum(whole, self.index, self.weights)
            whole[:, self.near] = torch.lerp(whole[:, self.near], smooth, self.share)
        return whole


def join_charts(rest: Tensor, mesh: ChartVertices, stencils: Stencils, edge: float) -> Seams | None:
    """`rest` [V, 3] are the whole mesh's vertices, `stencils` theirs on the rest mesh's, whose edges are `edge` metres
    long. None where no charts meet."""
    from scipy.spatial import cKDTree

    count = len(rest)
    seam, number = mesh.vertex[count:].unique(return_inverse=True)
    if not len(seam):
        return None
    every = torch.arange(len(mesh.vertex))
    owner = torch.cat([torch.arange(len(seam)), number])
    row = torch.cat([seam, every[count:]])
    charts = incidence(owner[:, None], len(seam))  # [S, C] into `row`
    chart_weights = (charts >= 0).float()
    chart_weights /= chart_weights.sum(1, keepdim=True)
    reach = REACH * edge
    distance = torch.from_numpy(cKDTree(rest[seam].numpy()).query(rest.numpy(), distance_upper_bound=reach)[0])
    bridged = (distance < reach) & (stencils.weights.abs().max(1).values < 1)  # not the rest mesh's own vertices
    near = bridged.nonzero()[:, 0]
    away = (distance[near] / reach).float()[:, None]
    share = 1 - away * away * (3 - 2 * away)
    return Seams(count, seam, row[charts.clamp_min(0)], chart_weights, near, share, stencils.index[near],
                 stencils.weights[near])  # fmt: skip
