"""Memory of a training on very many packed frames: `python -m tests.benchmarks.many_frames --folder /var/tmp/frames`.

Frames are the posed body with noise on it, some hundred different ones under names of their own (hard links), so that
they are made quickly; shards and what the network sees hold each of them in full. Anonymous memory is what a process
cannot give back; pages of files that are mapped are the system's to drop. Linux only.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

MIB = 1024.0  # kB


@dataclass(frozen=True)
class Settings:
    """Pack, open and train for some steps, and print the time and the peak of the anonymous memory of each."""

    folder: Path
    """Empty or new folder for the frames (140 KB each) and the shards; removed at the end."""
    frames: int = 50_000
    points: int = 1_000
    """Scan points a frame."""
    different: int = 250
    """Frames that are made; the others are links to them."""
    steps: int = 5
    """Of 16 frames, with the paper's network."""


class Memory:
    """The peak of the process's anonymous memory while the block runs, MiB, and seconds."""

    def __enter__(self) -> Memory:
        self.peak, self.done, self.begin = resident("RssAnon"), threading.Event(), time.perf_counter()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.done.wait(0.02):
            self.peak = max(self.peak, resident("RssAnon"))

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.begin
        self.done.set()
        self.thread.join()
        self.peak = max(self.peak, resident("RssAnon"))

    def row(self) -> dict[str, float]:
        return {"seconds": round(self.seconds, 2), "anonymous_mib": round(self.peak)}


def resident(kind: str) -> float:  # MiB
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(kind)) / MIB


def main() -> None:
    settings = tyro.cli(Settings)
    import torch

    from tests.benchmarks.training_step import write_frames
    from training.config import recipe_from_dict
    from training.learning.dataset import batch_indices, read_groundwork
    from training.learning.scans import read_scans
    from training.learning.trainer import Trainer

    recipe = recipe_from_dict({"name": "many", "data_root": str(settings.folder), "batch_size": 16,
                               "scan_npoints": settings.points, "precision": "bfloat16"})  # fmt: skip
    write_frames(settings.folder, recipe, min(settings.different, settings.frames))
    made = sorted((settings.folder / "train").glob("*.npz"))
    for number in range(len(made), settings.frames):
        os.link(made[number % len(made)], made[0].with_name(f"linked-{number:06d}.npz"))
    groundwork = read_groundwork(recipe)
    report = {"frames": settings.frames, "points": settings.points, "threads": torch.get_num_threads()}
    report["before"] = {"anonymous_mib": round(resident("RssAnon"))}
    with Memory() as memory:
        read_scans(groundwork, recipe, settings.folder / "out")
    report["first opening: shards are written"] = memory.row()
    with Memory() as memory:
        data = read_scans(groundwork, recipe, settings.folder / "out")
    report["opening again"] = memory.row()
    assert len(data) == settings.frames
    trainer = Trainer(recipe, data, torch.device("cpu"))
    with Memory() as memory:
        for step in range(500):  # what the steps would read: some 8,000 frames of all shards
            data.sample(batch_indices(len(data), recipe.batch, step, recipe.seed), step)
    report["500 batches of scans, no step"] = memory.row()
    with Memory() as memory:
        for _ in range(settings.steps):
            trainer.train_step()
    report[f"{settings.steps} steps"] = memory.row()
    report["mapped at the end"] = {"file_mib": round(resident("RssFile"))}
    size = sum(path.stat().st_size for path in (settings.folder / "out").rglob("*") if path.is_file())
    report["shards"] = {"gib": round(size / 2**30, 2)}
    print(json.dumps(report, indent=1))
    shutil.rmtree(settings.folder)


if __name__ == "__main__":
    main()
