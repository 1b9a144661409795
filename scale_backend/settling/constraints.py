"""What a sheet of cloth keeps: the length of its edges, and the distance across each edge, which resists bending."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scale_backend.machine.moving import to_device


@dataclass(frozen=True)
class Pairs:
    """Pairs of vertices that keep their distance, seen from each of the two.

    Rows are padded with the vertex itself, which is no distance away and so asks for nothing.
    """

    index: Tensor  # [V, K] int64, the others of a vertex
    inverse: Tensor  # [V, K] or [F, V, K] 1 / squared rest distance, 1 / square metres; 0 where padded
    share: Tensor  # [V] 1 / number of pairs; 0 for a vertex without any

    def to(self, device: str | torch.device) -> Pairs:
        return to_device(self, device)

    def of(self, rest: Tensor) -> Pairs:  # [V, 3] metres, or [F, V, 3]
        """The same pairs at the distances that another rest shape has, or each frame's has."""
        squared = (rest[..., self.index, :] - rest[..., None, :]).square().sum(-1)
        return replace(self, inverse=torch.where(self.inverse > 0, 1 / squared.clamp_min(1e-12), 0.0))


@dataclass(frozen=True)
class Constraints:
    """All that a sheet keeps, for a rest shape."""

    edges: Pairs
    bends: Pairs  # the corners opposite each other across an edge

    def to(self, device: str | torch.device) -> Constraints:
        return to_device(self, device)

    def of(self, rest: Tensor) -> Constraints:  # [V, 3] metres
        return Constraints(self.edges.of(rest), self.bends.of(rest))

    def __len__(self) -> int:
        return len(self.edges.share)


def sheet_constraints(triangles: Tensor, rest: Tensor) -> Constraints:  # [T, 3], [V, 3] metres
    """Of a triangle mesh in its rest shape."""
    edges, corners = _edges(triangles.cpu().numpy().astype(np.int64))
    inner = corners[:, 1] >= 0
    count = len(rest)
    return Constraints(_pairs(edges, count), _pairs(corners[inner], count)).of(rest)


def _edges(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [T, 3] -> [E, 2] and [E, 2]
    """The edges, and the corners of their one or two triangles opposite them; -1 where there is none."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    opposite = np.concatenate([triangles[:, 2], triangles[:, 0], triangles[:, 1]])
    edges, number = np.unique(np.sort(sides, 1), axis=0, return_inverse=True)
    order = np.argsort(number.ravel(), kind="stable")
    starts = np.searchsorted(number.ravel()[order], np.arange(len(edges) + 1))
    second = np.where(np.diff(starts) == 2, opposite[order[np.minimum(starts[:-1] + 1, len(order) - 1)]], -1)
    return edges, np.stack([opposite[order[starts[:-1]]], second], 1)


def _pairs(pairs: np.ndarray, count: int) -> Pairs:  # [E, 2]
    """Without distances yet: 1 stands for them."""
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    ends = ends[np.lexsort((ends[:, 1], ends[:, 0]))]
    degree = np.bincount(ends[:, 0], minlength=count)
    column = np.arange(len(ends)) - (np.cumsum(degree) - degree)[ends[:, 0]]
    index = np.tile(np.arange(count)[:, None], (1, max(1, degree.max(initial=0))))
    index[ends[:, 0], column] = ends[:, 1]
    present = np.zeros(index.shape, np.float32)
    present[ends[:, 0], column] = 1
    share = np.divide(1.0, degree, out=np.zeros(count), where=degree > 0)
    return Pairs(torch.from_numpy(index), torch.from_numpy(present), torch.from_numpy(share).float())
