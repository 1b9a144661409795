"""Two processes with half of each batch train what one trains with all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.training.synthetic import write_raw_folder
from training.frames.pack import PackSettings
from training.frames.pack import run as pack
from training.learning.checkpoints import newest_state

RECIPE = """
name: skirt
data: {data}
batch: 4
steps: 10
warm_up: 2
validate_every: 1000
validation_frames: 2
precision: float32
samples: false
network: {{unet_width: 8, hidden: 32, points_per_patch: 4}}
{more}
"""
ON_SCANS = "carrier: body\nscan_points: 1000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("team")
    write_raw_folder(folder / "raw", {"train": 6, "val": 2})
    pack(PackSettings(raw=folder / "raw", out=folder / "packed", points=1500))
    return folder


def train(recipe: Path, out: Path, processes: int, *options: str) -> subprocess.CompletedProcess:
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launch, "-m", "training.cli", "train", str(recipe), "--out", str(out), "--device",
               "cpu", "--threads", "1", *options]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def losses(out: Path) -> np.ndarray:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "curves"))
    events.Reload()
    return np.array([event.value for event in events.Scalars("train/total")])


@pytest.mark.parametrize(("data", "more"), [("raw", "points: 150"), ("packed", ON_SCANS)])
def test_two_processes_equal_one(folder, tmp_path, data, more):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(data=folder / data, more=more))
    for processes in (1, 2):
        done = train(recipe, tmp_path / str(processes), processes)
        assert done.returncode == 0, done.stderr
    one, two = (newest_state(tmp_path / name) for name in "12")
    assert one["step"] == two["step"] == 10
    # to within the order of sums in float32, which ten steps of Adam have made larger
    expected = losses(tmp_path / "1")
    assert len(expected) == 10
    np.testing.assert_allclose(losses(tmp_path / "2"), expected, rtol=2e-3)
    for name, value in one["network"].items():
        if value.is_floating_point():
            assert (value - two["network"][name]).norm() <= 0.02 * value.norm() + 0.02, name
    assert (tmp_path / "2" / "skirt.safetensors").is_file() and len(list((tmp_path / "2" / "curves").iterdir())) == 1


GROUP_THEN_OPTIMIZER = """
import gc, weakref
import torch
from torch import distributed
from training.learning.distributed import team

with team(torch.device("cpu")) as (team, device):
    group = weakref.ref(distributed.group.WORLD)
    network = torch.nn.Linear(9, 1)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(9)).sum().backward()
    team.average_gradients(network)
    optimizer.step()
gc.collect()
assert group() is None, gc.get_referrers(group())
"""


def test_no_group_is_left_at_the_end(tmp_path):
    """Left over, its threads abort the process now and then (pytorch/pytorch#179291)."""
    script = tmp_path / "script.py"
    script.write_text(GROUP_THEN_OPTIMIZER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr


def test_a_batch_that_cannot_be_shared_is_told(folder, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(data=folder / "raw", more="points: 150").replace("batch: 4", "batch: 5"))
    done = train(recipe, tmp_path / "out", 2)
    assert done.returncode != 0
    assert "A batch of 5 frames cannot be shared evenly by 2 processes" in done.stderr
