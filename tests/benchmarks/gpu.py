"""The engine on an NVIDIA GPU, and the ceilings that the hardware sets. Nothing to report where there is none."""

from __future__ import annotations

from collections.abc import Callable

import torch

from scale_backend.decoding.batches import decode_batches
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.model.network import NetworkSettings
from tests.benchmarks.decoding import STANDARD, differences, engine, plain, random_poses, standard_garment
from tests.benchmarks.report import Row, seconds

BATCH = 64


def rows(repeats: int) -> list[Row]:
    if not torch.cuda.is_available():
        return []
    garment = standard_garment()
    single, batch = random_poses(1), random_poses(BATCH)
    decode = plain(garment)
    expected = decode(batch[:8])
    slow = seconds(lambda: decode(single), max(2, repeats // 4), 1)
    fast = engine(garment, "auto", "cuda")
    one = seconds(lambda: fast(single), 10 * repeats, 10)
    found = [
        Row("GPU, one frame, host to host", 1e3 * one, "ms", "1", f"{slow / one:.0f} times the plain one on the CPU")
    ]
    found += differences("GPU", fast(batch[:8]), expected)

    decoder = Decoder(garment, load_body("neutral"), "cuda", "auto")
    poses = batch.repeat(40, 1, 1, 1).numpy()

    def bake() -> None:
        for _ in decode_batches(
            decoder, Poses(poses), DecodeOptions("points", "whole body", push_out=False), batch=BATCH
        ):
            pass

    rate = len(poses) / seconds(bake, 3, 1)
    points = fast(single)[0].shape[1]
    arithmetic, traffic = floating_point_operations(points) / matrix_rate(), bytes_moved(points) / copy_rate()
    binding = "arithmetic" if arithmetic > traffic else "memory traffic"
    note = f"{1 / (rate * max(arithmetic, traffic)):.1f} times what {binding} alone would need (bar 2.5)"
    return [
        *found,
        Row(f"GPU, bake of {len(poses)} frames", rate, "frames/s", "3000", note),
        Row("GPU, ceiling by arithmetic (float16 products measured)", 1 / arithmetic, "frames/s"),
        Row("GPU, ceiling by memory traffic (copies measured)", 1 / traffic, "frames/s"),
    ]


def floating_point_operations(points: int, settings: NetworkSettings | None = None) -> float:
    """Of the shared MLP: 8 square layers and the two feature shares a point. The U-Net is under 1 % of it."""
    settings = settings or NetworkSettings(**STANDARD)
    hidden = settings.hidden
    return 2.0 * points * (8 * hidden**2 + 2 * hidden * settings.features + 6 * hidden)


def bytes_moved(points: int, settings: NetworkSettings | None = None) -> float:
    """In 16 bits: each of 9 hidden layers is written by its product, read and written by its activation, read by the
    next; the place's share is read for two of them."""
    settings = settings or NetworkSettings(**STANDARD)
    return 2.0 * points * settings.hidden * (9 * 4 + 2)


def matrix_rate() -> float:  # floating-point operations a second
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
    return 2 * 8192**3 / seconds(synchronised(lambda: a @ a), 10)


def copy_rate() -> float:  # bytes a second, read and written
    a = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    b = torch.empty_like(a)
    return 2 * a.numel() / seconds(synchronised(lambda: b.copy_(a)), 10)


def synchronised(action: Callable[[], object]) -> Callable[[], None]:
    def wait() -> None:
        action()
        torch.cuda.synchronize()

    return wait
