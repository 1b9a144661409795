"""A garment on a body on one device: all that decoding a frame reads. Nothing in it changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scale_backend.coarse.coarse_cloth import CoarseCloth, coarse_cloth
from scale_backend.decoding.settled import blended
from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import quoted
from scale_backend.geometry.articulation import RestFrames, rest_frames
from scale_backend.geometry.body import Body, shaped_vertices
from scale_backend.geometry.carrier import Carrier
from scale_backend.geometry.collision import Collider, garment_collider
from scale_backend.geometry.positional_map import UVLayout
from scale_backend.geometry.window_maps import pixel_skin
from scale_backend.inference.choice import mlp_of
from scale_backend.inference.convolutions import MatrixUNet
from scale_backend.inference.folding import FoldedNetwork, fold
from scale_backend.inference.mlp import InferenceMLP
from scale_backend.inference.precision import Precision
from scale_backend.machine.cores import Cores
from scale_backend.model.garment import Garment
from scale_backend.settling.sweeps import Settling

LEAST_WEIGHT = 1e-6  # of all fabrics together: less is lost in float32

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
    settling: Settling | None  # how the cloth gets its length back; None: it stays as the network has it
    coarse: CoarseCloth | None  # what falls through the window; None: the network sees the moments themselves
    skin: Tensor | None  # [1, 4 J, H W] the positional map as a product of joints' transforms, for earlier moments
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
            settling=blended(garment.settling, ()) if garment.settling else None,
            coarse=_coarse_cloth(garment, body, device),
            skin=_pixel_skin(there, layout, there.template[None])
            if garment.window.lags and not garment.window.coarse
            else None,
            mlp=mlp_of(network, precision),
            cores=cores,
            fit=None,
            tiled=on_cpu,
            device=device,
        )

    def made_of(self, fabrics: tuple[float, ...]) -> Model:
        """The garment in the mean of its fabrics with these weights. Raises UserError for weights of other fabrics."""
        names = self.garment.fabrics or ("its fabric",)
        if len(fabrics) != len(names) or min(fabrics) < 0 or not LEAST_WEIGHT <= sum(fabrics) <= 1 / LEAST_WEIGHT:
            raise UserError(f"'{self.garment.name}' is made of {', '.join(names)}: each needs a weight of 0 or more, "
                            f"and one more than 0, in place of {quoted(str(fabrics[:20]))}.")  # fmt: skip
        folded = fold(self.garment.network, fabrics)
        unet = None if self.unet is None else MatrixUNet(folded)
        settling = blended(self.garment.settling, fabrics) if self.garment.settling else None
        coarse = None if self.coarse is None else self.coarse.made_of(fabrics)
        return replace(self, network=folded.to(self.device), unet=unet, settling=settling, coarse=coarse)

    def skin_of(self, shape: Tensor | None) -> Tensor:  # [F, S] -> [F or 1, 4 J, H W]
        """`skin` for a body of that shape."""
        if shape is None and self.skin is not None:
            return self.skin
        return _pixel_skin(self.carrier, self.layout, self.rest_of(shape))

    def rest_of(self, shape: Tensor | None) -> Tensor:  # [F, S] -> [F or 1, V, 3]
        """The carrier at rest on a body of that shape."""
        return shaped_vertices(self.carrier.template, self.carrier.shape_components, shape)

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

    def pixel_features(self, places: Tensor) -> Tensor:  # [F, H W, inputs] what the network sees -> [F, H W, C]
        """The U-Net, a row a pixel."""
        size = (self.layout.size, self.layout.size)
        if self.unet is not None:
            return self.unet(places.unflatten(1, size)).flatten(1, 2)
        return self.network.pose_features(places.mT.unflatten(2, size)).flatten(2).mT.contiguous()


def _coarse_cloth(garment: Garment, body: Body, device: torch.device) -> CoarseCloth | None:  # on the host
    if garment.coarse is None:
        return None
    window, settings = garment.window, garment.coarse_settings
    return coarse_cloth(garment.coarse, settings, body, window.lags, len(garment.fabrics)).to(device)


def _pixel_skin(carrier: Carrier, layout: UVLayout, rest: Tensor) -> Tensor:  # [F, V, 3] -> [F, 4 J, H W]
    corners = carrier.triangles[layout.triangle_index.clamp_min(0).flatten()]
    return pixel_skin(rest, carrier.blend_weights, corners, layout.barycentrics.flatten(0, 1))
