"""Cloth that ends up inside the body is moved to just outside it.

The skin is a smooth surface through the nearest posed body vertices, whose normal turns evenly between theirs: one
vertex's tangent plane would leave a facet in fine cloth. One pass, a few milliseconds a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from scale_backend.geometry.articulation import VertexRings, vertex_normals, vertex_rings
from scale_backend.geometry.body import Body
from scale_backend.machine.moving import to_device

MARGIN = 0.004  # metres between skin and cloth
REACH = 0.05  # metres; cloth further from the skin is either well outside, or so deep that pushing would tear it
AROUND = 8  # vertices that the skin is laid through; the furthest of them counts no more
SLACK = 0.002  # metres; the smooth skin lies no further from the nearest vertex's tangent plane


@dataclass(frozen=True)
class Collider:
    """The part of the body that a garment can touch."""

    vertices: Tensor  # [C] indices into the body's vertices
    rings: VertexRings  # its triangles, indices into `vertices`

    def to(self, device: str | torch.device) -> Collider:
        return to_device(self, device)


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


def push_out(
    points: Tensor,  # [F, M, 3]
    skin: Skin,
    margin: float = MARGIN,
    contact: Contact | None = None,  # where the points lay near by, if that is known
) -> Tensor:  # [F, M, 3]
    """The points, those under the skin moved out to the margin along the skin's normal."""
    if skin.trees is None:
        return torch.stack([_lifted(*frame, margin) for frame in zip(points, skin.vertices, skin.normals, strict=True)])
    nearest, near = contact or nearest_vertices(points, skin)
    pushed = points.clone()
    for frame, tree in enumerate(skin.trees):
        low = _is_low(points[frame], nearest[frame], skin.vertices[frame], skin.normals[frame], margin)
        rows = (near[frame] & low).nonzero()[:, 0]
        if len(rows):
            asked = points[frame, rows]
            distance, index = tree.query(asked.detach().numpy(), min(AROUND, tree.n))
            around = torch.from_numpy(distance.reshape(len(rows), -1)).float(), torch.from_numpy(index).flatten()
            pushed[frame, rows] = _lift(asked, *around, skin.vertices[frame], skin.normals[frame], margin)
    return pushed


def _lifted(points: Tensor, vertices: Tensor, normals: Tensor, margin: float) -> Tensor:  # [M, 3], [C, 3], [C, 3]
    """All of them by all distances, without reading anything back."""
    around = torch.cdist(points, vertices).topk(min(AROUND, len(vertices)), largest=False)
    lifted = _lift(points, around.values, around.indices.flatten(), vertices, normals, margin)
    low = _is_low(points, around.indices[:, 0], vertices, normals, margin)
    return torch.where(((around.values[:, 0] < REACH) & low)[:, None], lifted, points)


def _is_low(points: Tensor, nearest: Tensor, vertices: Tensor, normals: Tensor, margin: float) -> Tensor:  # [M] bool
    """Whether a point may have to move: by the tangent plane of its nearest vertex."""
    below = points - vertices.index_select(0, nearest)
    return (below * normals.index_select(0, nearest)).sum(-1) < margin + SLACK


def _lift(
    points: Tensor,  # [N, 3]
    distance: Tensor,  # [N, K] to the nearest vertices, the nearest first
    index: Tensor,  # [N K] of them
    vertices: Tensor,  # [C, 3]
    normals: Tensor,  # [C, 3] unit
    margin: float,
) -> Tensor:  # [N, 3]
    place, turned = (x.index_select(0, index).unflatten(0, distance.shape) for x in (vertices, normals))
    weights = (1 - distance / distance[:, -1:].clamp_min(1e-9)).square() + 1e-9
    weights = weights * (turned * turned[:, :1]).sum(-1).clamp_min(0)  # those that face elsewhere are of another limb
    weights = (weights / weights.sum(1, keepdim=True))[..., None]
    normal = torch.nn.functional.normalize((weights * turned).sum(1), dim=-1)
    # between two normals the skin bends away from both tangent planes, and lies half-way
    height = (weights * (points[:, None] - place) * (turned + normal[:, None]) / 2).sum((1, 2))
    return points + (margin - height).clamp_min(0)[:, None] * normal


class Contact(NamedTuple):
    """The skin's vertices that points are near to."""

    nearest: Tensor  # [F, M] int64; beyond reach it means nothing
    near: Tensor  # [F, M] bool, whether it lies within reach

    def at(self, chosen: tuple[slice, slice]) -> Contact:  # frames and points
        return Contact(self.nearest[chosen], self.near[chosen])


def nearest_vertices(points: Tensor, skin: Skin, reach: float = REACH) -> Contact:  # [F, M, 3]
    if skin.trees is None:
        distance, index = torch.cdist(points, skin.vertices).min(-1)
        return Contact(index, distance < reach)
    answers = [
        tree.query(p, distance_upper_bound=reach) for tree, p in zip(skin.trees, points.detach().numpy(), strict=True)
    ]
    distance = torch.stack([torch.from_numpy(d) for d, _ in answers])
    near = distance.isfinite()
    return Contact(torch.stack([torch.from_numpy(i) for _, i in answers]).long() * near, near)
