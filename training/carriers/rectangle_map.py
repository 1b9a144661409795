"""A topological disk flattened onto a rectangle: no triangle flipped, areas as even as the shape allows.

The start is Tutte's embedding (How to draw a graph, 1963). From there a mix of conformal distortion (Hormann and
Greiner, MIPS, 2000) and squared logarithm of area distortion is minimised; boundary vertices slide along their side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu, spsolve

from scale_backend.formats.errors import UserError

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Distortion:
    """What the refinement weighs against each other."""

    shape: float = 0.25  # conformal distortion
    area: float = 3.0  # squared logarithm of area distortion
    barrier: float = 0.01  # keeps triangles from collapsing
    steps: int = 400


DISTORTION = Distortion()


def border_loop(triangles: Index) -> list[int]:
    """The border of a disk in the order its triangles walk it. Raises UserError for anything but one loop."""
    directed = {(int(t[k]), int(t[(k + 1) % 3])) for t in triangles for k in range(3)}
    border = [(a, b) for a, b in directed if (b, a) not in directed]
    following = dict(border)
    loop, here = [], min(following, default=None)
    while here in following:
        loop.append(here)
        here = following.pop(here)
    if following or len(loop) < 4 or len(loop) != len(border):
        raise UserError("A surface to be flattened must be a disk with one border; cut it into such pieces.")
    return loop


def map_to_rectangle(
    vertices: Array,  # [V, 3]
    triangles: Index,  # [T, 3] a disk; all V vertices are used
    corners: list[int],  # 4 border vertices, counter-clockwise from the lower left
    width: float,
    height: float,
    distortion: Distortion = DISTORTION,
    dent: float = 0.0,
) -> Array:  # [V, 2] in [0, width] x [0, height]
    """Flatten a disk. Width and height are taken as a ratio: sizes are scaled so that the mean area is kept.

    Where a triangle has its three corners on one side of the rectangle, the two next to its tip move in by `dent`
    (in the unit of width), else it would have no area. Raises UserError if no start without flips is found.
    """
    area = _areas(vertices, triangles)
    scale = np.sqrt(area.sum() / (width * height))
    size = np.array([width, height]) * scale
    loop = border_loop(triangles)
    first = loop.index(corners[0])
    loop = loop[first:] + loop[:first]
    starts = [loop.index(corner) for corner in corners]
    if starts != sorted(set(starts)):
        raise UserError("The corners of a rectangle must follow each other around the border.")
    sides = [loop[a : b + 1] for a, b in zip(starts, [*starts[1:], len(loop)], strict=True)]
    sides[3].append(loop[0])
    laplacian = _graph_laplacian(triangles, len(vertices))
    for depth in (dent, dent / 4, dent / 16) if dent else (0.0,):
        uv, free = _border_positions(vertices, triangles, sides, size, depth * scale)
        inner = np.setdiff1d(np.arange(len(vertices)), loop)
        right = -(laplacian[inner][:, loop] @ uv[loop])
        if len(inner):
            uv[inner] = spsolve(laplacian[inner][:, inner].tocsc(), right).reshape(-1, 2)
        energy = _Energy(vertices, triangles, area, distortion)
        if np.isfinite(energy.value(uv)):
            return _minimise(energy, uv, free, laplacian, distortion.steps) / scale
    raise UserError("A panel cannot be flattened onto a rectangle: it has triangles that hang on its border.")


def _areas(vertices: Array, triangles: Index) -> Array:  # [T]
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def _graph_laplacian(triangles: Index, count: int) -> sparse.csr_matrix:
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    both = np.concatenate([pairs, pairs[:, ::-1]])
    graph = sparse.coo_matrix((np.ones(len(both)), both.T), (count, count)).tocsr()
    graph.data[:] = 1
    return (sparse.diags(np.asarray(graph.sum(1)).ravel()) - graph).tocsr()


def _border_positions(
    vertices: Array, triangles: Index, sides: list[list[int]], size: Array, dent: float
) -> tuple[Array, NDArray[np.bool_]]:
    """Border vertices by arc length along their side, and which coordinates may move [V, 2]."""
    ends = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
    uv, free = np.zeros((len(vertices), 2)), np.ones((len(vertices), 2), bool)
    for k, side in enumerate(sides):
        steps = np.linalg.norm(np.diff(vertices[side], axis=0), axis=1)
        along = np.concatenate([[0], np.cumsum(steps)])
        along /= along[-1]
        start, end = ends[k], ends[(k + 1) % 4]
        inward = np.array([-(end - start)[1], (end - start)[0]]) / np.linalg.norm(end - start)
        depth = _dent_depths(triangles, side) * dent
        uv[side] = start + (end - start) * along[:, None]
        uv[side] += inward * depth[:, None]
        free[side, 1 - k % 2] = False
    for side, end in zip(sides, ends, strict=True):
        uv[side[0]], free[side[0]] = end, False
    return uv, free


def _dent_depths(triangles: Index, side: list[int]) -> Array:
    """How deep each vertex of a side moves in, in dents: ends of an inner edge deeper than what it cuts off."""
    position = {vertex: i for i, vertex in enumerate(side)}
    chords = {
        tuple(sorted((position[a], position[b])))
        for t in triangles.tolist()
        for a, b in zip(t, t[1:] + t[:1], strict=True)
        if a in position and b in position
    }
    depth = np.zeros(len(side))
    for a, b in sorted(chords, key=lambda chord: chord[1] - chord[0]):
        if b - a > 1 and b - a < len(side) - 1:
            least = depth[a + 1 : b].max() + 1
            depth[a], depth[b] = max(depth[a], least), max(depth[b], least)
    depth[[0, -1]] = 0
    return depth


class _Energy:
    """Area-weighted distortion of a flat map and its gradient. Infinite where a triangle is flipped."""

    def __init__(self, vertices: Array, triangles: Index, area: Array, distortion: Distortion):
        self.triangles, self.distortion = triangles, distortion
        a, b, c = (vertices[triangles[:, k]] for k in range(3))
        length = np.linalg.norm(b - a, axis=1)
        along = (b - a) / length[:, None]
        normal = np.cross(b - a, c - a)
        across = np.cross(normal / np.linalg.norm(normal, axis=1, keepdims=True), along)
        rest = np.zeros((len(triangles), 2, 2))  # columns: the edges ab and ac in the triangle's own plane
        rest[:, 0, 0], rest[:, 0, 1], rest[:, 1, 1] = length, ((c - a) * along).sum(1), ((c - a) * across).sum(1)
        self.inverse = np.linalg.inv(rest)
        self.weight = area / area.sum()

    def _jacobians(self, uv: Array) -> tuple[Array, Array]:  # [T, 2, 2], determinants [T]
        t = self.triangles
        jacobian = np.stack([uv[t[:, 1]] - uv[t[:, 0]], uv[t[:, 2]] - uv[t[:, 0]]], 2) @ self.inverse
        return jacobian, jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]

    def value(self, uv: Array) -> float:
        return self._evaluate(*self._jacobians(uv))

    def _evaluate(self, jacobian: Array, determinant: Array) -> float:
        if not determinant.min() > 1e-9:
            return np.inf
        d = self.distortion
        conformal = (jacobian**2).sum((1, 2)) / (2 * determinant)
        terms = d.shape * (conformal - 1) + d.area * np.log(determinant) ** 2
        return float((self.weight * (terms + d.barrier * (1 / determinant + determinant - 2))).sum())

    def gradient(self, uv: Array) -> tuple[float, Array]:
        """Value and gradient [V, 2]; the value must be finite."""
        jacobian, determinant = self._jacobians(uv)
        d, w, t = self.distortion, self.weight, self.triangles
        square = (jacobian**2).sum((1, 2))
        slope = -d.shape * square / (2 * determinant**2) + 2 * d.area * np.log(determinant) / determinant
        slope = w * (slope + d.barrier * (1 - 1 / determinant**2))
        cofactor = jacobian[:, ::-1, ::-1] * np.array([[1, -1], [-1, 1]])
        by_jacobian = slope[:, None, None] * cofactor + (w * d.shape / determinant)[:, None, None] * jacobian
        by_edges = by_jacobian @ self.inverse.transpose(0, 2, 1)
        gradient = np.zeros_like(uv)
        np.add.at(gradient, t[:, 1], by_edges[:, :, 0])
        np.add.at(gradient, t[:, 2], by_edges[:, :, 1])
        np.add.at(gradient, t[:, 0], -by_edges.sum(2))
        return self._evaluate(jacobian, determinant), gradient


def _minimise(energy: _Energy, uv: Array, free: NDArray[np.bool_], laplacian: sparse.csr_matrix, steps: int) -> Array:
    """L-BFGS with the graph Laplacian as the first guess of the curvature. Never leaves the region without flips."""
    movable = [np.flatnonzero(free[:, axis]) for axis in (0, 1)]
    solvers = [splu((laplacian[m][:, m] + 1e-3 * sparse.eye(len(m))).tocsc()) if len(m) else None for m in movable]

    def precondition(gradient: Array) -> Array:
        result = np.zeros_like(gradient)
        for axis, (rows, solver) in enumerate(zip(movable, solvers, strict=True)):
            if solver is not None:
                result[rows, axis] = solver.solve(gradient[rows, axis])
        return result

    history: list[tuple[Array, Array]] = []
    value, gradient = energy.gradient(uv)
    gradient[~free] = 0
    for step in range(steps):
        direction = -_quasi_newton(gradient, history, precondition)
        descent = (gradient * direction).sum()
        if descent >= 0:
            history, direction = [], -precondition(gradient) * 1e-3
            descent = (gradient * direction).sum()
        length, limit = 1.0, 1e-12
        while length > limit and not energy.value(uv + length * direction) <= value + 1e-4 * length * descent:
            length /= 2
        if length <= limit:
            break
        moved = uv + length * direction
        new_value, new_gradient = energy.gradient(moved)
        new_gradient[~free] = 0
        change = (moved - uv, new_gradient - gradient)
        if (change[0] * change[1]).sum() > 1e-18:
            history = [*history, change][-12:]
        settled = abs(value - new_value) < 1e-7 * max(value, 1e-3)
        uv, gradient, value = moved, new_gradient, new_value
        if settled and step > 50:
            break
    return uv


def _quasi_newton(gradient: Array, history: list[tuple[Array, Array]], precondition: Callable[[Array], Array]) -> Array:
    """The two loops of L-BFGS (Nocedal 1980)."""
    result, shares = gradient.copy(), []
    for step, turn in reversed(history):
        curvature = 1 / (step * turn).sum()
        share = curvature * (step * result).sum()
        shares.append((share, curvature))
        result -= share * turn
    if history:
        step, turn = history[-1]
        scale = (step * turn).sum() / (turn * precondition(turn)).sum()
    else:
        scale = 1e-3
    result = precondition(result) * scale
    for (step, turn), (share, curvature) in zip(history, reversed(shares), strict=True):
        result += step * (share - curvature * (turn * result).sum())
    return result
