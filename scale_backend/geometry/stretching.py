"""Triangles that a pose has stretched too far are drawn together, and what lies round them goes along.

On a body that is not the garment's own, skin that overlaps itself pushes neighbours apart, under an arm or between the
legs, and blend weights with hard borders pull them apart. Where nothing is stretched too far, nothing changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.geometry.articulation import VertexRings, triangle_edges, vertex_rings
from scale_backend.geometry.gathering import gather_sum
from scale_backend.machine.moving import to_device

MOST = 1.58  # times its area at rest that a triangle may have
ASKED = 1.5  # times, that a larger one is drawn together to
SWEEPS = 12
ROUNDS = 3  # of sweeps over what is stretched, should it have spread
AROUND = 5  # rings of triangles that may have to go along


@dataclass(frozen=True)
class RestSizes:
    """A mesh and the size of its triangles at rest."""

    rings: VertexRings
    area: Tensor  # [T] square metres

    def to(self, device: str | torch.device) -> RestSizes:
        return to_device(self, device)


def rest_sizes(triangles: Tensor, template: Tensor) -> RestSizes:  # [T, 3] int64, [V, 3] metres
    """Of a mesh in its rest shape."""
    return RestSizes(vertex_rings(triangles, len(template)), _areas(template[None], triangles)[0].clamp_min(1e-12))


def drawn_together(points: Tensor, rest: RestSizes, size: float, reads_back: bool) -> Tensor:  # [F, V, 3] -> [F, V, 3]
    """Points in place of those whose triangles are larger than `MOST` times their size at rest.

    size: of the wearer against the garment's own body, by which lengths at rest are multiplied. reads_back: look for
    these triangles and move no others; without, all are gone over, and no value is read from the device.
    """
    area = rest.area * size**2
    if not reads_back:
        for _ in range(SWEEPS):
            points = _swept(points, rest.rings, area)[0]
        return points
    return torch.stack([_frame(frame, rest.rings, area) for frame in points])


def _frame(points: Tensor, rings: VertexRings, area: Tensor) -> Tensor:  # [V, 3]
    for _ in range(ROUNDS):
        large = (_areas(points[None], rings.triangles)[0] > MOST * area).nonzero()[:, 0]
        if not len(large):
            break
        vertices, part, triangles = _part(rings, large)
        moved = points[None, vertices]
        for _ in range(SWEEPS):
            moved, any_large = _swept(moved, part, area[triangles])
            if not any_large:
                break
        points = points.index_copy(0, vertices, moved[0])
    return points


def _part(rings: VertexRings, triangles: Tensor) -> tuple[Tensor, VertexRings, Tensor]:
    """The mesh round some triangles: its vertices [N], their rings, its triangles [K]."""
    for _ in range(AROUND):
        vertices = rings.triangles[triangles].unique()
        triangles = rings.ring[vertices][rings.present[vertices] > 0].unique()
    vertices, corners = rings.triangles[triangles].unique(return_inverse=True)
    return vertices, vertex_rings(corners, len(vertices)), triangles


def _swept(points: Tensor, rings: VertexRings, area: Tensor) -> tuple[Tensor, Tensor]:  # [F, V, 3], [T]
    """Each vertex moved to the mean of where its large triangles want it, and whether any is large.

    A triangle wants to shrink to its middle.
    """
    ratio = _areas(points, rings.triangles) / area
    large = ratio > MOST
    share = torch.where(large, 1 - (ASKED / ratio.clamp_min(ASKED)).sqrt(), 0.0)[..., None]  # [F, T, 1]
    middle = points[:, rings.triangles].mean(2)
    asked = gather_sum(torch.cat([share * middle, share, large[..., None].float()], -1), rings.ring, rings.present)
    moves = (asked[..., :3] - asked[..., 3:4] * points) / asked[..., 4:].clamp_min(1)
    return points + moves, large.any()


def _areas(points: Tensor, triangles: Tensor) -> Tensor:  # [F, V, 3] -> [F, T] square metres
    return torch.linalg.cross(*triangle_edges(points, triangles)).norm(dim=-1) / 2
