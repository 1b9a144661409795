"""Positional maps by exact rasterisation of a UV layout: no OpenGL, nothing that depends on a driver.

Conventions of SCALE (Ma et al. 2021): pixel (row r, column c) samples u = (c + 0.5) / W, v = 1 - (r + 0.5) / H.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scale_backend.geometry.gathering import gather_sum
from scale_backend.machine.moving import to_device


@dataclass(frozen=True)
class UVLayout:
    """Which triangle each pixel lies in, and where. Depends on the UV template alone."""

    triangle_index: Tensor  # [H, W] int64, -1: background
    barycentrics: Tensor  # [H, W, 3] float32, 0 on background
    chosen: Tensor | None = None  # [H, W] bool, the pixels that carry a patch; None: all that are covered

    @property
    def size(self) -> int:
        return self.triangle_index.shape[0]

    @property
    def mask(self) -> Tensor:  # [H, W] bool
        """The valid pixels: one patch each."""
        return self.triangle_index >= 0 if self.chosen is None else self.chosen

    def to(self, device: str | torch.device) -> UVLayout:
        return to_device(self, device)


def pixel_centres(size: int) -> tuple[np.ndarray, np.ndarray]:  # u of the columns [W], v of the rows [H]
    centres = (np.arange(size) + 0.5) / size
    return centres, 1 - centres


def rasterise(
    uv: Tensor,  # [U, 2]
    uv_triangles: Tensor,  # [T, 3]
    size: int,
) -> UVLayout:
    """Sample the layout at the pixel centres. Of triangles that share a centre on an edge the first wins."""
    corners = uv.cpu().numpy().astype(np.float64)[uv_triangles.cpu().numpy()]  # [T, 3, 2]
    column, row = corners[..., 0] * size - 0.5, (1 - corners[..., 1]) * size - 0.5
    first_column, last_column = _pixel_range(column, size)
    first_row, last_row = _pixel_range(row, size)
    widths, heights = last_column - first_column + 1, last_row - first_row + 1
    counts = widths * heights
    triangle = np.repeat(np.arange(len(corners)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    pixel_row = first_row[triangle] + within // np.maximum(widths[triangle], 1)
    pixel_column = first_column[triangle] + within % np.maximum(widths[triangle], 1)

    point = np.stack([pixel_column, pixel_row], 1).astype(np.float64)
    a, b, c = (np.stack([column[triangle, i], row[triangle, i]], 1) for i in range(3))
    area = _cross(b - a, c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.stack([_cross(b - point, c - point), _cross(c - point, a - point), _cross(a - point, b - point)])
        weights = (weights / area).T
    inside = np.isfinite(weights).all(1) & (weights >= -1e-9).all(1)

    index = np.full(size * size, -1, np.int64)
    barycentrics = np.zeros((size * size, 3))
    pixels, firsts = np.unique((pixel_row * size + pixel_column)[inside], return_index=True)
    index[pixels] = triangle[inside][firsts]
    clipped = np.clip(weights[inside][firsts], 0, None)
    barycentrics[pixels] = clipped / clipped.sum(1, keepdims=True)
    return UVLayout(
        torch.from_numpy(index.reshape(size, size)),
        torch.from_numpy(barycentrics.reshape(size, size, 3).astype(np.float32)),
    )


def place_pixels(
    uv: Tensor,  # [U, 2]
    uv_triangles: Tensor,  # [T, 3]
    triangle_index: Tensor,  # [H, W] int64, -1: background
) -> tuple[UVLayout, Tensor]:  # and how far each pixel's centre lies outside its triangle [H, W], pixels
    """A layout whose triangles are known already: where in its triangle each pixel's centre lies, or just beside it."""
    size = len(triangle_index)
    corners = uv.double()[uv_triangles[triangle_index.clamp_min(0)]].numpy()  # [H, W, 3, 2]
    u, v = pixel_centres(size)
    point = np.stack(np.broadcast_arrays(u[None], v[:, None]), -1)
    a, b, c = np.moveaxis(corners, 2, 0)
    area = _cross(b - a, c - a)
    double_areas = np.stack([_cross(b - point, c - point), _cross(c - point, a - point), _cross(a - point, b - point)])
    edges = np.stack([np.linalg.norm(side, axis=-1) for side in (c - b, a - c, b - a)])
    covered = triangle_index.numpy() >= 0
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.moveaxis(double_areas / area, 0, -1)
        outside = (-double_areas * np.sign(area) / edges).max(0) * size
    outside = np.where(covered, np.where(np.isfinite(weights).all(-1), outside, np.inf), 0.0).clip(0)
    barycentrics = np.where(covered[..., None] & np.isfinite(weights), weights, 0)
    return UVLayout(triangle_index, torch.from_numpy(barycentrics).float()), torch.from_numpy(outside)


def _pixel_range(coordinates: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:  # [T, 3] -> [T], [T]
    low = np.clip(np.ceil(coordinates.min(1) - 1e-9), 0, size).astype(np.int64)
    high = np.clip(np.floor(coordinates.max(1) + 1e-9), -1, size - 1).astype(np.int64)
    return low, np.maximum(high, low - 1)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # [..., 2] -> [...]
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def surface_points(
    vertices: Tensor,  # [F, V, 3]
    corners: Tensor,  # [M, 3] vertex indices
    weights: Tensor,  # [M, 3]
) -> Tensor:  # [F, M, 3]
    """Points on a surface, given by barycentrics."""
    return gather_sum(vertices, corners, weights)


def positional_map(
    vertices: Tensor,  # [F, V, 3]
    triangles: Tensor,  # [T, 3]
    layout: UVLayout,
) -> Tensor:  # [F, 3, H, W]
    """The positional map of posed vertices: one gather and one weighted sum. Background is 0."""
    corners = triangles[layout.triangle_index.clamp_min(0).flatten()]
    points = surface_points(vertices, corners, layout.barycentrics.flatten(0, 1))  # zero weights: background 0
    return points.transpose(1, 2).unflatten(2, (layout.size, layout.size))
