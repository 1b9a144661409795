"""Cloth that ends up inside the body is moved to just outside it.

The nearest posed body vertex decides: its tangent plane is the skin. One pass, a few milliseconds a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.articulation import VertexRings, vertex_normals, vertex_rings
from scale_backend.body import Body

MARGIN = 0.004  # metres between skin and cloth
REACH = 0.05  # metres; cloth further from the skin is either well outside, or so deep that pushing would tear it


@dataclass(frozen=True)
class Collider:
    """The part of the body that a garment can touch."""

    vertices: Tensor  # [C] indices into the body's vertices
    rings: VertexRings  # its triangles, indices into `vertices`

    def to(self, device: str | torch.device) -> Collider:
        return Collider(self.vertices.to(device), self.rings.to(device))


def garment_collider(body: Body, blend_weights: Tensor) -> Collider:  # [V, J] of the garment's carrier
    """Body triangles that move with the joints the garment hangs on. Hands never count for a dress."""
    touched = blend_weights.amax(0) > 0.05  # [J]
    belongs = touched[body.blend_weights.argmax(1)]  # [V]
    kept = body.triangles[belongs[body.triangles].all(1)]
    vertices, compact = kept.unique(return_inverse=True)
    return Collider(vertices, vertex_rings(compact, len(vertices)))


def push_out(
    points: Tensor,  # [F, M, 3]
    skin: Tensor,  # [F, C, 3] the collider's posed vertices
    rings: VertexRings,  # the collider's
    margin: float = MARGIN,
) -> Tensor:  # [F, M, 3]
    """The points, those under the skin moved out to the margin along the skin's normal."""
    normals = vertex_normals(skin, rings)
    nearest, near = nearest_vertices(points, skin, REACH)
    nearest = nearest[..., None].expand(-1, -1, 3)
    plane, normal = skin.gather(1, nearest), normals.gather(1, nearest)
    height = ((points - plane) * normal).sum(-1, keepdim=True)
    lift = torch.where(near[..., None], (margin - height).clamp_min(0), torch.zeros_like(height))
    return points + lift * normal


def nearest_vertices(
    points: Tensor,  # [F, M, 3]
    vertices: Tensor,  # [F, C, 3]
    reach: float,
) -> tuple[Tensor, Tensor]:  # index [F, M] int64, and whether it lies within reach [F, M] bool
    """The nearest vertex: by a k-d tree on the CPU, by all distances on a GPU. Beyond reach the index means nothing."""
    if points.device.type == "cpu":
        from scipy.spatial import cKDTree

        found = [
            cKDTree(v, balanced_tree=False, compact_nodes=False).query(p, distance_upper_bound=reach)
            for p, v in zip(points.detach().numpy(), vertices.detach().numpy(), strict=True)
        ]
        distance = torch.stack([torch.from_numpy(d) for d, _ in found])
        near = distance.isfinite()
        return torch.stack([torch.from_numpy(i) for _, i in found]).long() * near, near
    nearest = [torch.cdist(p, v).min(1) for p, v in zip(points, vertices, strict=True)]
    return torch.stack([n.indices for n in nearest]), torch.stack([n.values for n in nearest]) < reach
