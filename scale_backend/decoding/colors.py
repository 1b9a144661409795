"""Colours of decoded points: the network's third branch. A pass of its own, for those that ask for colours."""

from __future__ import annotations

import torch
from torch import Tensor

from scale_backend.decoding.decoder import Decoder
from scale_backend.decoding.model import Model
from scale_backend.decoding.prepared import Prepared
from scale_backend.formats.garment_header import GarmentError
from scale_backend.formats.poses import DecodeOptions
from scale_backend.geometry.body import fit_joint_count
from scale_backend.geometry.carrier import pose_carrier
from scale_backend.geometry.gathering import gather_sum
from scale_backend.geometry.positional_map import surface_points

ROWS = 1 << 16  # points at a time: 64 MiB a layer in float32 at 256 channels


@torch.inference_mode()
def decode_colors(
    decoder: Decoder,
    rotations: Tensor,  # [F, J, 3, 3] local; J of any SMPL-family body
    options: DecodeOptions | None = None,  # of the surface `points` where they are left out
) -> Tensor:  # [F, M, 3] in 0..1, sRGB as in the scans, on the host
    """A colour for each point of a surface kind. They know the pose alone: neither root nor body shape changes them.

    Raises GarmentError for a garment without colours.
    """
    options = options or DecodeOptions(surface="points")
    model, prepared = decoder.model, decoder.prepare(options.surface, options.part)
    rotations = fit_joint_count(rotations.to(model.device, torch.float32), model.body.joint_count).clone()
    rotations[:, 0] = torch.eye(3, device=model.device)
    decoded = []
    for frame in rotations.split(1):
        posed = pose_carrier(model.carrier, model.body, frame, -model.body.mean_joints[:1])
        places = surface_points(posed, model.pixel_corners, model.pixel_weights)
        decoded.append(pixel_colors(model, prepared, model.pixel_features(places)).cpu())
    return torch.cat(decoded)


def pixel_colors(model: Model, prepared: Prepared, pixels: Tensor) -> Tensor:  # [F, H W, C] -> [F, M, 3]
    """Colours from the pixels' features. Raises GarmentError."""
    if not model.network.settings.colors:
        raise GarmentError(f"The garment '{model.garment.name}' has no colours; train it from coloured scans.")
    queries, parts = prepared.queries, []
    for start in range(0, len(queries), ROWS):
        rows = slice(start, start + ROWS)
        features = gather_sum(pixels, queries.taps[rows], queries.tap_weights[rows])
        parts.append(model.mlp.colors(features, prepared.place[rows]))
    colors = torch.cat(parts, 1)
    return colors if prepared.binding is None else prepared.binding.means(colors)
