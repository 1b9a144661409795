"""Distances between surfaces: area-weighted samples of one to the closest point of the other. numpy and a k-d tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

CANDIDATES = 24  # triangles looked at exactly for each point, those whose middles are nearest
SIDE = 0.02  # metres that a unit normal counts for


@dataclass(frozen=True)
class SurfaceSamples:
    """Fixed places on a surface of constant topology."""

    triangle: np.ndarray  # [M]
    weights: np.ndarray  # [M, 3] barycentrics

    def on(self, values: np.ndarray, triangles: np.ndarray) -> np.ndarray:  # [V, C], [T, 3] -> [M, C]
        return np.einsum("mkc,mk->mc", values[triangles[self.triangle]], self.weights)


def sample_surface(vertices: np.ndarray, triangles: np.ndarray, count: int, seed: int = 0) -> SurfaceSamples:
    """Area-weighted samples, spread evenly (systematic over the triangles, so that none is missed by chance)."""
    random = np.random.default_rng(seed)
    a, b, c = (vertices[triangles[:, k]].astype(np.float64) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    position = (np.arange(count) + random.random()) / count * area.sum()
    triangle = np.minimum(np.searchsorted(np.cumsum(area), position), len(area) - 1)
    root, along = np.sqrt(random.random(count)), random.random(count)
    return SurfaceSamples(triangle, np.stack([1 - root, root * (1 - along), root * along], 1))


class ReferenceSurface:
    """A triangle mesh that points are measured against."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray):
        self.vertices, self.triangles = vertices.astype(np.float64), triangles
        self.corners = self.vertices[triangles]  # [T, 3, 3]
        self.tree = cKDTree(self.corners.mean(1), balanced_tree=False, compact_nodes=False)

    def closest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distance [M], triangle [M] and barycentrics [M, 3] of the closest surface point of each of [M, 3]."""
        count = min(CANDIDATES, len(self.triangles))
        candidates = self.tree.query(points, count)[1].reshape(len(points), count)
        weights = closest_barycentrics(points[:, None].astype(np.float64), self.corners[candidates])
        closest = np.einsum("mkic,mki->mkc", self.corners[candidates], weights)
        distance = np.linalg.norm(closest - points[:, None], axis=-1)
        best = distance.argmin(1)
        rows = np.arange(len(points))
        return distance[rows, best], candidates[rows, best], weights[rows, best]

    def interpolate(self, values: np.ndarray, triangle: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.einsum("mkc,mk->mc", values[self.triangles[triangle]], weights)


def closest_barycentrics(points: np.ndarray, corners: np.ndarray) -> np.ndarray:  # [..., 3], [..., 3, 3] -> [..., 3]
    """Barycentrics of the point of a triangle nearest to a point: inside if its foot is inside, else on an edge."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    ab, ac, ap = b - a, c - a, points - a
    d1, d2 = (ab * ap).sum(-1), (ac * ap).sum(-1)
    aa, cc, ac_ab = (ab * ab).sum(-1), (ac * ac).sum(-1), (ab * ac).sum(-1)
    determinant = np.maximum(aa * cc - ac_ab**2, 1e-30)
    v, w = (cc * d1 - ac_ab * d2) / determinant, (aa * d2 - ac_ab * d1) / determinant
    inside = np.stack([1 - v - w, v, w], -1)
    # the nearest points of the three edges
    t_ab, t_ac = _unit(d1 / np.maximum(aa, 1e-30)), _unit(d2 / np.maximum(cc, 1e-30))
    bc = c - b
    t_bc = _unit(((points - b) * bc).sum(-1) / np.maximum((bc * bc).sum(-1), 1e-30))
    zero = np.zeros_like(t_ab)
    edges = np.stack([np.stack([1 - t_ab, t_ab, zero], -1), np.stack([1 - t_ac, zero, t_ac], -1),
                      np.stack([zero, 1 - t_bc, t_bc], -1)], -2)  # fmt: skip
    offset = np.einsum("...ek,...kc->...ec", edges, corners) - points[..., None, :]
    nearest = (offset * offset).sum(-1).argmin(-1)
    edge = np.take_along_axis(edges, nearest[..., None, None], -2)[..., 0, :]
    return np.where((inside >= 0).all(-1, keepdims=True), inside, edge)


def _unit(value: np.ndarray) -> np.ndarray:
    return np.clip(value, 0, 1)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:  # [V, 3] -> [V, 3] unit
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    weighted = np.cross(b - a, c - a)
    summed = np.zeros_like(vertices, np.float64)
    for corner in range(3):
        np.add.at(summed, triangles[:, corner], weighted)
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-20)


def angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:  # [M, 3] unit each -> [M] degrees
    return np.degrees(np.arccos(np.clip((a * b).sum(1), -1, 1)))


def signed_height(
    points: np.ndarray, body: ReferenceSurface, normals: np.ndarray
) -> np.ndarray:  # -> [M], negative: inside
    """Height over the body's surface along its smooth normal at the closest point."""
    _, triangle, weights = body.closest(points)
    foot = body.interpolate(body.vertices, triangle, weights)
    return ((points - foot) * body.interpolate(normals, triangle, weights)).sum(1)


def sided(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:  # [V, 3] -> [V, 6]
    """Places and short normals: where a thin fold's two sides lie close, they face apart."""
    return np.concatenate([vertices, SIDE * vertex_normals(vertices, triangles)], 1)


def nearest_places(
    wanted: np.ndarray,  # [N, 6] of `sided`
    vertices: np.ndarray,  # [V, 6] the same of a mesh
    triangles: np.ndarray,  # [T, 3]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # corners [N, 3], barycentrics [N, 3], distance [N] metres
    """The closest place on a mesh to each point, among the triangles that lie near and face the same way."""
    near = min(CANDIDATES, len(triangles))
    candidates = cKDTree(vertices[triangles].mean(1)).query(wanted, near)[1].reshape(len(wanted), near)
    points, corners = wanted[:, None, :3], vertices[triangles[candidates]][..., :3]
    weights = closest_barycentrics(points, corners)
    distance = np.linalg.norm(np.einsum("mkic,mki->mkc", corners, weights) - points, axis=-1)
    best, rows = distance.argmin(1), np.arange(len(wanted))
    return triangles[candidates[rows, best]], weights[rows, best], distance[rows, best]
