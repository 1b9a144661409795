"""Rows of the benchmark: timing, the machine's description, the table and the JSON file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Row:
    """One measured figure."""

    what: str
    value: float
    unit: str
    bar: str = ""  # what it should reach, in the same unit
    note: str = ""


def seconds(action: Callable[[], object], repeats: int, warm: int = 3) -> float:
    """Median of `repeats` runs, after some that are not counted."""
    for _ in range(warm):
        action()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def show_columns(rows: list[dict], names: tuple[str, ...], width: int) -> None:
    """Print rows of figures; `names` are the keys that tell which row it is."""
    columns = list(dict.fromkeys(key for row in rows for key in row if key not in names))
    labels = [" ".join(row[name] for name in names) for row in rows]
    left = max(map(len, labels), default=0)
    print(" " * left + "".join(f"{column:>{width}}" for column in columns))
    for label, row in zip(labels, rows, strict=True):
        cells = (f"{row[c]:{width}.2f}" if row.get(c) is not None else " " * width for c in columns)
        print(f"{label:{left}}" + "".join(cells))


def machine() -> dict[str, object]:
    """What the figures were measured on, and how busy it was with other things."""
    import torch

    from scale_backend.machine.devices import matrix_units, processor_name

    return {
        "cpu": processor_name(),
        "cores": os.cpu_count(),
        "units": ", ".join(matrix_units()),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def show(described: dict[str, object], rows: list[Row]) -> str:
    """The table, as text that Markdown reads too."""
    lines = [", ".join(f"{key}: {value}" for key, value in described.items()), ""]
    lines += ["| what | measured | bar | |", "|---|---|---|---|"]
    lines += [f"| {r.what} | {r.value:.4g} {r.unit} | {r.bar} | {r.note} |" for r in rows]
    return "\n".join(lines)


def write(path: Path, described: dict[str, object], rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps({"machine": described, "rows": [asdict(r) for r in rows]}, indent=1) + "\n")
    beside.replace(path)


def draw(view: str, path: Path, arrays: dict[str, np.ndarray]) -> None:
    """A picture by a module beside this one, in a process of its own: Blender's module does not load beside
    pymeshlab."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder) / "arrays.npz"
        np.savez(content, **arrays)
        command = [sys.executable, "-m", f"tests.benchmarks.{view}", content, path]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
