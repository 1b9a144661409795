"""What the network sees of packed frames: positional maps from the file, local frames from its body."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.geometry.articulation import patch_frames
from scale_backend.geometry.body import fit_joint_count
from scale_backend.geometry.packed_body import what_differs
from training.frames.packed_frames import PackedFrame, PackedFrameError
from training.learning.dataset import CHUNK, Groundwork, PosedFrames, pose_rotations


def pose_packed(groundwork: Groundwork, frames: Sequence[PackedFrame]) -> PosedFrames:
    """On the body carrier everything comes from the file. A garment's own surface is posed by the frame's pose.

    Raises PackedFrameError for frames of another body, or without the pose that is needed.
    """
    if groundwork.carrier.kind == "garment":
        return _pose_garment(groundwork, frames)
    device = groundwork.body.template.device
    carrier, layout = groundwork.carrier.to("cpu"), groundwork.layout.to("cpu")
    for frame in frames:
        places = torch.from_numpy(frame.positional_map), torch.from_numpy(frame.body_vertices)
        if differs := what_differs(carrier, layout, *places):
            raise PackedFrameError(f"The frame {frame.name} {differs}: it was packed on another body than "
                                   f"'{groundwork.body.name}'; name the right body.")  # fmt: skip
    bodies = torch.from_numpy(np.stack([frame.body_vertices for frame in frames])).to(device)
    maps = torch.from_numpy(np.stack([frame.positional_map for frame in frames])).permute(0, 3, 1, 2).to(device)
    base = maps.flatten(2).transpose(1, 2)[:, groundwork.layout.mask.flatten()]
    local = [patch_frames(part, groundwork.carrier.triangles, groundwork.layout) for part in bodies.split(CHUNK)]
    return PosedFrames(torch.zeros(len(frames), 0, 3, 3, device=device), maps.contiguous(), base, torch.cat(local))


def _pose_garment(groundwork: Groundwork, frames: Sequence[PackedFrame]) -> PosedFrames:
    for frame in frames:
        if frame.pose is None:
            raise PackedFrameError(f"The frame {frame.name} does not say its pose, which a garment on its own surface "
                                   "needs; pack it again with scale-train pack.")  # fmt: skip
    body = groundwork.body
    rotations = torch.from_numpy(
        matrices_from_axis_angle(np.stack([f.pose for f in frames if f.pose is not None])).astype(np.float32)
    )
    return pose_rotations(groundwork, fit_joint_count(rotations, body.joint_count).to(body.template.device))
