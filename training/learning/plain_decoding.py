"""The network's answer for posed frames, put into place: what training compares and `scale-train test` writes.

Plain and differentiable; the fast engine that users decode with is scale_backend/decoding/decoder.py.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.geometry.articulation import articulate, turned_normals
from scale_backend.geometry.positional_map import surface_points
from scale_backend.model.network import NetworkSettings, ScaleNetwork
from scale_backend.surfaces.queries import Queries, grid_queries, patch_queries, sample_features
from training.learning.dataset import Groundwork, PosedFrames


@dataclass(frozen=True)
class Decoded:
    points: Tensor  # [F, M, 3]
    normals: Tensor | None  # [F, M, 3]
    offset: Tensor  # [F, M, 3] articulated residual
    colors: Tensor | None = None  # [F, M, 3] in 0..1


def mixed_precision(device: torch.device, precision: str) -> AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def point_queries(groundwork: Groundwork, settings: NetworkSettings) -> Queries:
    """All P N points of a groundwork, patch by patch, on its device."""
    on_host = groundwork.to("cpu")
    make = patch_queries if groundwork.mode == "patch" else grid_queries
    return make(on_host.carrier, on_host.layout, settings).to(groundwork.body.template.device)


def decode_points(
    network: ScaleNetwork,
    groundwork: Groundwork,
    posed: PosedFrames,
    chosen: Tensor,  # [F] of the posed frames
    queries: Queries,
    precision: str = "float32",
) -> Decoded:
    """Points in normalised space."""
    with mixed_precision(posed.maps.device, precision):
        features = sample_features(network.pose_features(posed.maps[chosen]), queries)
        if network.settings.colors:
            residual, normal, colors = network.decode_colored(features, queries.uv, queries.pq)
        else:
            (residual, normal), colors = network.decode(features, queries.uv, queries.pq), None
    assert normal is not None  # points always have the network's
    base, frames = posed.base[chosen], posed.frames[chosen]
    if groundwork.mode == "patch":
        base, frames = base[:, queries.patch], frames[:, queries.patch]
    else:
        base = surface_points(base, queries.corners, queries.weights)
        frames = surface_points(frames.flatten(2), queries.corners, queries.weights).unflatten(-1, (3, 3))
        normal = normal + surface_points(groundwork.rest.normals[None], queries.corners, queries.weights)
    points = articulate(base, frames, residual)
    return Decoded(points, turned_normals(frames, normal), points - base, colors)
