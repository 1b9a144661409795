"""Pairs of vertices laid out for vector code: vertices with as many pairs together, a block a vector."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scale_backend.settling.constraints import Constraints


class Blocks:
    """B blocks of so many lanes. Groups of vertices follow one another; each one's last vertex fills its last block."""

    def __init__(self, constraints: Constraints, lanes: int, groups: list[Tensor] | None = None):
        self.lanes, self.constraints = lanes, constraints
        edges, bends = constraints.edges, constraints.bends
        count = len(constraints)
        degree, bend_degree = ((pairs.inverse > 0).sum(1) for pairs in (edges, bends))
        parts, start = [], 0
        self.place = torch.empty(count, dtype=torch.long)  # of each vertex in the order
        for group in groups or [torch.arange(count)]:
            order = group[torch.argsort(degree[group] * (1 << 16) + bend_degree[group], stable=True)]
            self.place[order] = torch.arange(start, start + len(order))
            parts.append(torch.cat([order, order[-1:].expand(-len(order) % lanes)]))
            start += len(parts[-1])
        self.order = torch.cat(parts)  # [B lanes]
        self.columns = [self._columns(d) for d in (degree, bend_degree)]
        starts = [np.concatenate([[0], np.cumsum(c)]) for c in self.columns]
        first = starts[0][-1]
        self.table = torch.from_numpy(
            np.stack([starts[0][:-1], self.columns[0], first + starts[1][:-1], self.columns[1]], 1).astype(np.int64)
        )  # [B, 4]
        index = [self.laid(self.place[p.index], c) for p, c in zip((edges, bends), self.columns, strict=True)]
        self.index = torch.cat(index).int().contiguous()  # [rows, lanes]

    def __len__(self) -> int:
        return len(self.table)

    def lengths(self, constraints: Constraints) -> Tensor:  # [rows, lanes]
        """Of the same pairs at other distances."""
        kinds = zip((constraints.edges, constraints.bends), self.columns, strict=True)
        return torch.cat([self.laid(pairs.inverse, columns) for pairs, columns in kinds]).contiguous()

    def laid(self, values: Tensor, columns: np.ndarray) -> Tensor:  # [V, K] -> [sum of columns, lanes]
        """A block's rows turned to columns, without those that no vertex of it needs."""
        rows = values[self.order].unflatten(0, (-1, self.lanes)).mT  # [B, K, lanes]
        wanted = torch.arange(rows.shape[1])[None] < torch.from_numpy(columns)[:, None]
        return rows[wanted]

    def blocked(self, values: Tensor) -> Tensor:  # [V, C] -> [B, C, lanes]
        return values[self.order].unflatten(0, (-1, self.lanes)).mT.contiguous()

    def _columns(self, degree: Tensor) -> np.ndarray:  # [V] -> [B] vectors that a block needs
        return degree[self.order].view(-1, self.lanes).amax(1).numpy()
