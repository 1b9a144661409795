"""The engine against the plain implementation of the tests: same weights, same machine, same run.

The standard network (64 features, nf 32, hidden 256, softplus, 32 x 32, N = 16) with random weights on the free body,
whose UVs fill the map. SMPL's leave background, so that 798 of 1,024 pixels carry a patch: as many are chosen here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body, pose_vertices
from scale_backend.geometry.rotations import matrix_from_axis_angle
from scale_backend.inference.precision import fast_precisions
from scale_backend.model.garment import Garment
from tests.backend import reference
from tests.benchmarks.report import Row, seconds
from tests.making import make_garment

STANDARD = {"unet_width": 32, "hidden": 256}
PATCHES = 798
BATCH = 16
BARS = {"float32": ("3 x", ""), "bfloat16": ("10 x, 18 ms", "15 x")}  # one frame, and a frame of a batch


def random_poses(frames: int) -> Tensor:  # [F, 24, 3, 3]
    turns = torch.randn(frames, 24, 3, generator=torch.Generator().manual_seed(5)) * 0.3
    turns[:, 0] = 0
    return matrix_from_axis_angle(turns)


def standard_garment() -> Garment:
    garment = make_garment("body", **STANDARD)
    pixels = torch.arange(garment.layout.mask.numel())
    chosen = (pixels + 1) * PATCHES // len(pixels) > pixels * PATCHES // len(pixels)  # evenly over the map
    layout = replace(garment.layout, chosen=chosen.view_as(garment.layout.mask))
    cloth = torch.ones(PATCHES * garment.network.settings.points_per_patch, dtype=torch.bool)
    return replace(garment, layout=layout, cloth=cloth)


def plain(garment: Garment) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The reference, from poses to points and normals [F, M, 3]."""
    body, layout, state = load_body("neutral"), garment.layout, garment.network.state_dict()

    def decode(rotations: Tensor) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            posed = pose_vertices(body, rotations, -body.mean_joints[:1].expand(len(rotations), 3))
            points, normals = reference.decode_patches(
                state, posed, body.triangles, layout.triangle_index, layout.barycentrics, layout.mask
            )
        return points.flatten(1, 2) + body.mean_joints[0], normals.flatten(1, 2)

    return decode


def engine(garment: Garment, precision: str, device: str = "cpu") -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    decoder = Decoder(garment, load_body("neutral"), device, precision)
    return lambda rotations: decoder.decode(Poses(rotations), DecodeOptions("points", "whole body", push_out=False))


def rows(repeats: int) -> list[Row]:
    """One frame and a batch, plain and by the engine, and how far the results differ."""
    garment = standard_garment()
    single, batch = random_poses(1), random_poses(BATCH)
    decode = plain(garment)
    expected = decode(batch)
    one = seconds(lambda: decode(single), repeats)
    many = seconds(lambda: decode(batch), max(2, repeats // 4), 1) / BATCH
    points = expected[0].shape[1]
    found = [
        Row(f"plain, one frame ({points} points)", 1e3 * one, "ms"),
        Row(f"plain, a frame of a batch of {BATCH}", 1e3 * many, "ms"),
    ]
    for precision in dict.fromkeys([*reversed(fast_precisions("cpu")), "float32"]):
        fast = engine(garment, precision)
        bars = BARS.get(precision, ("", ""))
        for name, poses, bar, before, count in (
            ("one frame", single, bars[0], one, repeats),
            (f"a frame of a batch of {BATCH}", batch, bars[1], many, max(2, repeats // 4)),
        ):
            time = seconds(lambda poses=poses, fast=fast: fast(poses), count) / len(poses)
            note = f"{before / time:.1f} times faster than the plain one"
            found.append(Row(f"engine in {precision}, {name}", 1e3 * time, "ms", bar, note))
        found += differences(precision, fast(batch), expected)
    return found


def differences(precision: str, ours: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> list[Row]:
    distance = 1e3 * (ours[0] - expected[0]).norm(dim=-1).flatten()
    angle = (ours[1] * expected[1]).sum(-1).clamp(-1, 1).acos().rad2deg()
    most = float(distance.kthvalue(max(1, int(0.999 * len(distance)))).values)
    exact = precision == "float32"
    return [
        Row(f"{precision}: 99.9 % of points within", most, "mm", "" if exact else "0.2"),
        Row(f"{precision}: largest difference", float(distance.max()), "mm", "0.1" if exact else "1"),
        Row(f"{precision}: normals differ by", float(angle.mean()), "degrees", "2"),
    ]
