"""What is computed once for a surface and then used by each frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from scale_backend.geometry.articulation import VertexRings
from scale_backend.inference.folded_mlp import Place
from scale_backend.surfaces import Binding
from scale_backend.surfaces.queries import Queries


@dataclass(frozen=True)
class Prepared:
    """A surface kind made ready: its queries, what they add to the network's layers, its topology."""

    queries: Queries
    place: Place | Tensor  # as the decoder's MLP has it
    topology: dict[str, np.ndarray]
    rings: VertexRings | None  # of a mesh whose normals are those of its faces; None: the network's normals
    binding: Binding | None  # of vertices to decoded points; None: the points are the vertices
