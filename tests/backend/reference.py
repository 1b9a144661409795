"""A second, straightforward implementation of SCALE's network and articulation: whole map, nothing folded, loops
where loops are clearer. It shares no code with the engine; tests and benchmarks compare against it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as f


def batch_norm(x: Tensor, state: dict, name: str) -> Tensor:
    weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
    return f.batch_norm(x, state[f"{name}.running_mean"], state[f"{name}.running_var"], weight, bias)


def unet(x: Tensor, state: dict, code: Tensor) -> Tensor:
    """The five-step U-Net of scale-method.md, point 3."""
    d = [f.conv2d(x, state["unet.downs.0.conv.weight"], stride=2, padding=1)]
    for i in range(1, 5):
        y = f.conv2d(f.leaky_relu(d[-1], 0.2), state[f"unet.downs.{i}.conv.weight"], stride=2, padding=1)
        d.append(batch_norm(y, state, f"unet.downs.{i}.bn") if i < 4 else y)
    y = d[4]
    for i in range(5):
        if i:
            y = torch.cat([y, d[4 - i]], 1)
        bias = state.get(f"unet.ups.{i}.up.bias")
        y = f.conv_transpose2d(f.relu(y), state[f"unet.ups.{i}.up.weight"], bias, stride=2, padding=1)
        if i < 4:
            normed = batch_norm(y, state, f"unet.ups.{i}.bn.bn")
            gamma, beta = (
                f.conv1d(code[:, :, None], state[f"unet.ups.{i}.bn.{k}.weight"], state[f"unet.ups.{i}.bn.{k}.bias"])
                for k in ("conv_gamma", "conv_beta")
            )
            y = gamma[..., None] * normed + beta[..., None]
    return y


def mlp(x: Tensor, state: dict) -> tuple[Tensor, Tensor]:  # [F, C, R] -> [F, 3, R] x 2
    """Point 5, as 1x1 convolutions over all points."""

    def layer(y: Tensor, name: str) -> Tensor:
        y = f.conv1d(y, state[f"{name}.conv.weight"], state[f"{name}.conv.bias"])
        return f.softplus(batch_norm(y, state, f"{name}.bn"))

    h = x
    for i in range(4):
        h = layer(h, f"mlp.trunk.{i}")
    h = layer(torch.cat([x, h], 1), "mlp.skip")
    outputs = []
    for branch in ("residual", "normal"):
        y = layer(layer(h, f"mlp.{branch}.0"), f"mlp.{branch}.1")
        outputs.append(f.conv1d(y, state[f"mlp.{branch}.2.conv.weight"], state[f"mlp.{branch}.2.conv.bias"]))
    return outputs[0], outputs[1]


def decode_patches(
    state: dict,
    posed: Tensor,  # [F, V, 3] the posed body
    triangles: Tensor,  # [T, 3]
    triangle_index: Tensor,  # [H, W]
    barycentrics: Tensor,  # [H, W, 3]
) -> tuple[Tensor, Tensor]:  # points [F, P, 16, 3], normals
    """From a posed body to all points of the patches: the whole map, then the valid pixels."""
    frames, size = len(posed), len(triangle_index)
    corner = triangles[triangle_index.clamp_min(0).flatten()]  # [HW, 3]
    v1, v2, v3 = posed[:, corner[:, 0]], posed[:, corner[:, 1]], posed[:, corner[:, 2]]
    weights = barycentrics.flatten(0, 1)
    base = v1 * weights[:, :1] + v2 * weights[:, 1:2] + v3 * weights[:, 2:]
    code = state["latent"] / max(1.0, float(state["latent"].norm()))
    features = unet(base.transpose(1, 2).reshape(frames, 3, size, size), state, code).flatten(2)  # [F, 64, HW]
    row, column = np.divmod(np.arange(size * size), size)
    uv = torch.tensor(np.stack([row, column]) / (size - 1), dtype=torch.float32).expand(frames, -1, -1)
    line = torch.linspace(0, 1, 4)
    e1, e2 = v2 - v1, v3 - v1
    scale = (e1.norm(dim=-1).mean(1) + e2.norm(dim=-1).mean(1)) / 2
    w = f.normalize(torch.linalg.cross(e1, e2), dim=-1) * scale[:, None, None]
    points, normals = [], []
    for p in line:
        for q in line:
            pq = torch.stack([p, q])[None, :, None].expand(frames, -1, size * size)
            residual, normal = mlp(torch.cat([features, uv, pq], 1), state)
            moved = [e1 * y[:, 0, :, None] + e2 * y[:, 1, :, None] + w * y[:, 2, :, None] for y in (residual, normal)]
            points.append(base + moved[0])
            normals.append(f.normalize(moved[1], dim=-1))
    valid = triangle_index.flatten() >= 0
    return torch.stack(points, 2)[:, valid], torch.stack(normals, 2)[:, valid]
