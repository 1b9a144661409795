"""Losses. SCALE's own (Ma et al. 2021, sec. 3.3) where scans have no correspondence, and the plain distance of
corresponding points where simulated frames keep the garment's topology."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.config import LossWeights
from training.geometry.nearest import nearest


def correspondence_terms(
    points: Tensor,  # [F, M, 3] decoded
    normals: Tensor | None,  # [F, M, 3] decoded, unit; None: none were asked for
    true_points: Tensor,  # [F, M, 3]
    true_normals: Tensor,  # [F, M, 3] unit
    triangles: Tensor,  # [T, 3] triangles among the M points
) -> dict[str, Tensor]:
    difference = points - true_points
    squared = difference.square().sum(-1)
    terms = {
        "distance": (squared + 1e-12).sqrt().mean(),
        "squared": squared.mean(),
        "face_normal": (face_normals(points, triangles) - face_normals(true_points, triangles)).abs().mean(),
        "length": (edge_lengths(points, triangles) / edge_lengths(true_points, triangles) - 1).abs().mean(),
    }
    return terms if normals is None else terms | {"normal": (normals - true_normals).abs().mean()}


def edge_lengths(points: Tensor, triangles: Tensor) -> Tensor:  # [F, M, 3], [T, 3] -> [F, T, 3]
    """A mean over folds that could be is too short: this term is what it lost."""
    corners = points[:, triangles]  # [F, T, 3, 3]
    return ((corners - corners.roll(1, 2)).square().sum(-1) + 1e-8).sqrt()


def face_normals(points: Tensor, triangles: Tensor) -> Tensor:  # [F, M, 3], [T, 3] -> [F, T, 3] unit
    a, b, c = (points[:, triangles[:, k]] for k in range(3))
    return normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-12)


def chamfer_terms(
    points: Tensor,  # [F, M, 3] decoded
    normals: Tensor,  # [F, M, 3] decoded, unit
    scan: Tensor,  # [F, n, 3]
    scan_normals: Tensor,  # [F, n, 3] unit
    workers: int = 1,
    colors: Tensor | None = None,  # [F, M, 3] decoded, in 0..1
    scan_colors: Tensor | None = None,  # [F, n, 3], NaN where the scanner saw none
) -> dict[str, Tensor]:
    """m2s (point to plane), s2m and the normal term of SCALE, and with colours theirs; means over frames."""
    zero = points.new_zeros(())
    sums = {"model_to_scan": zero, "scan_to_model": zero, "normal": zero}
    for number, (x, n, y, m) in enumerate(zip(points, normals, scan, scan_normals, strict=True)):
        _, index = nearest(x, y, workers)
        if colors is not None and scan_colors is not None:  # held-out frames may have none
            sums["color"] = sums.get("color", zero) + color_term(colors[number], scan_colors[number][index])
        sums["model_to_scan"] = sums["model_to_scan"] + ((y[index] - x) * m[index]).sum(-1).square().mean()
        sums["scan_to_model"] = sums["scan_to_model"] + nearest(y, x, workers)[0].mean()
        sums["normal"] = sums["normal"] + (n - m[index]).abs().mean()
    return {key: value / len(points) for key, value in sums.items()}


def color_term(colors: Tensor, true_colors: Tensor) -> Tensor:  # [M, 3], [M, 3] -> []
    """Mean absolute difference over points whose true colour is known; none of a hole's NaN reaches a gradient."""
    known = true_colors.isfinite().all(-1)
    return (colors[known] - true_colors[known]).abs().sum() / (3 * known.sum().clamp_min(1))


def weighted_sum(terms: dict[str, Tensor], weights: LossWeights) -> Tensor:
    return sum(getattr(weights, name) * value for name, value in terms.items())
