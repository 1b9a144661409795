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


@dataclass(frozen=True)
class Skin:
    """The collider in F poses, ready to be asked for nearest vertices."""

    vertices: Tensor  # [F, C, 3]
    normals: Tensor  # [F, C, 3] unit, outwards
    trees: list | None  # a k-d tree a frame, on the CPU; None: all distances are computed

    def __getitem__(self, frames: slice) -> Skin:
        trees = None if self.trees is None else self.trees[frames]
        return Skin(self.vertices[frames], self.normals[frames], trees)


def posed_skin(vertices: Tensor, rings: VertexRings, with_trees: bool = True) -> Skin:  # [F, C, 3]
    trees = None
    if with_trees:
        from scipy.spatial import cKDTree

        trees = [cKDTree(v, balanced_tree=False, compact_nodes=False) for v in vertices.detach().numpy()]
    return Skin(vertices, vertex_normals(vertices, rings), trees)


def push_out(points: Tensor, skin: Skin, margin: float = MARGIN) -> Tensor:  # [F, M, 3] -> [F, M, 3]
    """The points, those under the skin moved out to the margin along the skin's normal."""
    nearest, near = nearest_vertices(points, skin, REACH)
    nearest = nearest[..., None].expand(-1, -1, 3)
    plane, normal = skin.vertices.gather(1, nearest), skin.normals.gather(1, nearest)
    height = ((points - plane) * normal).sum(-1, keepdim=True)
    lift = torch.where(near[..., None], (margin - height).clamp_min(0), torch.zeros_like(height))
    return points + lift * normal


def nearest_vertices(
    points: Tensor,  # [F, M, 3]
    skin: Skin,
    reach: float,
) -> tuple[Tensor, Tensor]:  # index [F, M] int64, and whether it lies within reach [F, M] bool
    """The nearest vertex, by a k-d tree or by all distances. Beyond reach the index means nothing."""
    if skin.trees is not None:
        found = [
            tree.query(p, distance_upper_bound=reach)
            for tree, p in zip(skin.trees, points.detach().numpy(), strict=True)
        ]
        distance = torch.stack([torch.from_numpy(d) for d, _ in found])
        near = distance.isfinite()
        return torch.stack([torch.from_numpy(i) for _, i in found]).long() * near, near
    nearest = [torch.cdist(p, v).min(1) for p, v in zip(points, skin.vertices, strict=True)]
    return torch.stack([n.indices for n in nearest]), torch.stack([n.values for n in nearest]) < reach
