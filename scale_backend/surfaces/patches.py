"""Every patch's grid of points as a mesh, joined to its neighbours where they meet.

In continuous mode the grids are one sheet over each UV island. In patch mode a patch is a sheet of its own (nothing in
training makes it end where the next begins); two are joined where their facing edges lie together in the rest pose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.geometry.carrier import Carrier
from scale_backend.geometry.positional_map import UVLayout, rasterise
from scale_backend.surfaces.queries import islands, patch_numbers

MEETING = 1.5  # steps of the grid; facing edges nearer than this on average follow on each other


@dataclass(frozen=True)
class Grid:
    """All patches' points in one square of H side x W side samples, where a pixel's samples lie together."""

    point: Tensor  # [S, S] the point's number, -1 where there is none
    pixel: Tensor  # [S, S] the pixel it belongs to, row-major
    side: int  # samples along a pixel


def sample_grid(layout: UVLayout, points_per_patch: int) -> Grid:
    side = math.isqrt(points_per_patch)
    patch = patch_numbers(layout).unflatten(0, (layout.size, layout.size))
    within = torch.arange(points_per_patch).unflatten(0, (side, side)).repeat(layout.size, layout.size)
    spread = patch.repeat_interleave(side, 0).repeat_interleave(side, 1)
    pixel = torch.arange(layout.size**2).unflatten(0, (layout.size, layout.size))
    pixel = pixel.repeat_interleave(side, 0).repeat_interleave(side, 1)
    return Grid(torch.where(spread >= 0, spread * points_per_patch + within, -1), pixel, side)


def patch_triangles(
    carrier: Carrier,
    layout: UVLayout,
    continuous: bool,
    points: Tensor,  # [P N, 3] decoded in the rest pose
    normals: Tensor,  # [P N, 3]
) -> Tensor:  # [T, 3]
    """Two triangles for each cell of the grid whose four samples belong together, facing the way the normals do."""
    grid = sample_grid(layout, len(points) // int(layout.mask.sum()))
    if continuous:  # samples that reach beyond their island stand at their pixel's centre: they have no place of theirs
        beyond = ~rasterise(carrier.uv, carrier.uv_triangles, layout.size * grid.side).mask
        grid = Grid(torch.where(beyond, -1, grid.point), grid.pixel, grid.side)
    joined_right, joined_down = _joined(carrier, layout, grid, continuous, points)
    cell = torch.stack([grid.point[:-1, :-1], grid.point[1:, :-1], grid.point[1:, 1:], grid.point[:-1, 1:]], -1)
    pixel = grid.pixel[:-1, :-1], grid.pixel[1:, :-1], grid.pixel[:-1, 1:]  # top left, below it, right of it
    across = (pixel[2] == pixel[0]) | joined_right[pixel[0]]
    across_below = (pixel[2] == pixel[0]) | joined_right[pixel[1]]
    down = (pixel[1] == pixel[0]) | joined_down[pixel[0]]
    down_right = (pixel[1] == pixel[0]) | joined_down[pixel[2]]
    cells = cell[(cell >= 0).all(-1) & across & across_below & down & down_right]  # [C, 4] round each cell
    triangles = torch.stack([cells[:, [0, 1, 2]], cells[:, [0, 2, 3]]], 1).flatten(0, 1)
    return _turned(triangles, layout, points, normals)


def _joined(
    carrier: Carrier, layout: UVLayout, grid: Grid, continuous: bool, points: Tensor
) -> tuple[Tensor, Tensor]:  # [H W] bool x 2: pixel with the one to its right, and with the one below
    index = layout.triangle_index
    island = torch.where(index >= 0, islands(carrier.uv_triangles, len(carrier.uv))[index.clamp_min(0)], -1)
    right, down = torch.zeros_like(island, dtype=torch.bool), torch.zeros_like(island, dtype=torch.bool)
    right[:, :-1] = (island[:, :-1] == island[:, 1:]) & (island[:, :-1] >= 0)
    down[:-1] = (island[:-1] == island[1:]) & (island[:-1] >= 0)
    if not continuous:
        places = points[grid.point.clamp_min(0)]  # [S, S, 3]
        shape = (layout.size, grid.side, layout.size, grid.side, 3)
        places = places.reshape(shape).transpose(1, 2)  # [H, W, side, side, 3]
        step = ((places[..., 1:, :, :] - places[..., :-1, :, :]).norm(dim=-1).mean((2, 3))
                + (places[..., 1:, :] - places[..., :-1, :]).norm(dim=-1).mean((2, 3))) / 2  # fmt: skip
        gap = (places[:, :-1, :, -1] - places[:, 1:, :, 0]).norm(dim=-1).mean(-1)
        right[:, :-1] &= gap < MEETING * step[:, :-1]
        gap = (places[:-1, :, -1] - places[1:, :, 0]).norm(dim=-1).mean(-1)
        down[:-1] &= gap < MEETING * step[:-1]
    return right.flatten(), down.flatten()


def _turned(triangles: Tensor, layout: UVLayout, points: Tensor, normals: Tensor) -> Tensor:
    """The triangles of a patch turned over together where most of them face against the decoded normals."""
    patches = int(layout.mask.sum())
    corners = points[triangles]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    agreement = (area * normals[triangles].mean(1)).sum(-1)
    patch = triangles[:, 0] // (len(points) // patches)
    facing = torch.zeros(patches).index_add(0, patch, agreement)
    return torch.where((facing < 0)[patch][:, None], triangles[:, [0, 2, 1]], triangles)
