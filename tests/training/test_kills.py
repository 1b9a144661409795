"""A training that is killed at any moment, again and again, ends as one that was not."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from scale_backend.model.garment import load_garment
from tests.training.synthetic import write_raw_folder
from training.frames.pack import PackSettings
from training.frames.pack import run as pack
from training.learning.checkpoints import checkpoints, load_checkpoint, newest_state

# a checkpoint after every step, a validation with samples and a garment after every third
RECIPE = """
name: shirt
data: packed
carrier: body
batch: 2
steps: 30
scan_points: 500
grid_points: 4
warm_up: 2
checkpoint_every: 1
validate_every: 3
precision: float32
network: {unet_width: 8, hidden: 32, points_per_patch: 4}
"""
KILLS = 6


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    write_raw_folder(folder / "raw", {"train": 4, "val": 1})
    pack(PackSettings(raw=folder / "raw", out=folder / "packed", points=800))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def start(project: Path, out: str, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "training.cli", "train", str(project / "recipe.yaml"), "--out",
               str(project / out), "--device", "cpu", "--threads", "1", *options]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_killed_at_any_moment(project):
    began = time.monotonic()
    straight = start(project, "straight")
    assert straight.wait(300) == 0, straight.stderr.read()
    whole = time.monotonic() - began
    seed = random.randrange(1 << 30)
    chance, killed, out = random.Random(seed), 0, project / "out"
    for _ in range(KILLS):
        options = ["--resume"] if checkpoints(out) else []
        process = start(project, "out", *options)
        try:
            _, error = process.communicate(timeout=chance.uniform(0.1, 0.8) * whole)
            assert process.returncode == 0, (seed, error)
            break  # it was done before the kill
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate(timeout=60)
            assert process.returncode == -signal.SIGKILL
            killed += 1
        for path in checkpoints(out):
            assert load_checkpoint(path)["step"] == int(path.stem.rpartition("-")[2]), seed
        if (out / "shirt.safetensors").is_file():
            assert load_garment(out / "shirt.safetensors").training["steps"] % 3 == 0, seed
    assert killed, seed
    last = start(project, "out", *(["--resume"] if checkpoints(out) else []))
    assert last.wait(300) == 0, (seed, last.stderr.read())
    one, two = (newest_state(project / name) for name in ("straight", "out"))
    assert one["step"] == two["step"] == 30
    for kind in ("network", "average"):
        assert all(torch.equal(value, two[kind][name]) for name, value in one[kind].items()), seed
    garments = [load_garment(project / name / "shirt.safetensors").network.state_dict() for name in ("straight", "out")]
    assert all(torch.equal(value, garments[1][name]) for name, value in garments[0].items()), seed
    assert not [path.name for path in out.iterdir() if path.name.startswith(("scans.part", "checkpoint.part"))]
