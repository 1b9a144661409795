"""How long things take on this machine (`make bench`): a table, and the same as JSON."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import tyro

from tests.benchmarks.report import ROOT, machine, show, write

Part = Literal["decoding", "growth", "gpu", "playback", "training_step"]


@dataclass(frozen=True)
class Settings:
    """Measure decoding, and what a user waits for. A few minutes on a machine that has nothing else to do."""

    parts: tuple[Part, ...] = ("decoding", "growth", "gpu", "playback", "training_step")
    """decoding: the engine against the plain implementation. growth: with frames, points, maps, networks. gpu: on CUDA,
    where there is one. playback: backend, client and Blender. training_step: against a plain one."""
    repeats: int = 12
    """Of each measurement; the median is shown."""
    threads: int = 0
    """CPU threads; 0 takes torch's own choice."""
    out: Path = ROOT / "out" / "bench" / "bench.json"


def main() -> None:
    settings = tyro.cli(Settings)
    import torch

    if settings.threads:
        torch.set_num_threads(settings.threads)
    described, rows = machine(), []
    for part in settings.parts:
        print(f"{part} ...", file=sys.stderr, flush=True)
        rows += import_module(f"tests.benchmarks.{part}").rows(settings.repeats)
        write(settings.out, described, rows)
    print(show(described, rows))
    print(f"\n{settings.out}")


if __name__ == "__main__":
    main()
