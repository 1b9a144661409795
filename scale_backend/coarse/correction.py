"""What coarse cloth lacks in the mean: a small network that was shown where simulated cloth was."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from scale_backend.machine.moving import to_device

ARM = 0.1  # metres from a joint to the points that show how it is turned
MOTION_SCALE = 2.0  # of differences to the present
SHAPE_SCALE = 0.5
FARTHEST = 0.3  # metres that a vertex is moved: further is no answer


@dataclass(frozen=True)
class Correction:
    """Three layers: I features, H hidden numbers twice, C vertices. K fabrics."""

    first: Tensor  # [H, I]
    first_bias: Tensor  # [H]
    fabric: Tensor  # [H, K] of the first layer
    second: Tensor  # [H, H]
    second_bias: Tensor  # [H]
    last: Tensor  # [3 C, H]
    last_bias: Tensor  # [3 C]

    def to(self, device: str | torch.device) -> Correction:
        return to_device(self, device)

    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __call__(self, features: Tensor, fabrics: Tensor) -> Tensor:  # [F, I], [F or 1, K] -> [F, C, 3] metres
        hidden = silu(linear(features, self.first, self.first_bias) + fabrics @ self.fabric.T)
        answer = linear(silu(linear(hidden, self.second, self.second_bias)), self.last, self.last_bias)
        moved = answer.unflatten(1, (-1, 3))
        return moved * (FARTHEST / moved.norm(dim=-1, keepdim=True).clamp_min(FARTHEST))


def feature_count(lags: int, joints: int, shapes: int, vertices: int) -> int:
    return (lags + 1) * joints * 9 + 3 + shapes + 3 * vertices


def features(
    transforms: Tensor,  # [F, L + 1, J, 3, 4] of the joints at the earlier moments, then now, as the root sees them
    joints: Tensor,  # [J, 3] at rest
    down: Tensor,  # [F, 3] unit, as the root sees it
    shape: Tensor,  # [F, S]
    fallen: Tensor,  # [F, C, 3] metres
) -> Tensor:  # [F, I]
    """Three points of each joint now and how they moved, what is down, the body's shape, and the coarse cloth."""
    arms = ARM * torch.eye(3, device=joints.device)[:2]
    points = torch.cat([joints[:, None], joints[:, None] + arms], 1)  # [J, 3, 3]
    placed = torch.einsum("fljac,jkc->fljka", transforms[..., :3], points) + transforms[:, :, :, None, :, 3]
    now = placed[:, -1:]
    moved = torch.cat([MOTION_SCALE * (placed[:, :-1] - now), now], 1).flatten(1)
    return torch.cat([moved, down, SHAPE_SCALE * shape, fallen.flatten(1)], 1)
