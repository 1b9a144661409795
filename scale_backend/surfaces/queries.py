"""Queries: where on the carrier the network is asked for a point.

`patch` mode asks at a fixed grid (p, q) inside every valid pixel, with the pixel's features. `continuous` mode asks at
points of the surface (vertices, or any barycentrics) with features interpolated between the pixels of their own UV
island.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scale_backend.formats.errors import UserError
from scale_backend.geometry.carrier import Carrier
from scale_backend.geometry.gathering import gather_sum
from scale_backend.geometry.positional_map import UVLayout, rasterise
from scale_backend.machine.moving import to_device
from scale_backend.model.network import NetworkSettings, patch_grid

GUTTER = 2  # pixels round the map that a cubic mix may reach


@dataclass(frozen=True)
class Queries:
    """M queries on a carrier."""

    corners: Tensor  # [M, K] the carrier's vertices round it: those of the triangle asked in, or more of them
    weights: Tensor  # [M, K] their shares in its place: barycentrics; rows sum to 1
    taps: Tensor  # [M, K] pixels (row-major) whose features are mixed: K = 1 in patch mode, 16 in continuous mode
    tap_weights: Tensor  # [M, K], rows sum to 1
    uv: Tensor  # [M, 2] as the network sees it: (row, column) / (size - 1)
    pq: Tensor  # [M, 2]
    patch: Tensor  # [M] the pixel's number among the valid ones

    def __len__(self) -> int:
        return len(self.corners)

    def to(self, device: str | torch.device) -> Queries:
        return to_device(self, device)

    def __getitem__(self, chosen: Tensor | slice) -> Queries:
        return replace(self, **{k: v[chosen] for k, v in self.__dict__.items()})


def patch_numbers(layout: UVLayout) -> Tensor:  # [H W] the number of each valid pixel, -1 on background
    mask = layout.mask.flatten()
    return torch.where(mask, mask.cumsum(0) - 1, -1)


def patch_queries(carrier: Carrier, layout: UVLayout, settings: NetworkSettings) -> Queries:
    """All P N points of the paper, patch by patch."""
    pixels = layout.mask.flatten().nonzero()[:, 0]  # [P]
    count = settings.points_per_patch
    grid = patch_grid(settings)
    row, column = pixels // layout.size, pixels % layout.size
    uv = torch.stack([row, column], 1) / (layout.size - 1)
    per_point = pixels.repeat_interleave(count)
    return Queries(
        corners=carrier.triangles[layout.triangle_index.flatten()[per_point]],
        weights=layout.barycentrics.flatten(0, 1)[per_point],
        taps=per_point[:, None],
        tap_weights=torch.ones(len(per_point), 1),
        uv=uv.float().repeat_interleave(count, 0),
        pq=grid.repeat(len(pixels), 1),
        patch=torch.arange(len(pixels)).repeat_interleave(count),
    )


def islands(uv_triangles: Tensor, uv_count: int) -> Tensor:  # [T, 3] -> [T] island of each triangle
    """Connected components of a UV layout."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    faces = uv_triangles.cpu().numpy()
    rows, columns = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    graph = coo_matrix((torch.ones(len(rows)).numpy(), (rows, columns)), shape=(uv_count, uv_count))
    labels = connected_components(graph, directed=False)[1]
    return torch.from_numpy(labels[faces[:, 0]]).long()


def surface_queries(
    carrier: Carrier,
    layout: UVLayout,
    triangle: Tensor,  # [M] triangle asked in
    weights: Tensor,  # [M, 3] barycentrics
    uv: Tensor | None = None,  # [M, 2] in the layout, if not where they are in the flat triangle
) -> Queries:
    """Queries at points of the surface. Features are a smooth mix (cubic B-spline) of the sixteen pixels round the
    point: its slope and curvature go on where pixels meet, and what differs from pixel to pixel shows little. Outside
    the point's UV island its nearest pixel stands in."""
    size = layout.size
    island = islands(carrier.uv_triangles, len(carrier.uv))
    index = layout.triangle_index.flatten()
    pixel_island = torch.where(index >= 0, island[index.clamp_min(0)], -1)
    gutters = _gutters(pixel_island.reshape(size, size), int(island.max()) + 1)
    if uv is None:
        uv = torch.einsum("mkc,mk->mc", carrier.uv[carrier.uv_triangles[triangle]], weights)
    row, column = (1 - uv[:, 1]) * size - 0.5, uv[:, 0] * size - 0.5
    steps = torch.arange(-1, 3)
    rows, columns = (x.floor().long()[:, None] + steps for x in (row, column))  # [M, 4]
    taps = gutters[
        island[triangle][:, None, None],
        (rows + GUTTER).clamp(0, size + 2 * GUTTER - 1)[:, :, None],
        (columns + GUTTER).clamp(0, size + 2 * GUTTER - 1)[:, None],
    ].flatten(1)
    tap_weights = (
        feature_weights(row - row.floor())[:, :, None] * feature_weights(column - column.floor())[:, None]
    ).flatten(1)
    main = taps.gather(1, tap_weights.argmax(1, keepdim=True))[:, 0]
    return Queries(
        corners=carrier.triangles[triangle],
        weights=weights,
        taps=taps,
        tap_weights=tap_weights,
        uv=torch.stack([row, column], 1) / (size - 1),
        # the pixel's middle for all: features are interpolated already, and a position that jumps from 1 to 0
        # at a pixel's border would show there
        pq=torch.full((len(triangle), 2), 0.5),
        patch=patch_numbers(layout)[main],
    )


def feature_weights(t: Tensor) -> Tensor:  # [M] in [0, 1) -> [M, 4] weights of the pixels at -1, 0, 1, 2
    """The uniform cubic B-spline."""
    powers = torch.stack([torch.ones_like(t), t, t * t, t**3], -1)
    basis = torch.tensor([[1.0, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]]) / 6
    return powers @ basis.to(t)


def _gutters(pixel_island: Tensor, count: int) -> Tensor:  # [H, W] -> [islands, H + 2 GUTTER, W + 2 GUTTER]
    """For each island the pixel that stands for each place of the map and round it: its own nearest one.

    For an island that owns no pixel, any valid one.
    """
    from scipy.ndimage import distance_transform_edt

    size = pixel_island.shape[1]
    padded = np.pad(pixel_island.numpy(), GUTTER, constant_values=-1)
    tables = []
    for number in range(count):
        own = padded == number if (padded == number).any() else padded >= 0
        row, column = distance_transform_edt(~own, return_distances=False, return_indices=True)
        tables.append((row - GUTTER) * size + column - GUTTER)
    return torch.from_numpy(np.stack(tables)).long()


def vertex_queries(carrier: Carrier, layout: UVLayout) -> Queries:
    """One query a vertex, in the first triangle that holds it: the rest mesh decoded at its own UVs."""
    triangles = carrier.triangles
    count = len(carrier.template)
    flat = triangles.flatten()
    first = torch.full((count,), len(flat)).scatter_reduce(0, flat, torch.arange(len(flat)), "amin")
    if (first == len(flat)).any():
        raise UserError("The carrier has vertices that no triangle holds.")
    triangle, corner = first // 3, first % 3
    weights = torch.nn.functional.one_hot(corner, 3).float()
    return surface_queries(carrier, layout, triangle, weights)


def grid_queries(carrier: Carrier, layout: UVLayout, settings: NetworkSettings) -> Queries:
    """Continuous queries at N points inside every valid pixel: the point cloud of a garment-surface carrier.

    A pixel at an island's border may reach beyond it; those of its points fall back on the pixel's centre.
    """
    side = math.isqrt(settings.points_per_patch)
    fine = rasterise(carrier.uv, carrier.uv_triangles, layout.size * side)
    index = fine.triangle_index.unflatten(0, (layout.size, side)).unflatten(2, (layout.size, side))
    index = index.permute(0, 2, 1, 3).flatten(0, 1).flatten(1)  # [H W, N]
    barycentrics = fine.barycentrics.unflatten(0, (layout.size, side)).unflatten(2, (layout.size, side))
    barycentrics = barycentrics.permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(1, 2)  # [H W, N, 3]
    valid = layout.mask.flatten()
    centre_index = layout.triangle_index.flatten()[:, None].expand_as(index)
    centre_weights = layout.barycentrics.flatten(0, 1)[:, None].expand_as(barycentrics)
    missing = index < 0
    index = torch.where(missing, centre_index, index)[valid]
    barycentrics = torch.where(missing[..., None], centre_weights, barycentrics)[valid]
    queries = surface_queries(carrier, layout, index.flatten(), barycentrics.flatten(0, 1))
    patch = torch.arange(int(valid.sum())).repeat_interleave(settings.points_per_patch)
    return replace(queries, patch=patch)


def sample_features(features: Tensor, queries: Queries) -> Tensor:  # [F, C, H, W] -> [F, M, C]
    """A query's features: of its pixel, or mixed from the pixels round it."""
    return gather_sum(features.flatten(2).transpose(1, 2), queries.taps, queries.tap_weights)
