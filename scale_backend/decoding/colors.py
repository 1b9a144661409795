"""Colours of decoded points: the network's third branch. A pass of its own, for those that ask for colours."""

from __future__ import annotations

import torch
from torch import Tensor

from scale_backend.decoding.decoder import Decoder
from scale_backend.decoding.frames import network_input, pose_frames
from scale_backend.decoding.model import Model
from scale_backend.decoding.prepared import Prepared
from scale_backend.decoding.tensor_poses import TensorPoses
from scale_backend.formats.garment_header import GarmentError
from scale_backend.formats.poses import DecodeOptions
from scale_backend.geometry.body import fit_joint_count
from scale_backend.geometry.gathering import gather_sum

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
    options, model = options or DecodeOptions(surface="points"), decoder.model
    _check_has_colors(model)
    prepared = decoder.prepare(options.surface, options.part)
    rotations = fit_joint_count(rotations.to(model.device, torch.float32), model.body.joint_count).clone()
    rotations[:, 0] = torch.eye(3, device=model.device)
    poses = TensorPoses(rotations, rotations.new_zeros(len(rotations), 3))
    decoded = []
    for frame in range(len(poses)):
        seen = network_input(model, pose_frames(model, poses[frame : frame + 1]))
        decoded.append(pixel_colors(model, prepared, model.pixel_features(seen)).cpu())
    return torch.cat(decoded)


def _check_has_colors(model: Model) -> None:
    if not model.network.settings.colors:
        raise GarmentError(f"The garment '{model.garment.name}' has no colours; train it from coloured scans.")


def pixel_colors(model: Model, prepared: Prepared, pixels: Tensor) -> Tensor:  # [F, H W, C] -> [F, M, 3]
    """Colours from the pixels' features. Raises GarmentError."""
    _check_has_colors(model)
    queries, parts = prepared.queries, []
    for start in range(0, len(queries), ROWS):
        rows = slice(start, start + ROWS)
        features = gather_sum(pixels, queries.taps[rows], queries.tap_weights[rows])
        parts.append(model.mlp.colors(features, prepared.place[rows]))
    colors = torch.cat(parts, 1)
    return colors if prepared.binding is None else prepared.binding.means(colors)
