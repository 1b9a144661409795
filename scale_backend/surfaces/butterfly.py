"""Vertices between vertices, on a smooth surface through them: the butterfly scheme, and cubic curves on the border.

Each new vertex is a fixed weighted sum of the old ones, and the old ones stay (Dyn, Levin and Gregory 1990; where not
six edges meet, Zorin, Schröder and Sweldens 1996). A skinned carrier is laid out like that before cloth is decoded on
it, else its flat triangles would show; and simulated cloth is known by it between its vertices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from scale_backend.surfaces.subdivision import split_edges

REGULAR = 6  # edges at an inner vertex of a regular mesh

Add = Callable[[np.ndarray, np.ndarray, np.ndarray | float], None]  # edges, vertices, their weights in them


@dataclass(frozen=True)
class Stencils:
    """Vertices as weighted sums of K old ones, padded with weight 0. Rows of weights sum to 1."""

    index: Tensor  # [V, K]
    weights: Tensor  # [V, K] float32, some negative

    def to(self, device: str | torch.device) -> Stencils:
        return Stencils(self.index.to(device), self.weights.to(device))


def butterfly(triangles: Tensor, count: int, rounds: int) -> Stencils:  # [T, 3] of `count` vertices
    """Stencils of the vertices that `subdivide` makes, in its order."""
    return _padded(butterfly_matrix(triangles, count, rounds))


def butterfly_matrix(triangles: Tensor, count: int, rounds: int) -> sparse.csr_matrix:  # [V, count]
    """The same as a matrix."""
    matrix, faces = sparse.identity(count, format="csr"), triangles.cpu()
    for _ in range(rounds):
        matrix = (_round(faces.numpy(), matrix.shape[0]) @ matrix).tocsr()
        faces = split_edges(faces)
    return matrix


def _round(faces: np.ndarray, count: int) -> sparse.csr_matrix:  # [new V, count]
    """One round. Half-edge 3 t + k runs from corner k of triangle t to the next."""
    start = faces.reshape(-1)
    end = np.roll(faces, -1, 1).reshape(-1)
    opposite = np.roll(faces, -2, 1).reshape(-1)
    twin = _twins(start, end, count)
    before = np.arange(len(start)).reshape(-1, 3)[:, [2, 0, 1]].reshape(-1)  # the half-edge before in its triangle
    edge = _edge_numbers(start, end, count)
    border = np.zeros(count, bool)
    border[start[twin < 0]] = border[end[twin < 0]] = True
    valence = np.bincount(start, minlength=count)

    parts = [(np.arange(count), np.arange(count), np.ones(count))]

    def add(rows: np.ndarray, vertices: np.ndarray, weights: np.ndarray | float) -> None:
        parts.append((count + edge[rows], vertices, np.broadcast_to(weights, rows.shape)))

    open_edges = np.flatnonzero(twin < 0)
    _add_border(add, open_edges, start, end, count)
    inner = np.flatnonzero((twin >= 0) & (start < end))
    both = np.stack([inner, twin[inner]], 1)  # the half-edge from each end
    free = ~border[start[both]]
    plain = valence[start[both]] == REGULAR
    regular = (free & plain).all(1)
    _add_regular(add, inner[regular], twin, before, start, end, opposite)
    odd = free & ~plain
    speaking = np.where(odd.any(1, keepdims=True), odd, free) & ~regular[:, None]
    share = speaking / np.maximum(speaking.sum(1, keepdims=True), 1)
    for side in (0, 1):
        chosen = np.flatnonzero(speaking[:, side])
        _add_fan(add, inner[chosen], both[chosen, side], share[chosen, side], valence, twin, before, start, end)
    silent = inner[~regular & ~speaking.any(1)]  # both ends on the border
    add(silent, start[silent], 0.5)
    add(silent, end[silent], 0.5)
    rows, columns, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    matrix = sparse.coo_matrix((weights, (rows, columns)), (count + int(edge.max()) + 1, count)).tocsr()
    return sparse.diags(1 / np.asarray(matrix.sum(1)).ravel()) @ matrix  # an edge that is border twice was added twice


def _add_border(add: Add, edges: np.ndarray, start: np.ndarray, end: np.ndarray, count: int) -> None:
    """Four points in a row; two where the border does not go on in one way."""
    after, behind = np.full(count, -1), np.full(count, -1)
    after[start[edges]], behind[end[edges]] = end[edges], start[edges]
    once = (np.bincount(start[edges], minlength=count) == 1) & (np.bincount(end[edges], minlength=count) == 1)
    straight = once[start[edges]] & once[end[edges]]
    whole, half = edges[straight], edges[~straight]
    for vertices, weight in ((start[whole], 9 / 16), (end[whole], 9 / 16), (behind[start[whole]], -1 / 16),
                             (after[end[whole]], -1 / 16)):  # fmt: skip
        add(whole, vertices, weight)
    add(half, start[half], 0.5)
    add(half, end[half], 0.5)


def _add_regular(
    add: Add,
    edges: np.ndarray,
    twin: np.ndarray,
    before: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    opposite: np.ndarray,
) -> None:
    """The butterfly's eight points."""
    add(edges, start[edges], 1 / 2)
    add(edges, end[edges], 1 / 2)
    for side in (edges, twin[edges]):
        add(edges, opposite[side], 1 / 8)
        last = before[side]
        for wing in (last, before[last]):  # over the two other edges of the triangle; there is one, the ends are inner
            add(edges, opposite[twin[wing]], -1 / 16)


def _add_fan(
    add: Add,
    edges: np.ndarray,
    first: np.ndarray,
    share: np.ndarray,
    valence: np.ndarray,
    twin: np.ndarray,
    before: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
) -> None:
    """The rule of one end: its value and those round it, starting with the edge's other end."""
    add(edges, start[first], 0.75 * share)
    spoke, around = first, valence[start[first]]
    for step in range(int(around.max(initial=0))):
        on = step < around
        add(edges[on], end[spoke[on]], (share * _fan_weight(step, around))[on])
        spoke = np.where(on, twin[before[spoke]], spoke)


def _fan_weight(step: int, around: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi * step / around
    weights = (0.25 + np.cos(angle) + 0.5 * np.cos(2 * angle)) / around
    weights = np.where(around == 3, (5 / 12 if step == 0 else -1 / 12), weights)
    return np.where(around == 4, {0: 3 / 8, 2: -1 / 8}.get(step, 0.0), weights)


def _twins(start: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:  # -1 on the border
    """Edges of more than two triangles, or of two that face opposite ways, count as border."""
    keys, place, uses = np.unique(start.astype(np.int64) * count + end, return_index=True, return_counts=True)
    there, back = (a.astype(np.int64) * count + b for a, b in ((start, end), (end, start)))
    twin = np.searchsorted(keys, back).clip(max=len(keys) - 1)
    single = (keys[twin] == back) & (uses[twin] == 1) & (uses[np.searchsorted(keys, there)] == 1)
    return np.where(single, place[twin], -1)


def _edge_numbers(start: np.ndarray, end: np.ndarray, count: int) -> np.ndarray:
    low, high = np.minimum(start, end).astype(np.int64), np.maximum(start, end)
    return np.unique(low * count + high, return_inverse=True)[1].reshape(-1)


def _padded(matrix: sparse.csr_matrix) -> Stencils:
    counts = np.diff(matrix.indptr)
    index = np.zeros((matrix.shape[0], counts.max()), np.int64)
    weights = np.zeros(index.shape, np.float32)
    there = np.arange(index.shape[1]) < counts[:, None]
    index[there], weights[there] = matrix.indices, matrix.data
    return Stencils(torch.from_numpy(index), torch.from_numpy(weights))
