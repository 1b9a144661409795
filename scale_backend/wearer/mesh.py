"""Triangle meshes as numpy arrays: normals, Laplacians, and the closest point that faces the same way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Index = NDArray[np.int64]

CANDIDATES = 4  # triangles looked at exactly for each point, those whose middles are nearest
LEAST_COTANGENT = 1e-3  # of an edge between slivers: a Laplacian with no negative entries keeps means means


def triangle_normals(vertices: Array, triangles: Index) -> Array:  # [V, 3], [T, 3] -> [T, 3], twice the area long
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def unit(vectors: Array) -> Array:  # [..., 3]
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-20)


def inverses(matrices: Array) -> Array:  # [M, 3, 3]
    """Of many small matrices, by their cofactors. LAPACK would wake its threads for each: on a machine whose cores
    others hold, that takes minutes."""
    a, b, c = (matrices[..., k] for k in range(3))
    rows = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], -2)
    return rows / (a * rows[:, 0]).sum(-1)[:, None, None]


def vertex_normals(vertices: Array, triangles: Index) -> Array:  # [V, 3] unit, area-weighted
    """Normals of the vertices."""
    return unit(spread(triangles, triangle_normals(vertices, triangles), len(vertices)))


def spread(triangles: Index, values: Array, count: int) -> Array:  # [T, C] -> [V, C]
    """The sum of the values of the triangles round each vertex."""
    rows, columns = triangles.ravel(), np.repeat(np.arange(len(triangles)), 3)
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), (count, len(triangles))) @ values


def edges_of(triangles: Index) -> tuple[Index, Index]:  # [E, 2], and [E] how many triangles each has
    """Edges, the lower vertex first, in order."""
    pairs = np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(np.int64), 1
    )
    span = int(pairs.max()) + 1
    keys, counts = np.unique(pairs[:, 0] * span + pairs[:, 1], return_counts=True)  # faster than rows
    return np.stack(np.divmod(keys, span), 1), counts


def laplacian(vertices: Array, triangles: Index) -> tuple[Array, sparse.csr_matrix]:
    """The area of each vertex [V] and the cotangent Laplacian [V, V], positive semidefinite, without negative weights.

    Pinkall and Polthier 1993.
    """
    count = len(vertices)
    rows, columns, entries = [], [], []
    for k in range(3):
        a, b, opposite = (triangles[:, (k + turn) % 3] for turn in range(3))
        one, two = vertices[a] - vertices[opposite], vertices[b] - vertices[opposite]
        rows.append(a)
        columns.append(b)
        entries.append((one * two).sum(1) / np.maximum(np.linalg.norm(np.cross(one, two), axis=1), 1e-12) / 2)
    half = sparse.coo_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), (count, count))
    graph = (half + half.T).tocsr()
    graph.data = np.maximum(graph.data, LEAST_COTANGENT)
    area = np.linalg.norm(triangle_normals(vertices, triangles), axis=1, keepdims=True) / 6
    mass = np.maximum(spread(triangles, area, count)[:, 0], 1e-12)
    return mass, sparse.diags(np.asarray(graph.sum(1)).ravel()) - graph


@dataclass(frozen=True)
class Contact:
    """Points of a mesh, each in a triangle."""

    distance: Array  # [M] from the points that were asked for
    corners: Index  # [M, 3] vertices
    shares: Array  # [M, 3] barycentrics

    def carry(self, values: NDArray) -> Array:  # [V, C] -> [M, C]
        """Values of the mesh's vertices at these points."""
        return np.einsum("mk,mkc->mc", self.shares, values[self.corners])


class Surface:
    """A mesh that closest points are looked for on, among what faces the same way."""

    def __init__(self, vertices: Array, triangles: Index, facing: float):
        """facing: metres that a unit of difference between normals counts; 0: how it faces does not matter."""
        self.vertices, self.triangles, self.facing = vertices, triangles, facing
        self.corners = vertices[triangles]  # [T, 3, 3]
        self.normals = unit(triangle_normals(vertices, triangles))
        self.vertex_normals = vertex_normals(vertices, triangles)
        self.tree = cKDTree(self._features(self.corners.mean(1), self.normals), balanced_tree=False)

    def _features(self, points: Array, normals: Array) -> Array:
        return points if not self.facing else np.concatenate([points, self.facing * normals], 1)

    def closest(self, points: Array, normals: Array, count: int = CANDIDATES) -> Contact:  # [M, 3], [M, 3]
        count = min(count, len(self.triangles))
        found = self.tree.query(self._features(points, normals), count, workers=-1)[1].reshape(len(points), count)
        shares = closest_barycentrics(points[:, None], self.corners[found])  # [M, count, 3]
        place = np.einsum("mnk,mnkc->mnc", shares, self.corners[found])
        distance = np.linalg.norm(place - points[:, None], axis=-1)
        turned = np.linalg.norm(self.normals[found] - normals[:, None], axis=-1)
        rows, best = np.arange(len(points)), np.hypot(distance, self.facing * turned).argmin(1)
        return Contact(distance[rows, best], self.triangles[found[rows, best]], shares[rows, best])


def closest_barycentrics(points: Array, corners: Array) -> Array:  # [..., 3], [..., 3, 3] -> [..., 3]
    """Barycentrics of the point of a triangle nearest to a point: inside if its foot is inside, else on an edge."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    ab, ac, ap = b - a, c - a, points - a
    d1, d2 = (ab * ap).sum(-1), (ac * ap).sum(-1)
    aa, cc, both = (ab * ab).sum(-1), (ac * ac).sum(-1), (ab * ac).sum(-1)
    determinant = np.maximum(aa * cc - both**2, 1e-30)
    v, w = (cc * d1 - both * d2) / determinant, (aa * d2 - both * d1) / determinant
    inside = np.stack([1 - v - w, v, w], -1)

    def along(start: Array, way: Array) -> Array:  # the nearest point of an edge
        return np.clip(((points - start) * way).sum(-1) / np.maximum((way * way).sum(-1), 1e-30), 0.0, 1.0)

    t_ab, t_ac, t_bc = along(a, ab), along(a, ac), along(b, c - b)
    zero = np.zeros_like(t_ab)
    edges = np.stack([np.stack([1 - t_ab, t_ab, zero], -1), np.stack([1 - t_ac, zero, t_ac], -1),
                      np.stack([zero, 1 - t_bc, t_bc], -1)], -2)  # fmt: skip
    offset = np.einsum("...ek,...kc->...ec", edges, corners) - points[..., None, :]
    edge = np.take_along_axis(edges, (offset * offset).sum(-1).argmin(-1)[..., None, None], -2)[..., 0, :]
    return np.where((inside >= 0).all(-1, keepdims=True), inside, edge)


def refined(vertices: Array, triangles: Index, weights: Array, longest: float) -> tuple[Array, Index, Array]:
    """A mesh whose edges are at most about as long as asked, with weights: long edges are halved, again and again."""
    while True:
        edges, _ = edges_of(triangles)
        long = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1) > longest
        if not long.any() or len(vertices) > 200_000:
            return vertices, triangles, weights
        middle = np.full(len(edges), -1)
        middle[long] = len(vertices) + np.arange(long.sum())
        one, two = edges[long].T
        vertices = np.concatenate([vertices, (vertices[one] + vertices[two]) / 2])
        weights = np.concatenate([weights, (weights[one] + weights[two]) / 2])
        triangles = _split(triangles, edges, middle)


def _split(triangles: Index, edges: Index, middle: Index) -> Index:
    """Triangles with new vertices at the middles of some of their edges; middle [E], -1: none."""
    count = int(triangles.max()) + 1
    keys = edges[:, 0].astype(np.int64) * count + edges[:, 1]

    def at(a: Index, b: Index) -> Index:
        return middle[np.searchsorted(keys, np.minimum(a, b).astype(np.int64) * count + np.maximum(a, b))]

    pieces = []
    middles = np.stack([at(triangles[:, k], triangles[:, (k + 1) % 3]) for k in range(3)], 1)
    split = middles >= 0
    pieces.append(triangles[~split.any(1)])
    for k in range(3):
        # turned so that the pattern begins at corner k
        corner = [triangles[:, (k + turn) % 3] for turn in range(3)]
        mid = [middles[:, (k + turn) % 3] for turn in range(3)]
        has = [split[:, (k + turn) % 3] for turn in range(3)]
        one = has[0] & ~has[1] & ~has[2]
        a, b, c, m = corner[0][one], corner[1][one], corner[2][one], mid[0][one]
        pieces += [np.stack([a, m, c], 1), np.stack([m, b, c], 1)]
        two = has[0] & has[1] & ~has[2]
        a, b, c, m, n = corner[0][two], corner[1][two], corner[2][two], mid[0][two], mid[1][two]
        pieces += [np.stack([m, b, n], 1), np.stack([a, m, n], 1), np.stack([a, n, c], 1)]
    all_three = split.all(1)
    (a, b, c), (m, n, o) = triangles[all_three].T, middles[all_three].T
    pieces += [np.stack(each, 1) for each in ((a, m, o), (m, b, n), (o, n, c), (m, n, o))]
    return np.concatenate(pieces)
