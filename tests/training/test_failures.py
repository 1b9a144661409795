"""What goes wrong for users, through the real command lines: one sentence that says what to do, and a failing exit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scale_backend.network import NetworkSettings
from tests.backend.test_import_checkpoint import write_checkpoint
from tests.training.synthetic import write_raw_folder
from tests.training.test_pairs import write_pair
from training.pack import PackSettings
from training.pack import run as pack

SCANS = """
name: shirt
data_root: {data}
epochs: {epochs}
val_every: 1
batch_size: 2
scan_npoints: 500
hsize: 16
nf: 4
npoints: 4
{more}
"""
SURFACE = """
name: skirt
data: {data}
batch: 2
points: 100
steps: {epochs}
validation_frames: 1
precision: float32
network: {{unet_width: 4, hidden: 16}}
{more}
"""
MODULES = {"scale-train": "training.cli", "scale-backend": "scale_backend.cli"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Raw frames, packed frames, pairs, a training of two steps, a garment, results."""
    folder = tmp_path_factory.mktemp("failures")
    write_raw_folder(folder / "raw", {"train": 2, "val": 1, "test": 1})
    for size, name in ((32, "packed"), (64, "packed64")):
        pack(PackSettings(raw=folder / "raw", out=folder / name, points=600, map_size=size))
    write_pair(folder / "pairs" / "train", "shirt_walk.00001", 1)
    (folder / "scans.yaml").write_text(SCANS.format(data="packed", epochs=2, more=""))
    (folder / "empty").mkdir()
    assert said(folder, "train scans.yaml --out runs/shirt") == (0, [])
    assert said(folder, "test runs/shirt/shirt.safetensors --packed packed --out results") == (0, [])
    return folder


@pytest.fixture()
def place(made, tmp_path) -> Path:
    """A copy to break."""
    shutil.copytree(made, tmp_path / "place", symlinks=True)
    return tmp_path / "place"


def said(folder: Path, line: str, program: str = "scale-train", before: str = "") -> tuple[int, list[str]]:
    """Run a command in a process of its own: exit status, and what it said that is no progress bar.

    before: shell commands, as root of a name space of its own.
    """
    options = " --device cpu --threads 1" if program == "scale-train" and line.split()[0] in ("train", "test") else ""
    command = [sys.executable, "-c", f"import sys; from {MODULES[program]} import main; sys.exit(main(sys.argv[1:]))",
               *f"{line}{options}".split()]  # fmt: skip
    if before:
        script = f'{before} && exec "$@"'
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *command]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
    lines = [part for part in done.stderr.replace("\r", "\n").splitlines() if part.strip() and "it/s" not in part]
    lines = [part for part in lines if "%|" not in part and "?it/s" not in part and "held-out mm" not in part]
    return done.returncode, lines


def assert_told(answer: tuple[int, list[str]], *parts: str) -> None:
    status, lines = answer
    assert status in (1, 2), answer
    assert len(lines) == 1, lines
    assert all(part in lines[0] for part in parts), lines[0]


def can_mount() -> bool:
    try:
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def small_disk(kilobytes: int) -> str:
    """Shell commands that put so small a file system at `full`; 0: one that is full."""
    filled = "head -c 8192 /dev/zero > full/filler"
    return f"mount -t tmpfs -o size={kilobytes or 8}k tmpfs full" + ("" if kilobytes else f" && {filled}")


def test_a_full_disk(made, tmp_path):
    """Each command writes to a file system of its own that is too small."""
    if not can_mount():
        pytest.skip("this system lets no user mount a file system")
    (made / "full").mkdir()
    garment, figures = "runs/shirt/shirt.safetensors", "full/figures.json"
    commands = [
        (8, "pack raw --out full/packed", "full/packed/train/"),
        (8, "pack pairs --out full/packed", "full/packed/train/"),
        (40, "posmap --size 64 --out full/map", "full/map/"),
        (8, f"test {garment} --packed packed --out full/results", "full/results/"),
        (8, "render results --out full/pictures", "full/pictures/"),
        (0, f"evaluate {garment} --raw raw --split val --json {figures}", figures),
    ]
    for kilobytes, line, named in commands:
        answer = said(made, line, before=small_disk(kilobytes))
        assert_told(answer, named, "No space left on device", "free some space")
    model, latent, _ = write_checkpoint(tmp_path, NetworkSettings(unet_width=4, hidden=32))
    line = f"import-checkpoint {model} {latent} --body neutral --out full/g.safetensors"
    answer = said(made, line, "scale-backend", small_disk(40))
    assert_told(answer, "full/g.safetensors", "No space left on device", "free some space")


@pytest.mark.parametrize("share", [0.02, 0.4, 0.6, 0.8, 0.95])
def test_a_disk_that_gets_full_while_training(made, share):
    """In the shards, a curve, a checkpoint, a sample or the garment: wherever it happens to be."""
    if not can_mount():
        pytest.skip("this system lets no user mount a file system")
    (made / "full").mkdir(exist_ok=True)
    whole = sum(path.stat().st_size for path in (made / "runs" / "shirt").rglob("*") if path.is_file())
    answer = said(made, "train scans.yaml --out full/run", before=small_disk(int(share * whole / 1024)))
    assert_told(answer, "full/run", "No space left on device", "free some space")
