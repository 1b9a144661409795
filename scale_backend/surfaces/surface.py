"""What a surface kind is to the decoder: where the network is asked, and how vertices come from its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scale_backend.formats.topology import Topology
from scale_backend.geometry.gathering import gather_sum
from scale_backend.machine.moving import to_device
from scale_backend.surfaces.butterfly import Stencils
from scale_backend.surfaces.queries import Queries
from scale_backend.surfaces.seams import Seams
from scale_backend.surfaces.smoothing import Smoothing

NO_TRIANGLES = np.zeros((0, 3), np.int32)
RestDecoder = Callable[[Queries], tuple[Tensor, Tensor]]  # points and unit normals [M, 3] in the rest pose


@dataclass(frozen=True)
class Binding:
    """Vertices as weighted means of decoded points, smoothed: each patch has an error of its own."""

    index: Tensor  # [V, K] into the queries
    weights: Tensor  # [V, K], rows sum to 1
    smoothing: Smoothing

    def to(self, device: str | torch.device) -> Binding:
        return to_device(self, device)

    def means(self, values: Tensor) -> Tensor:  # [F, M, C] -> [F, V, C]
        """What decoded points have, at the vertices."""
        return gather_sum(values, self.index, self.weights)

    def vertices(self, points: Tensor) -> Tensor:  # [F, M, 3] -> [F, V, 3]
        return self.smoothing(self.means(points))


@dataclass(frozen=True)
class DecodedSurface:
    """A surface kind of one garment: what is decoded. What it holds stays the same from frame to frame."""

    queries: Queries
    topology: Topology
    binding: Binding | Seams | None = None  # None: the decoded points are the vertices
    stencils: Stencils | None = None  # of a mesh's vertices on the rest mesh's; None: it is made otherwise


def unconnected(queries: Queries) -> DecodedSurface:
    """Points alone."""
    return DecodedSurface(queries, Topology(NO_TRIANGLES, queries.patch.cpu().numpy().astype(np.int32)))
