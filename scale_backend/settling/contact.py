"""The body in the sweeps: each vertex of the cloth stays above the skin at the body's vertex nearest to it."""

from __future__ import annotations

import torch
from torch import Tensor

from scale_backend.geometry.collision import MARGIN, REACH, SLACK, Skin, nearest_vertices
from scale_backend.settling.sweeps import Planes

HEIGHT = MARGIN - SLACK  # a tangent plane lies above the skin round its vertex; what is still too low is lifted last


def contact_planes(points: Tensor, skin: Skin) -> Planes:  # [F, V, 3] the network's answer
    """Half-spaces for cloth within reach of the skin; none for the rest."""
    if skin.trees is None:
        distance, nearest = torch.cdist(points, skin.vertices).min(-1)
        near = distance < REACH
    else:
        nearest, near = nearest_vertices(points, skin, REACH)
    index = nearest[..., None].expand(-1, -1, 3)
    normal = skin.normals.gather(1, index) * near[..., None]
    offset = (normal * skin.vertices.gather(1, index)).sum(-1) + HEIGHT * near
    return Planes(normal, offset)
