"""The carrier: the skinned surface that patches ride on. The body itself, or a garment's own rest surface."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scale_backend.formats.errors import UserError
from scale_backend.geometry.body import Body, joint_transforms, pose_vertices, shaped_vertices, skin
from scale_backend.machine.moving import to_device

KINDS = ("body", "garment")


@dataclass(frozen=True)
class Carrier:
    """A surface with a UV layout, skinned to the body's joints. Rest pose of the body it belongs to."""

    kind: str  # "body" or "garment"
    template: Tensor  # [V, 3] metres
    triangles: Tensor  # [T, 3] int64
    blend_weights: Tensor  # [V, J]
    shape_components: Tensor  # [V, 3, S]
    uv: Tensor  # [U, 2]
    uv_triangles: Tensor  # [T, 3] int64
    region: Tensor | None = None  # [V] uint8, index into region_names
    region_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"A carrier is one of {KINDS}, not '{self.kind}'.")
        if len(self.triangles) != len(self.uv_triangles):
            raise ValueError(f"{len(self.triangles)} triangles but {len(self.uv_triangles)} UV triangles.")

    def to(self, device: str | torch.device) -> Carrier:
        return to_device(self, device)


def body_carrier(body: Body) -> Carrier:
    """The body as its own carrier: the paper's case. Raises UserError for a body without UVs."""
    if body.uv is None or body.uv_triangles is None:
        raise UserError(f"The body '{body.name}' has no UV layout; import it with its UV template.")
    return Carrier("body", body.template, body.triangles, body.blend_weights, body.shape_components, body.uv,
                   body.uv_triangles)  # fmt: skip


def pose_carrier(
    carrier: Carrier,
    body: Body,
    rotations: Tensor,  # [F, J, 3, 3]
    translation: Tensor | None = None,  # [F, 3]
    shape: Tensor | None = None,  # [F, S]
    transforms: Tensor | None = None,  # [F, J, 4, 4] where they are known already
) -> Tensor:  # [F, V, 3]
    """The carrier in a pose of the body."""
    if carrier.kind == "body":
        return pose_vertices(body, rotations, translation, shape, transforms)
    if transforms is None:
        transforms = joint_transforms(body, rotations, translation, shape)
    vertices = shaped_vertices(carrier.template, carrier.shape_components, shape)
    return skin(vertices, carrier.blend_weights, transforms)
