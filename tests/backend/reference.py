"""A second, straightforward implementation of SCALE's network and articulation: whole map, nothing folded, loops
where loops are clearer. It shares no code with the engine; tests and benchmarks compare against it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as f

from scale_backend.geometry.articulation import patch_frames, vertex_frames
from scale_backend.geometry.positional_map import surface_points
from scale_backend.surfaces.queries import Queries


def batch_norm(x: Tensor, state: dict, name: str) -> Tensor:
    weight, bias = state.get(f"{name}.weight"), state.get(f"{name}.bias")
    return f.batch_norm(x, state[f"{name}.running_mean"], state[f"{name}.running_var"], weight, bias)


def unet(x: Tensor, state: dict, code: Tensor) -> Tensor:
    """The U-Net of scale-method.md, point 3: five steps for a map of 32 pixels, one more for each doubling."""
    steps = len([name for name in state if name.startswith("unet.downs.") and name.endswith("conv.weight")])
    d = [f.conv2d(x, state["unet.downs.0.conv.weight"], stride=2, padding=1)]
    for i in range(1, steps):
        y = f.conv2d(f.leaky_relu(d[-1], 0.2), state[f"unet.downs.{i}.conv.weight"], stride=2, padding=1)
        d.append(batch_norm(y, state, f"unet.downs.{i}.bn") if i < steps - 1 else y)
    y = d[-1]
    for i in range(steps):
        if i:
            y = torch.cat([y, d[steps - 1 - i]], 1)
        name = f"unet.ups.{i}.up"
        if f"{name}.weight" in state:
            y = f.conv_transpose2d(f.relu(y), state[f"{name}.weight"], state.get(f"{name}.bias"), stride=2, padding=1)
        else:
            y = f.interpolate(f.relu(y), scale_factor=2, mode="bilinear", align_corners=False)
            y = f.conv2d(y, state[f"{name}.1.weight"], state.get(f"{name}.1.bias"), padding=1)
        if i < steps - 1:
            normed = batch_norm(y, state, f"unet.ups.{i}.bn.bn")
            gamma, beta = (
                f.conv1d(code[:, :, None], state[f"unet.ups.{i}.bn.{k}.weight"], state[f"unet.ups.{i}.bn.{k}.bias"])
                for k in ("conv_gamma", "conv_beta")
            )
            y = gamma[..., None] * normed + beta[..., None]
    return y


def mlp(x: Tensor, state: dict) -> list[Tensor]:  # [F, C, R] -> [F, 3, R]: residual, normal, and colour if there is one
    """Point 5, as 1x1 convolutions over all points."""

    def layer(y: Tensor, name: str) -> Tensor:
        y = f.conv1d(y, state[f"{name}.conv.weight"], state[f"{name}.conv.bias"])
        return f.softplus(batch_norm(y, state, f"{name}.bn"))

    h = x
    for i in range(4):
        h = layer(h, f"mlp.trunk.{i}")
    h = layer(torch.cat([x, h], 1), "mlp.skip")
    outputs = []
    for branch in ("residual", "normal", "color"):
        if f"mlp.{branch}.2.conv.bias" not in state:
            continue
        y = layer(layer(h, f"mlp.{branch}.0"), f"mlp.{branch}.1")
        outputs.append(f.conv1d(y, state[f"mlp.{branch}.2.conv.weight"], state[f"mlp.{branch}.2.conv.bias"]))
    return outputs


def place(uv: Tensor, frequencies: int, include_input: bool) -> Tensor:  # [F, 2, R] in 0..1 -> [F, C, R]
    """Point 4: raw, or sines of both coordinates and cosines of both, a frequency after the other."""
    if not frequencies:
        return uv
    x = uv * 2 - 1
    rows = [x] if include_input else []
    for k in range(frequencies):
        rows.append(torch.stack([torch.sin(np.pi * 2**k * x[:, 0]), torch.sin(np.pi * 2**k * x[:, 1])], 1))
        rows.append(torch.stack([torch.cos(np.pi * 2**k * x[:, 0]), torch.cos(np.pi * 2**k * x[:, 1])], 1))
    return torch.cat(rows, 1)


def decode_patches(
    state: dict,
    posed: Tensor,  # [F, V, 3] the posed body
    triangles: Tensor,  # [T, 3]
    triangle_index: Tensor,  # [H, W]
    barycentrics: Tensor,  # [H, W, 3]
    valid: Tensor | None = None,  # [H, W] pixels that carry a patch; None: all that a triangle covers
    line: Tensor | None = None,  # [sqrt N] p and q; None: four from 0 to 1
    frequencies: int = 0,  # of the encoding of uv
    include_input: bool = True,
    posmap: Tensor | None = None,  # [F, 3, H, W] where it is given
) -> list[Tensor]:  # points [F, P, N, 3], normals, and colours if the network has them
    """From a posed body to all points of the patches: the whole map, then the valid pixels."""
    frames, size = len(posed), len(triangle_index)
    corner = triangles[triangle_index.clamp_min(0).flatten()]  # [HW, 3]
    v1, v2, v3 = posed[:, corner[:, 0]], posed[:, corner[:, 1]], posed[:, corner[:, 2]]
    weights = barycentrics.flatten(0, 1)
    base = v1 * weights[:, :1] + v2 * weights[:, 1:2] + v3 * weights[:, 2:]
    if posmap is not None:
        base = posmap.flatten(2).transpose(1, 2)
    code = state["latent"] / max(1.0, float(state["latent"].norm()))
    features = unet(base.transpose(1, 2).reshape(frames, 3, size, size), state, code).flatten(2)  # [F, 64, HW]
    row, column = np.divmod(np.arange(size * size), size)
    uv = torch.tensor(np.stack([row, column]) / (size - 1), dtype=torch.float32).expand(frames, -1, -1)
    uv = place(uv, frequencies, include_input)
    line = torch.linspace(0, 1, 4) if line is None else line
    e1, e2 = v2 - v1, v3 - v1
    scale = (e1.norm(dim=-1).mean(1) + e2.norm(dim=-1).mean(1)) / 2
    w = f.normalize(torch.linalg.cross(e1, e2), dim=-1) * scale[:, None, None]
    outputs = []
    for p in line:
        for q in line:
            pq = torch.stack([p, q])[None, :, None].expand(frames, -1, size * size)
            residual, normal, *color = mlp(torch.cat([features, uv, pq], 1), state)
            moved = [e1 * y[:, 0, :, None] + e2 * y[:, 1, :, None] + w * y[:, 2, :, None] for y in (residual, normal)]
            colors = [1 / (1 + torch.exp(-y.transpose(1, 2))) for y in color]
            outputs.append([base + moved[0], f.normalize(moved[1], dim=-1), *colors])
    chosen = (triangle_index >= 0 if valid is None else valid).flatten()
    return [torch.stack(values, 2)[:, chosen] for values in zip(*outputs, strict=True)]


def query_frames(posed: Tensor, queries: Queries, model) -> tuple[Tensor, Tensor]:  # [F, M, 3], [F, M, 3, 3]
    """Base points and local frames of the queries; `model` offers mode, rest, carrier and layout."""
    base = surface_points(posed, queries.corners, queries.weights)
    if model.mode == "patch":
        return base, patch_frames(posed, model.carrier.triangles, model.layout)[:, queries.patch]
    frames = vertex_frames(posed, model.rest).flatten(2)
    return base, surface_points(frames, queries.corners, queries.weights).unflatten(-1, (3, 3))
