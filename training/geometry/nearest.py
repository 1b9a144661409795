"""Exact nearest neighbours, the fastest way there is: pytorch3d's on a GPU that has it, all distances in chunks on a
GPU that has not, a k-d tree on the CPU."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from scale_backend.formats.errors import UserError

CHUNK_ELEMENTS = 2**27  # distances held at once on a GPU


def nearest(query: Tensor, target: Tensor, workers: int = 1) -> tuple[Tensor, Tensor]:
    """For each query point [M, 3] the squared distance [M] to the nearest target point [n, 3], and its index [M].

    The distance carries gradients to both point sets.
    """
    index = nearest_index(query.detach(), target.detach(), workers)
    return (query - target[index]).square().sum(-1), index


def nearest_index(query: Tensor, target: Tensor, workers: int = 1) -> Tensor:  # [M, 3], [n, 3] -> [M] int64
    if not len(target):
        raise UserError("There are no points to look for neighbours among.")
    if query.device.type == "cuda" and find_spec("pytorch3d"):
        from pytorch3d.ops import knn_points

        return knn_points(query[None].float(), target[None].float(), K=1).idx[0, :, 0]
    if query.device.type == "cpu":
        from scipy.spatial import cKDTree

        tree = cKDTree(target.float().numpy(), balanced_tree=False, compact_nodes=False)
        return torch.from_numpy(tree.query(query.float().numpy(), workers=workers)[1]).long()
    rows = max(1, CHUNK_ELEMENTS // len(target))
    chunks = [_brute_force(part, target) for part in query.float().split(rows)]
    return torch.cat(chunks)


def _brute_force(query: Tensor, target: Tensor) -> Tensor:
    # differences, not |x|² + |y|² - 2xy: that loses the millimetres of near points
    return torch.cdist(query, target.float(), compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
