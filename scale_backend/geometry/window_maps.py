"""What a network sees of a window of moments: a positional map, its difference to earlier ones, where down is.

Skinning is linear in the joints' transforms, and so is a pixel of the positional map: a map is one small product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.formats.window import Window
from scale_backend.geometry.body import Body, joint_transforms

MOTION_SCALE = 2.0  # of the differences, metres: about as large as the positional map's own numbers
DOWN = (0.0, -1.0, 0.0)  # SMPL's axes


@dataclass(frozen=True)
class Past:
    """The earlier moments of F poses."""

    rotations: Tensor  # [F, L, J, 3, 3] local, the root's in the world
    translation: Tensor  # [F, L, 3] metres


def pixel_skin(
    vertices: Tensor,  # [F or 1, V, 3] the carrier at rest
    blend_weights: Tensor,  # [V, J]
    corners: Tensor,  # [H W, 3] of each pixel's triangle
    weights: Tensor,  # [H W, 3] barycentrics, 0 on background
) -> Tensor:  # [F or 1, 4 J, H W]
    """Transforms [3, 4 J] times this are the positional map [3, H W]."""
    rest = torch.nn.functional.pad(vertices, (0, 1), value=1.0)  # [F, V, 4]
    shares = blend_weights[corners] * weights[..., None]  # [H W, 3, J]
    return torch.einsum("pkj,fpkc->fjcp", shares, rest[:, corners]).flatten(1, 2).contiguous()


def window_maps(
    now: Tensor,  # [F, H W, 3] the positional map, without the root's turn and place
    rotations: Tensor,  # [F, J, 3, 3] local, the root's in the world
    translation: Tensor,  # [F, 3] metres
    past: Past | None,
    skin: Tensor | None,  # [F or 1, 4 J, H W] of `pixel_skin`; None where `past` is None
    body: Body,
    window: Window,
    shape: Tensor | None = None,  # [F, S] the body's, where the network sees it
    motion: float = 1.0,  # 0: as if nothing had moved
    down: Tensor | None = None,  # [F, 3] unit; None: along -Y
    fallen: Tensor | None = None,  # [F, H W, 3] metres, of the coarse cloth; for windows that have some
) -> Tensor:  # [F, H W, C]
    """All channels of the network's input. `past` may be None for a window without lags, and where nothing moved."""
    channels = [now]
    if fallen is not None:
        channels.append(fallen * MOTION_SCALE)
    elif window.lags:
        if past is None or skin is None or motion == 0:
            channels.append(now.new_zeros(*now.shape[:2], 3 * len(window.lags)))
        else:
            seen = _seen(earlier_transforms(rotations, translation, past, body, shape), skin)
            moved = (seen - now[:, None]) * (MOTION_SCALE * motion)  # [F, L, H W, 3]
            channels.append(moved.transpose(1, 2).flatten(2))
    if window.gravity:
        channels.append(falls(rotations, down)[:, None].expand_as(now))
    return torch.cat(channels, -1) if len(channels) > 1 else now


def earlier_transforms(
    rotations: Tensor,  # [F, J, 3, 3] local, the root's in the world
    translation: Tensor,  # [F, 3] metres
    past: Past,
    body: Body,
    shape: Tensor | None = None,  # [F, S]
) -> Tensor:  # [F, L, J, 3, 4]
    """Of the joints at earlier moments, as the root of now sees them: it is the origin and is not turned."""
    frames, lags = past.rotations.shape[:2]
    local = past.rotations.flatten(0, 1).clone()
    local[:, 0] = torch.eye(3, device=local.device)
    shapes = None if shape is None else shape.repeat_interleave(lags, 0)
    pelvis = body.rest_joints(shapes)[:, 0].expand(len(local), 3)
    transforms = joint_transforms(body, local, -pelvis, shapes)[:, :, :3]  # [F L, J, 3, 4]
    back = rotations[:, None, 0].mT  # [F, 1, 3, 3]
    turn = (back @ past.rotations[:, :, 0]).flatten(0, 1)[:, None]  # [F L, 1, 3, 3]
    shift = (back @ (past.translation - translation[:, None])[..., None]).flatten(0, 1)  # [F L, 3, 1]
    transforms = turn @ transforms
    transforms[..., 3] += shift[:, None, :, 0]
    return transforms.unflatten(0, (frames, lags))


def _seen(transforms: Tensor, skin: Tensor) -> Tensor:  # [F, L, J, 3, 4], [F or 1, 4 J, H W] -> [F, L, H W, 3]
    """Earlier positional maps."""
    rows = transforms.transpose(2, 3).flatten(1, 2).flatten(2)  # [F, 3 L, 4 J]
    return (rows @ skin).unflatten(1, (transforms.shape[1], 3)).mT


def falls(rotations: Tensor, down: Tensor | None) -> Tensor:  # [F, J, 3, 3], [F, 3] in the world -> [F, 3]
    """Where things fall, as the root sees it; None: along -Y."""
    root = rotations[:, 0]
    world = root.new_tensor(DOWN).expand(len(root), 3) if down is None else down
    return (world[:, None] @ root)[:, 0]
