"""Whether a packed frame belongs to a body. Counts do not tell: SMPL and the free body have the same."""

from __future__ import annotations

import torch
from torch import Tensor

from scale_backend.geometry.carrier import Carrier
from scale_backend.geometry.positional_map import UVLayout

COVERED = 0.005  # metres from the origin, which no skin is near to: background is 0
MOST_STRAY = 0.05  # share of the pixels that may be covered in the map alone or in the layout alone
STRETCHED = 1.5  # times the mean edge at rest: a body's edges keep their lengths, whatever its pose and shape
OFF = 0.02  # metres, median, between the map and the body's surface


def what_differs(
    carrier: Carrier,
    layout: UVLayout,
    positional_map: Tensor,  # [H, W, 3]
    vertices: Tensor,  # [V, 3]
) -> str:
    """In which a frame is no frame of this body, as the end of a sentence; "" where it is one."""
    if len(vertices) != len(carrier.template):
        return f"has a body of {len(vertices)} vertices, not of {len(carrier.template)}"
    edge, at_rest = (_mean_edge(places, carrier.triangles) for places in (vertices, carrier.template))
    if edge > STRETCHED * at_rest:
        return (f"has a body whose vertices lie in another order: with this one's triangles its edges are {edge:.2f} m "
                f"long on average, not {at_rest:.3f}")  # fmt: skip
    covered, expected = positional_map.norm(dim=-1) > COVERED, layout.triangle_index >= 0
    stray = int((layout.mask & ~covered).sum() + (covered & ~expected).sum())
    if stray > MOST_STRAY * int(layout.mask.sum()):
        return (f"has another UV layout: {int(covered.sum())} pixels of its map are covered, "
                f"{int(expected.sum())} of this body's, {stray} of them elsewhere")  # fmt: skip
    corners = vertices[carrier.triangles[layout.triangle_index[layout.mask]]]  # [P, 3, 3]
    places = (corners * layout.barycentrics[layout.mask][..., None]).sum(1)
    off = float((places - positional_map[layout.mask]).norm(dim=-1).median())
    if off > OFF:
        return f"has a map that is not of its body: they are {off:.2f} m apart"
    return ""


def _mean_edge(vertices: Tensor, triangles: Tensor) -> float:
    corners = vertices[triangles]
    return float(torch.stack([(corners[:, i] - corners[:, i - 1]).norm(dim=-1) for i in range(3)]).mean())
