"""A garment on a body on one device: all that decoding a frame reads. Nothing in it changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scale_backend.geometry.articulation import RestFrames, rest_frames
from scale_backend.geometry.body import Body
from scale_backend.geometry.carrier import Carrier
from scale_backend.geometry.collision import Collider, garment_collider
from scale_backend.geometry.positional_map import UVLayout
from scale_backend.inference.choice import mlp_of
from scale_backend.inference.convolutions import MatrixUNet
from scale_backend.inference.folding import FoldedNetwork, fold
from scale_backend.inference.mlp import InferenceMLP
from scale_backend.inference.precision import Precision
from scale_backend.machine.cores import Cores
from scale_backend.model.garment import Garment

if TYPE_CHECKING:
    from scale_backend.wearer.fit import Fit


@dataclass(frozen=True)
class Model:
    """P patches, a map of H x W pixels, a carrier of V vertices."""

    garment: Garment
    body: Body
    carrier: Carrier
    host_carrier: Carrier  # the same on the host
    layout: UVLayout
    pixels: Tensor  # [P] numbers of the valid pixels
    pixel_corners: Tensor  # [H W, 3] vertices of the triangle under each pixel
    pixel_weights: Tensor  # [H W, 3] barycentrics, 0 on background
    rest: RestFrames
    collider: Collider
    collider_weights: Tensor  # [C, J]
    network: FoldedNetwork
    unet: MatrixUNet | None  # the U-Net as matrix products; None: as torch has it
    mlp: InferenceMLP
    cores: Cores
    fit: Fit | None  # to a wearer with another body; None: on the garment's own
    tiled: bool  # the cores share a frame's pieces; a GPU takes a batch as a whole
    device: torch.device

    @classmethod
    def of(cls, garment: Garment, body: Body, device: torch.device, cores: Cores, precision: Precision) -> Model:
        """Raises GarmentError where garment and body do not fit each other."""
        carrier = garment.carrier_on(body)
        on_cpu = device.type == "cpu"
        folded = fold(garment.network)
        network, there, layout = folded.to(device), carrier.to(device), garment.layout.to(device)
        collider = garment_collider(body, carrier.blend_weights).to(device)
        return cls(
            garment=garment,
            body=body.to(device),
            carrier=there,
            host_carrier=carrier,
            layout=layout,
            pixels=garment.layout.mask.flatten().nonzero()[:, 0].to(device),
            pixel_corners=there.triangles[layout.triangle_index.clamp_min(0).flatten()],
            pixel_weights=layout.barycentrics.flatten(0, 1),
            rest=rest_frames(carrier.template, carrier.triangles).to(device),
            collider=collider,
            collider_weights=body.to(device).blend_weights[collider.vertices],
            network=network,
            unet=MatrixUNet(folded) if on_cpu and folded.settings.up_mode == "upconv" else None,
            mlp=mlp_of(network, precision),
            cores=cores,
            fit=None,
            tiled=on_cpu,
            device=device,
        )

    @property
    def mode(self) -> str:
        """`patch` or `continuous`: what a point's features are."""
        return self.garment.mode

    def worn(self, fit: Fit) -> Model:
        """The same garment on a wearer."""
        fit = fit.to(self.device)
        return replace(self, fit=fit, collider=fit.collider, collider_weights=fit.skin_weights)

    def pelvis(self, shape: Tensor | None) -> Tensor:  # [F, S] -> [F or 1, 3] at rest
        return self.body.rest_joints(shape)[:, 0] if self.fit is None else self.fit.joints[:1]

    def pixel_features(self, places: Tensor) -> Tensor:  # [F, H W, 3] the positional map -> [F, H W, C]
        """The U-Net, a row a pixel."""
        size = (self.layout.size, self.layout.size)
        if self.unet is not None:
            return self.unet(places.unflatten(1, size)).flatten(1, 2)
        return self.network.pose_features(places.mT.unflatten(2, size)).flatten(2).mT.contiguous()
