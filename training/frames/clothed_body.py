"""The clothed body as a scanner sees it: the cloth and the skin it leaves bare, and points sampled from both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from scale_backend.geometry.articulation import VertexRings, vertex_normals, vertex_rings


@dataclass(frozen=True)
class ClothedBody:
    """Triangles of cloth and body in one list; which body vertices are bare differs from frame to frame."""

    triangles: Tensor  # [K + T, 3] cloth first, body vertices numbered after the cloth's
    cloth_vertices: int
    cloth_triangles: int
    rings: VertexRings

    def to(self, device: str | torch.device) -> ClothedBody:
        return ClothedBody(self.triangles.to(device), self.cloth_vertices, self.cloth_triangles, self.rings.to(device))


def clothed_body(
    cloth_triangles: Tensor,  # [K, 3]
    cloth_vertices: int,
    body_triangles: Tensor,  # [T, 3]
    body_vertices: int,
) -> ClothedBody:
    triangles = torch.cat([cloth_triangles, body_triangles + cloth_vertices])
    rings = vertex_rings(triangles, cloth_vertices + body_vertices)
    return ClothedBody(triangles, cloth_vertices, len(cloth_triangles), rings)


def sample_scan(
    surface: ClothedBody,
    cloth: Tensor,  # [F, C, 3]
    body: Tensor,  # [F, B, 3]
    visible: Tensor,  # [F, B] bool
    count: int,
    random: Sequence[torch.Generator],
) -> tuple[Tensor, Tensor, Tensor]:  # points [F, n, 3], unit normals [F, n, 3], is cloth [F, n] bool
    """Area-weighted scan points with smooth normals. A generator a frame, on the CPU: equal scans on all devices, and
    in whatever batch a frame is."""
    vertices = torch.cat([cloth, body], 1)
    corners = vertices[:, surface.triangles]  # [F, T, 3, 3]
    area = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]).norm(dim=-1)
    bare = visible[:, surface.triangles[surface.cloth_triangles :] - surface.cloth_vertices].all(-1)
    area[:, surface.cloth_triangles :] *= bare
    cumulative = area.double().cumsum(1)
    at = torch.stack([torch.rand(count, generator=g, dtype=torch.float64) for g in random]).to(cloth.device)
    triangle = torch.searchsorted(cumulative, at * cumulative[:, -1:]).clamp_max(area.shape[1] - 1)
    along = torch.stack([torch.rand(2, count, generator=g) for g in random], 1).to(cloth.device)
    root = along[0].sqrt()
    weights = torch.stack([1 - root, root * (1 - along[1]), root * along[1]], -1)  # [F, n, 3]
    picked = surface.triangles[triangle]  # [F, n, 3]
    normals = vertex_normals(vertices, surface.rings)

    def interpolate(values: Tensor) -> Tensor:  # [F, V, 3] -> [F, n, 3]
        flat = values.gather(1, picked.flatten(1)[..., None].expand(-1, -1, 3))
        return (flat.unflatten(1, (count, 3)) * weights[..., None]).sum(2)

    return interpolate(vertices), normalize(interpolate(normals), dim=-1), triangle < surface.cloth_triangles
