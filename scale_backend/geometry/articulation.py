"""Local frames on the posed carrier, and points put into place by them.

Two kinds of frames, after the two kinds of queries. `patch`: SCALE's own, [e1 e2 w] of the triangle a pixel lies in.
`continuous`: how that frame has turned and stretched since the rest pose, averaged over the triangles round a vertex
and interpolated between vertices, so that nothing jumps at the border of a pixel, a triangle or a UV island.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from scale_backend.geometry.gathering import gather_sum, incidence
from scale_backend.geometry.positional_map import UVLayout
from scale_backend.machine.moving import to_device


def triangle_edges(vertices: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:  # [F, V, 3] -> 2 x [F, T, 3]
    origin, one, other = (vertices.index_select(1, corner) for corner in triangles.unbind(1))  # faster than [:, corner]
    return one - origin, other - origin


def triangle_frames(e1: Tensor, e2: Tensor, scale: Tensor) -> Tensor:  # [F, T, 3] x 2, [F] -> [F, T, 3, 3]
    """[e1 e2 w] as columns; w is the unit normal times the frame's scale. Not orthonormal, on purpose."""
    w = normalize(torch.linalg.cross(e1, e2), dim=-1, eps=1e-20) * scale[:, None, None]
    return torch.stack([e1, e2, w], -1)


def frame_scale(e1: Tensor, e2: Tensor) -> Tensor:  # [F, T, 3] x 2 -> [F]
    """One length for all normals of a frame: the mean edge, (mean|e1| + mean|e2|) / 2."""
    return 0.5 * (e1.norm(dim=-1).mean(1) + e2.norm(dim=-1).mean(1))


def pixel_frames(
    vertices: Tensor,  # [F, V, 3]
    corners: Tensor,  # [H W, 3] of each pixel's triangle; background counts as triangle 0
    valid: Tensor,  # [P] pixels
) -> Tensor:  # [F, P, 3, 3]
    """SCALE's local frames, a patch each. The scale's means run over all pixels."""
    e1, e2 = triangle_edges(vertices, corners)
    return triangle_frames(e1[:, valid], e2[:, valid], frame_scale(e1, e2))


def patch_frames(vertices: Tensor, triangles: Tensor, layout: UVLayout) -> Tensor:  # [F, V, 3] -> [F, P, 3, 3]
    """Frames of a layout's valid pixels."""
    corners = triangles[layout.triangle_index.clamp_min(0).flatten()]
    return pixel_frames(vertices, corners, layout.mask.flatten().nonzero()[:, 0])


@dataclass(frozen=True)
class VertexRings:
    """The triangles round each vertex, padded to the largest number with weight 0."""

    triangles: Tensor  # [T, 3]
    ring: Tensor  # [V, K] triangle indices
    present: Tensor  # [V, K] 1 where there is a triangle, else 0

    def to(self, device: str | torch.device) -> VertexRings:
        return to_device(self, device)


def vertex_rings(triangles: Tensor, vertex_count: int) -> VertexRings:  # [T, 3]
    ring = incidence(triangles, vertex_count)
    return VertexRings(triangles, ring.clamp_min(0), (ring >= 0).float())


def vertex_normals(vertices: Tensor, rings: VertexRings) -> Tensor:  # [F, V, 3] -> [F, V, 3] unit
    """Area-weighted vertex normals."""
    weighted = torch.linalg.cross(*triangle_edges(vertices, rings.triangles))
    return normalize(gather_sum(weighted, rings.ring, rings.present), dim=-1, eps=1e-20)


@dataclass(frozen=True)
class RestFrames:
    """What continuous frames need of the rest pose. Built once a carrier."""

    rings: VertexRings
    share: Tensor  # [V, K] weight of each triangle in its vertex's frame; rows sum to 1
    inverse: Tensor  # [T, 3, 3] of the rest frames
    normals: Tensor  # [V, 3] unit rest normals

    def to(self, device: str | torch.device) -> RestFrames:
        return to_device(self, device)


def rest_frames(template: Tensor, triangles: Tensor) -> RestFrames:  # [V, 3], [T, 3]
    rings = vertex_rings(triangles, len(template))
    e1, e2 = triangle_edges(template[None].double(), triangles)
    frames = triangle_frames(e1, e2, frame_scale(e1, e2))[0]
    area = torch.linalg.cross(e1, e2)[0].norm(dim=-1)
    share = area[rings.ring] * rings.present
    share = share / share.sum(1, keepdim=True)
    normals = vertex_normals(template[None], rings)[0]
    return RestFrames(rings, share.float(), torch.linalg.inv(frames).float(), normals)


def vertex_frames(vertices: Tensor, rest: RestFrames) -> Tensor:  # [F, V, 3] -> [F, V, 3, 3]
    """Rest to posed: the mean of the deformation gradients round each vertex, weighted by rest area.

    Near a rotation, and scaled as the surface is.
    """
    e1, e2 = triangle_edges(vertices, rest.rings.triangles)
    turned = (triangle_frames(e1, e2, frame_scale(e1, e2)) @ rest.inverse).flatten(2)  # [F, T, 9]
    return gather_sum(turned, rest.rings.ring, rest.share).unflatten(-1, (3, 3))


def articulate(
    base: Tensor,  # [F, M, 3] body points
    frames: Tensor,  # [F, M, 3, 3]
    residual: Tensor,  # [F, M, 3] local
) -> Tensor:  # [F, M, 3]
    """Points in the carrier's space: x = base + T r (SCALE, eq. 4)."""
    return base + (frames @ residual[..., None])[..., 0]


def turned_normals(frames: Tensor, normal: Tensor) -> Tensor:  # [F, M, 3, 3], [F, M, 3] -> [F, M, 3]
    """Unit normals: n = T n / |T n| (SCALE, eq. 5)."""
    return normalize((frames @ normal[..., None])[..., 0], dim=-1, eps=1e-12)
