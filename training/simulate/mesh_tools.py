"""Triangle meshes in numpy: cutting, neighbours, smoothing and keeping clear of a body."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class Mesh(NamedTuple):
    vertices: Array  # [V, 3] metres
    triangles: Index  # [T, 3]


def face_normals(mesh: Mesh) -> Array:
    """Normals [T, 3], twice the triangle's area long."""
    a, b, c = (mesh.vertices[mesh.triangles[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(mesh: Mesh) -> Array:
    total, faces = np.zeros_like(mesh.vertices), face_normals(mesh)
    for corner in range(3):
        np.add.at(total, mesh.triangles[:, corner], faces)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def edges(triangles: Index) -> tuple[Index, Index]:
    """Undirected edges [E, 2] and how many triangles use each [E]."""
    pairs = np.stack([triangles, np.roll(triangles, -1, 1)], -1).reshape(-1, 2)
    return np.unique(np.sort(pairs, 1), axis=0, return_counts=True)


def border_vertices(triangles: Index, count: int) -> NDArray[np.bool_]:
    pairs, uses = edges(triangles)
    border = np.zeros(count, bool)
    border[pairs[uses == 1].ravel()] = True
    return border


def euler_characteristic(triangles: Index) -> int:
    """Vertices - edges + triangles: 1 for a disk, 0 for a tube."""
    return len(np.unique(triangles)) - len(edges(triangles)[0]) + len(triangles)


def border_loops(triangles: Index) -> list[Index]:
    """Vertex loops of the border, each in the order in which its triangles walk it."""
    directed = {(int(t[i]), int(t[(i + 1) % 3])) for t in triangles for i in range(3)}
    following = {a: b for a, b in directed if (b, a) not in directed}
    loops = []
    while following:
        start = min(following)
        loop, here = [], start
        while here in following:
            loop.append(here)
            here = following.pop(here)
        loops.append(np.array(loop))
    return loops


def compact(mesh: Mesh, *attributes: Array) -> tuple[Mesh, list[Array]]:
    """Drop vertices that no triangle uses."""
    used, triangles = np.unique(mesh.triangles, return_inverse=True)
    return Mesh(mesh.vertices[used], triangles.reshape(-1, 3)), [values[used] for values in attributes]


def piece_containing(triangles: Index, vertex: int, count: int) -> NDArray[np.bool_]:
    """Which triangles hang together with the vertex."""
    pairs, _ = edges(triangles)
    graph = sparse.coo_matrix((np.ones(len(pairs)), pairs.T), shape=(count, count))
    _, piece = connected_components(graph, directed=False)
    return piece[triangles[:, 0]] == piece[vertex]


def cut(mesh: Mesh, field: Array, *attributes: Array) -> tuple[Mesh, NDArray[np.bool_], Index, list[Array]]:
    """Split triangles along the zero line of a field [V] over the vertices.

    Returns the mesh, on which triangles the field is positive [T], the triangle each came from [T], and
    the attributes [V, ...] interpolated to the new vertices.
    """
    values = np.where(np.abs(field) < 1e-5, 0.0, field)
    pairs, _ = edges(mesh.triangles)
    crossed = pairs[values[pairs[:, 0]] * values[pairs[:, 1]] < 0]
    share = values[crossed[:, 0]] / (values[crossed[:, 0]] - values[crossed[:, 1]])

    def extend(data: Array) -> Array:
        along = share.reshape(-1, *[1] * (data.ndim - 1))
        return np.concatenate([data, data[crossed[:, 0]] * (1 - along) + data[crossed[:, 1]] * along])

    middle = {(int(a), int(b)): len(values) + i for i, (a, b) in enumerate(crossed)}
    triangles, origin = [], []
    for index, triangle in enumerate(mesh.triangles):
        corners = []
        for a, b in zip(triangle, np.roll(triangle, -1), strict=True):
            corners.append(int(a))
            if (between := middle.get((min(a, b), max(a, b)))) is not None:
                corners.append(between)
        new = [i for i, corner in enumerate(corners) if corner >= len(values)]
        if len(corners) == 4:  # one edge crossed, the cut ends in the opposite corner
            corners = corners[new[0] :] + corners[: new[0]]
            pieces = [(0, 1, 2), (0, 2, 3)]
        elif len(corners) == 5:  # two edges crossed: a triangle and a quadrangle
            start = new[0] if (new[1] - new[0]) % 5 == 2 else new[1]
            corners = corners[start:] + corners[:start]
            pieces = [(0, 1, 2), (0, 2, 3), (0, 3, 4)]
        else:
            pieces = [(0, 1, 2)]
        triangles += [[corners[i] for i in piece] for piece in pieces]
        origin += [index] * len(pieces)
    result = Mesh(extend(mesh.vertices), np.array(triangles))
    signs = np.concatenate([values, np.zeros(len(crossed))])[result.triangles]
    return result, signs.sum(1) > 0, np.array(origin), [extend(data) for data in attributes]


def neighbour_average(triangles: Index, count: int) -> sparse.csr_matrix:
    """Sparse [V, V]: averages the neighbours; vertices of the border average their neighbours on the border."""
    pairs, uses = edges(triangles)
    border = border_vertices(triangles, count)
    keep = (uses == 1) | ~border[pairs].any(1)
    inner = pairs[~border[pairs].all(1) & border[pairs].any(1)]
    inner = np.where(border[inner[:, :1]], inner[:, ::-1], inner)  # inner vertex first
    rows = np.concatenate([pairs[keep, 0], pairs[keep, 1], inner[:, 0]])
    columns = np.concatenate([pairs[keep, 1], pairs[keep, 0], inner[:, 1]])
    matrix = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()
    return sparse.diags(1 / np.maximum(np.asarray(matrix.sum(1)).ravel(), 1)) @ matrix


def smooth(values: Array, triangles: Index, rounds: int, amount: Array | float = 0.5) -> Array:
    """Laplacian smoothing of anything given per vertex; borders are smoothed along themselves."""
    average = neighbour_average(triangles, len(values))
    weight = np.broadcast_to(np.asarray(amount, float), len(values))[:, None]
    for _ in range(rounds):
        values = values + weight * (average @ values - values)
    return values


class ClosedSurface:
    """Nearest points of a closed surface and on which side of it a point lies, by samples of its triangles."""

    def __init__(self, mesh: Mesh):
        flat = face_normals(mesh)
        flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
        corners = mesh.vertices[mesh.triangles]
        shares = np.array([[4, 1, 1], [1, 4, 1], [1, 1, 4], [2, 2, 2]]) / 6
        self.points = np.concatenate([mesh.vertices, np.einsum("sc,tcx->tsx", shares, corners).reshape(-1, 3)])
        self.normals = np.concatenate([vertex_normals(mesh), np.repeat(flat, len(shares), 0)])
        self.tree = cKDTree(self.points)

    def distance(self, points: Array) -> tuple[Array, Array]:
        """Signed distance [N] (negative inside) and the outward direction [N, 3]."""
        _, nearest = self.tree.query(points)
        direction = self.normals[nearest]
        return ((points - self.points[nearest]) * direction).sum(1), direction

    def keep_clear(self, points: Array, clearance: Array | float, rounds: int = 4) -> Array:
        """Move points out until they are at least `clearance` metres off the surface."""
        for _ in range(rounds):
            distance, direction = self.distance(points)
            points = points + direction * np.maximum(clearance - distance, 0)[:, None]
        return points


def carry_weights(body: Mesh, body_weights: Array, points: Array) -> Array:
    """Blend weights [N, J] of the nearest body surface, blurred a little over the body's triangles."""
    samples = np.concatenate([body.vertices, body.vertices[body.triangles].mean(1)])
    weights = np.concatenate([body_weights, body_weights[body.triangles].mean(1)])
    distance, nearest = cKDTree(samples).query(points, k=6)
    share = 1 / (distance + 1e-3) ** 2
    return np.einsum("nk,nkj->nj", share / share.sum(1, keepdims=True), weights[nearest])


def smoothstep(values: Array | float, start: float, end: float) -> Array:
    t = np.clip((np.asarray(values) - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)
