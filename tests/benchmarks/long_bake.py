"""A long bake by the batch command: frames a second, memory from beginning to end, size of the file.

python -m tests.benchmarks.long_bake [--frames 2000]

Memory is that of Blender and of the backend together, read from the operating system while they work. It is flat when
the last quarter of the decoding needs no more than the second.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from tests.benchmarks.report import ROOT, machine

LOOK = 0.2  # seconds between two looks at the memory
PROGRESS = re.compile(r"progress (\d+)/(\d+) \d+% (\w+)")


@dataclass(frozen=True)
class Settings:
    """Bake one of the garments that ship over many frames of a repeated motion."""

    frames: int = 2000
    garment: str = "dress"
    motion: str = "dance"
    format: str = "pc2"
    out: Path = ROOT / "out" / "bench" / "long_bake.json"


@dataclass
class Run:
    """What was seen of one bake."""

    started: float = field(default_factory=time.monotonic)
    baking_since: float = 0.0
    ended: float = 0.0
    done: int = 0  # frames
    memory: list[tuple[int, int]] = field(default_factory=list)  # frames done, bytes


def main() -> int:
    settings = tyro.cli(Settings, description=__doc__)
    with tempfile.TemporaryDirectory(prefix="scale-bench-") as folder:
        os.environ["BLENDER_USER_RESOURCES"] = folder  # read when bpy is imported
        os.environ["SCALE_BACKEND_PYTHON"] = sys.executable
        scene = Path(folder) / "scene.blend"
        making = [sys.executable, "-m", "tests.benchmarks.long_bake_scene", scene, settings.garment, settings.motion]
        subprocess.run([*making, str(settings.frames)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        run = bake(scene, Path(folder) / "clothes", settings)
        size = sum(path.stat().st_size for path in (Path(folder) / "clothes").iterdir())
    quarters = [peak(run, settings.frames * index // 4, settings.frames * (index + 1) // 4) for index in range(4)]
    report = {
        "machine": machine(),
        "garment": settings.garment,
        "format": settings.format,
        "frames": settings.frames,
        "seconds": round(run.ended - run.started, 1),
        "frames_a_second": round(settings.frames / (run.ended - run.started), 1),
        "decoded_a_second": round(settings.frames / (run.ended - run.baking_since), 1),
        "peak_megabytes": round(max(used for _, used in run.memory) / 1e6),
        "megabytes_by_quarter": [round(used / 1e6) for used in quarters],
        "file_megabytes": round(size / 1e6, 1),
    }
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    return 0


def bake(scene: Path, folder: Path, settings: Settings) -> Run:
    command = [sys.executable, "-u", "-m", "blender_addon.batch", "bake", scene, "--out", folder,
               "--format", settings.format]  # fmt: skip
    run = Run()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    threading.Thread(target=watch, args=(process, run), daemon=True).start()
    for line in process.stdout:
        found = PROGRESS.search(line)
        if found and found[3] == "Baking":
            run.baking_since = run.baking_since or time.monotonic()
            run.done = int(found[1]) - settings.frames
    run.ended = time.monotonic()
    if process.wait():
        raise SystemExit(f"The bake failed with exit code {process.returncode}.")
    return run


def watch(process: subprocess.Popen, run: Run) -> None:
    while process.poll() is None:
        run.memory.append((run.done, used_by(process.pid)))
        time.sleep(LOOK)


def used_by(root: int) -> int:
    """Bytes that a process and all that it has started hold in memory."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=True).stdout
    rows = [tuple(map(int, line.split())) for line in listed.splitlines()]
    family = {root}
    for _ in range(3):  # children's children
        family |= {pid for pid, parent, _ in rows if parent in family}
    return 1024 * sum(memory for pid, _, memory in rows if pid in family)


def peak(run: Run, first: int, last: int) -> int:
    """The most memory while a part of the frames was decoded; 0 if nobody looked in time."""
    return max((used for done, used in run.memory if first < done <= last), default=0)


if __name__ == "__main__":
    sys.exit(main())
