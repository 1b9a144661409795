"""The carrier made of a garment's own rest surface."""

from __future__ import annotations

import numpy as np
import torch

from scale_backend.geometry.body import Body
from scale_backend.geometry.carrier import Carrier
from training.carriers.binding import (
    DIFFUSION,
    Diffusion,
    carry_shape_components,
    clothed_weights,
    diffuse_blend_weights,
    find_contact,
)
from training.carriers.uv_packing import pack_panels
from training.frames.raw_frames import RawGarment

MAP_SIZE = 32


def build_garment_carrier(
    garment: RawGarment, body: Body, size: int = MAP_SIZE, diffusion: Diffusion = DIFFUSION
) -> Carrier:
    """Charts, blend weights and shape components of a simulated garment, on the body it was simulated on.

    Raises UserError where a panel is no disk.
    """
    uv, uv_triangles = pack_panels(garment.vertices, garment.triangles, garment.panel, size)
    mesh = garment.vertices, garment.triangles
    contact = find_contact(*mesh, body.template.cpu().numpy(), body.triangles.cpu().numpy())
    skin_weights = contact.carry(clothed_weights(body.blend_weights.cpu().numpy(), body.parents, body.joint_names))
    pinned_weights = clothed_weights(garment.blend_weights, body.parents, body.joint_names)
    components = body.shape_components.cpu().numpy()
    skin_components = contact.carry(components.reshape(len(components), -1)).reshape(-1, *components.shape[1:])
    weights = diffuse_blend_weights(*mesh, skin_weights, contact.distance, diffusion, garment.pin, pinned_weights)
    shapes = carry_shape_components(*mesh, skin_components, contact.distance, diffusion)
    return Carrier(
        kind="garment",
        template=torch.from_numpy(np.asarray(garment.vertices, np.float32)),
        triangles=torch.from_numpy(np.asarray(garment.triangles, np.int64)),
        blend_weights=torch.from_numpy(weights.astype(np.float32)),
        shape_components=torch.from_numpy(shapes.astype(np.float32)),
        uv=torch.from_numpy(uv),
        uv_triangles=torch.from_numpy(uv_triangles.astype(np.int64)),
        region=torch.from_numpy(np.asarray(garment.region, np.uint8)),
        region_names=tuple(garment.region_names),
    )
