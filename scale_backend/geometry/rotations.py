"""Rotations as torch tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def matrix_from_axis_angle(axis_angle: Tensor) -> Tensor:  # [..., 3] radians -> [..., 3, 3]
    """Rodrigues' formula."""
    angle = axis_angle.norm(dim=-1, keepdim=True)
    x, y, z = (axis_angle / angle.clamp_min(1e-12)).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    angle = angle[..., None]
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)


def shortest_rotation(start: Tensor, end: Tensor) -> Tensor:  # [K, 3], [..., K, 3] unit -> [..., K, 3, 3]
    """The rotation by the smallest angle that takes one direction to another; of opposite ones it is not defined."""
    axis = torch.linalg.cross(start.expand_as(end), end)
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    cosine = (start * end).sum(-1)[..., None, None]
    return torch.eye(3, dtype=end.dtype, device=end.device) + cross + cross @ cross / (1 + cosine).clamp_min(1e-6)
