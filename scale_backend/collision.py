"""Cloth that ends up inside the body is moved to just outside it.

The nearest posed body vertex decides: its tangent plane is the skin. One pass, a few milliseconds a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.articulation import vertex_normals
from scale_backend.body import Body

MARGIN = 0.004  # metres between skin and cloth
DEPTH = 0.06  # metres; what lies deeper is not a small slip, and pushing it would tear the cloth


@dataclass(frozen=True)
class Collider:
    """The part of the body that a garment can touch."""

    vertices: Tensor  # [C] indices into the body's vertices
    triangles: Tensor  # [T, 3] indices into `vertices`

    def to(self, device: str | torch.device) -> Collider:
        return Collider(self.vertices.to(device), self.triangles.to(device))


def garment_collider(body: Body, blend_weights: Tensor) -> Collider:  # [V, J] of the garment's carrier
    """Body triangles that move with the joints the garment hangs on. Hands never count for a dress."""
    touched = blend_weights.amax(0) > 0.05  # [J]
    belongs = touched[body.blend_weights.argmax(1)]  # [V]
    kept = body.triangles[belongs[body.triangles].all(1)]
    vertices, compact = kept.unique(return_inverse=True)
    return Collider(vertices, compact)


def push_out(
    points: Tensor,  # [F, M, 3]
    skin: Tensor,  # [F, C, 3] the collider's posed vertices
    triangles: Tensor,  # [T, 3] the collider's
    margin: float = MARGIN,
) -> Tensor:  # [F, M, 3]
    """The points, those under the skin moved out to the margin along the skin's normal."""
    normals = vertex_normals(skin, triangles)
    nearest = nearest_vertices(points, skin)[..., None].expand(-1, -1, 3)
    plane, normal = skin.gather(1, nearest), normals.gather(1, nearest)
    height = ((points - plane) * normal).sum(-1, keepdim=True)
    lift = torch.where(height > -DEPTH, (margin - height).clamp_min(0), torch.zeros_like(height))
    return points + lift * normal


def nearest_vertices(points: Tensor, vertices: Tensor) -> Tensor:  # [F, M, 3], [F, C, 3] -> [F, M] int64
    """Index of the nearest vertex: a k-d tree on the CPU, all distances on a GPU."""
    if points.device.type == "cpu":
        from scipy.spatial import cKDTree

        found = [
            torch.from_numpy(cKDTree(v, balanced_tree=False, compact_nodes=False).query(p)[1])
            for p, v in zip(points.detach().numpy(), vertices.detach().numpy(), strict=True)
        ]
        return torch.stack(found).long()
    return torch.stack([torch.cdist(p, v).argmin(1) for p, v in zip(points, vertices, strict=True)])
