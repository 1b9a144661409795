"""Training really learns, resumes exactly, stops politely and leaves a garment that decodes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import load_garment
from scale_backend.model.network import NetworkSettings
from tests.training.synthetic import clothed, skirt_frames, skirt_groundwork, write_raw_folder
from training.config import ConfigError, Recipe
from training.learning.checkpoints import CheckpointError, checkpoints, load_checkpoint, newest_state, save_checkpoint
from training.learning.losses import face_normals
from training.learning.supervision import CorrespondingVertices, neighbourhoods, triangles_among
from training.learning.train import TrainSettings, choose_device, run
from training.learning.trainer import Trainer

CPU = torch.device("cpu")
SMALL = NetworkSettings(unet_width=8, hidden=64, activation="silu", uv_frequencies=4)
QUICK = Recipe(name="skirt", data="nowhere", network=SMALL, batch=8, points=200, steps=250, warm_up=20, subdivisions=0)
RECIPE = """
name: skirt
title: Test skirt
data: raw
batch: 4
points: 150
steps: {steps}
warm_up: 5
validate_every: 20
validation_frames: 2
checkpoint_every: 5
precision: float32
network: {{unet_width: 8, hidden: 32, activation: silu}}
{more}
"""


@pytest.fixture(scope="module")
def groundwork():
    return skirt_groundwork()


def vertex_error(data: CorrespondingVertices, network, frames: int) -> float:
    """Over all places of the training: the vertices, on a seam once for each chart."""
    every, chosen = torch.arange(len(data.queries)), torch.arange(frames)
    with torch.no_grad():
        points = data.decode(network, chosen, every).points
    return float((points - data.levels[0].truth(data.frames.vertices[chosen], every)).norm(dim=-1).mean())


def test_it_learns_what_it_has_not_seen(groundwork):
    train, held_out = skirt_frames(groundwork, 64, 0), skirt_frames(groundwork, 12, 1)
    trainer = Trainer(QUICK, CorrespondingVertices(groundwork, train, QUICK), CPU)
    first = trainer.train_step()["loss"]
    while trainer.progress < 1:
        last = trainer.train_step()["loss"]
    assert last < first / 2.5
    network = trainer.finished_network()
    unseen = CorrespondingVertices(groundwork, held_out, QUICK)
    skinned = float((held_out.posed.base - held_out.vertices).norm(dim=-1).mean())
    assert vertex_error(unseen, network, 12) < 0.4 * skinned
    # the finished network, in eval mode with its batch norms measured anew, is as good as the averaged one in
    # train mode, where each batch is its own norm
    in_eval = vertex_error(trainer.data, network, 12)
    in_train = vertex_error(trainer.data, trainer.average.train(), 12)
    assert in_eval < 1.15 * in_train


def test_what_lies_between_the_vertices_is_learned(groundwork):
    """On unseen poses the folds between the vertices come out better than from a training at the vertices alone."""
    frames, unseen = skirt_frames(groundwork, 64, 0), skirt_frames(groundwork, 8, 1)
    errors = []
    for subdivisions in (0, 2):
        recipe = replace(QUICK, steps=150, subdivisions=subdivisions)
        trainer = Trainer(recipe, CorrespondingVertices(groundwork, frames, recipe), CPU)
        while trainer.progress < 1:
            trainer.train_step()
        data = CorrespondingVertices(groundwork, unseen, replace(recipe, subdivisions=2))
        level, chosen = data.levels[2], torch.arange(8)
        places = torch.arange(len(level.queries))
        truth = level.truth(unseen.vertices, places)
        with torch.no_grad():
            points = data.decode(trainer.finished_network(), chosen, places, level=level).points
        turn = (face_normals(points, level.triangles) - face_normals(truth, level.triangles)).abs().mean()
        errors.append(float(turn))
    assert errors[1] < 0.8 * errors[0]


def test_resuming_is_exact(groundwork, tmp_path):
    data = CorrespondingVertices(groundwork, skirt_frames(groundwork, 10, 0), QUICK)
    recipe = replace(QUICK, steps=12, batch=3)
    straight = Trainer(recipe, data, CPU)
    while straight.progress < 1:
        straight.train_step()
    first = Trainer(recipe, data, CPU)
    for _ in range(5):
        first.train_step()
    path = save_checkpoint(tmp_path, first.step, first.state())
    torch.manual_seed(99)
    second = Trainer(replace(recipe, seed=recipe.seed), data, CPU)
    torch.rand(3)  # other use of torch's own generator changes nothing
    second.restore(load_checkpoint(path))
    while second.progress < 1:
        second.train_step()
    for kind in ("network", "average"):
        expected = straight.state()[kind]
        assert all(torch.equal(value, expected[name]) for name, value in second.state()[kind].items())


def test_neighbourhoods_hold_whole_triangles(groundwork):
    carrier = groundwork.carrier
    near = neighbourhoods(carrier.template)
    assert torch.equal(near[:, 0], torch.arange(len(near)))
    chosen = near[[3, 200]].unique()
    triangles = triangles_among(carrier.triangles, chosen, len(near))
    original = {tuple(t) for t in carrier.triangles.tolist()}
    assert len(triangles) > 20 and all(tuple(chosen[t].tolist()) in original for t in triangles)


def test_the_newest_checkpoint_goes_by_its_number(tmp_path):
    for step in (9, 100, 20):
        (tmp_path / f"checkpoint-{step}.pt").write_bytes(b"")
    assert [p.name for p in checkpoints(tmp_path)][-1] == "checkpoint-100.pt"


def test_checkpoints_are_whole_or_not_there(tmp_path, groundwork):
    for step in (1, 2, 3):
        path = save_checkpoint(tmp_path, step, {"step": step})
    assert [p.name for p in checkpoints(tmp_path)] == ["checkpoint-00000002.pt", "checkpoint-00000003.pt"]
    assert not list(tmp_path.glob("*.part"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path)
    assert newest_state(tmp_path)["step"] == 2  # passed over
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        newest_state(tmp_path / "empty")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(CheckpointError, match="could not be written"):
        save_checkpoint(blocked, 4, {"step": 4})
    trainer = Trainer(QUICK, CorrespondingVertices(groundwork, skirt_frames(groundwork, 2, 0), QUICK), CPU)
    other = replace(QUICK, network=replace(SMALL, hidden=32))
    with pytest.raises(CheckpointError, match=r"other settings than the recipe's \(hidden: 64 there, 32 here\)"):
        Trainer(other, trainer.data, CPU).restore(trainer.state())


def test_the_learning_rate_warms_up_and_ends_low(groundwork):
    trainer = Trainer(QUICK, CorrespondingVertices(groundwork, skirt_frames(groundwork, 2, 0), QUICK), CPU)
    rates = []
    for trainer.step in range(QUICK.steps + 1):
        rates.append(trainer.learning_rate())
    assert rates[0] < 0.1 * max(rates) and max(rates) <= QUICK.learning_rate
    assert rates[-1] <= 0.011 * QUICK.learning_rate
    trainer.step, trainer.seconds = 10, 30.0
    trainer.recipe = replace(QUICK, minutes=1.0)
    assert trainer.progress == 0.5


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_both_precisions_agree_at_the_start(groundwork, precision):
    recipe = replace(QUICK, precision=precision)
    trainer = Trainer(recipe, CorrespondingVertices(groundwork, skirt_frames(groundwork, 8, 0), recipe), CPU)
    reference = Trainer(
        replace(QUICK, precision="float32"),
        CorrespondingVertices(groundwork, skirt_frames(groundwork, 8, 0), replace(QUICK, precision="float32")), CPU,
    )  # fmt: skip
    losses = [(trainer.train_step()["loss"], reference.train_step()["loss"]) for _ in range(5)]
    assert all(abs(a - b) < 0.02 * b for a, b in losses)


@pytest.fixture()
def project(tmp_path) -> Path:
    write_raw_folder(tmp_path / "raw", {"train": 8, "val": 3})
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(steps=20, more=""))
    return tmp_path


def settings(project: Path, **options) -> TrainSettings:
    return TrainSettings(**{"recipe": project / "recipe.yaml", "out": project / "out", "device": "cpu"} | options)


def test_from_recipe_to_garment(project):
    path = run(settings(project))
    garment = load_garment(path)
    assert (garment.title, garment.licence) == ("Test skirt", "CC0-1.0")
    assert garment.training["frames"] == 8 and garment.training["steps"] == 20
    assert garment.training["held_out"]["all"]["to_truth_mean"] > 0
    body = load_body("neutral")
    rest = torch.eye(3).expand(1, 24, 3, 3)
    points, _ = Decoder(garment, body).decode(Poses(rest), DecodeOptions("mesh", push_out=False))
    assert (points[0] - garment.carrier.template).norm(dim=-1).mean() < 0.05
    curves = list((project / "out" / "curves").glob("events*"))
    assert curves and json.loads((project / "out" / "recipe.json").read_text())["batch"] == 4


def test_resume_and_its_mistakes(project):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        run(settings(project, resume=True))
    run(settings(project))
    with pytest.raises(ConfigError, match="holds a training already"):
        run(settings(project))
    (project / "recipe.yaml").write_text(RECIPE.format(steps=24, more=""))
    run(settings(project, resume=True))
    assert load_checkpoint(checkpoints(project / "out")[-1])["step"] == 24


def test_on_scans_without_correspondence(project):
    more = "carrier: body\ngrid_points: 4\nscan_points: 2000"
    (project / "recipe.yaml").write_text(RECIPE.format(steps=3, more=more))
    garment = load_garment(run(settings(project)))
    assert garment.mode == "patch" and garment.carrier is None
    # some of the clothed body is cloth, some is skin
    assert 0.05 < garment.cloth.float().mean() < 0.8


def command(project: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "training.cli", "train", str(project / "recipe.yaml"), "--out", str(project / "out"),
            "--device", "cpu", "--threads", "1", *options]  # fmt: skip


def newest_step(project: Path) -> int:
    found = checkpoints(project / "out")
    return int(found[-1].stem.rpartition("-")[2]) if found else 0


def test_kills_and_polite_stops_change_nothing(project):
    """A checkpoint after every step, so that kills meet one being written; in the end the weights are, to the bit,
    those of a training that was never stopped."""
    recipe = RECIPE.format(steps=24, more="").replace("checkpoint_every: 5", "checkpoint_every: 1")
    (project / "recipe.yaml").write_text(recipe.replace("validate_every: 20", "validate_every: 1000"))
    threads = torch.get_num_threads()
    run(settings(project, out=project / "straight", threads=1))
    torch.set_num_threads(threads)
    options = []
    for number, delay in ((signal.SIGKILL, 0.013), (signal.SIGKILL, 0.05), (signal.SIGTERM, 0.0)):
        before = newest_step(project)
        process = subprocess.Popen(command(project, *options), stderr=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while newest_step(project) <= before + 1 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(number)
        error = process.communicate(timeout=120)[1].decode()
        assert process.returncode == (-number if number == signal.SIGKILL else 0), error
        assert before < newest_state(project / "out")["step"] < 24, error
        options = ["--resume"]
    assert (project / "out" / "skirt.safetensors").is_file()  # by the polite stop
    run(settings(project, resume=True, threads=1))
    torch.set_num_threads(threads)
    states = [newest_state(project / name) for name in ("straight", "out")]
    assert states[0]["step"] == states[1]["step"] == 24
    for kind in ("network", "average"):
        assert all(torch.equal(value, states[1][kind][name]) for name, value in states[0][kind].items())
    moments = [state["optimiser"]["state"] for state in states]
    assert all(torch.equal(moments[0][k]["exp_avg_sq"], moments[1][k]["exp_avg_sq"]) for k in moments[0])


def test_a_full_disk_is_one_sentence_and_leaves_the_last_checkpoint(project):
    run(settings(project, steps=5))
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); " \
            "from training.cli import main; sys.exit(main(sys.argv[1:]))"  # fmt: skip
    arguments = command(project, "--resume", "--steps", "10")[3:]
    done = subprocess.run([sys.executable, "-c", limit, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("scale-train train: ")]
    assert len(said) == 1 and "could not be written to" in said[0] and "Traceback" not in done.stderr
    assert newest_state(project / "out")["step"] == 5


def test_a_device_that_is_not_there_is_told():
    assert choose_device("cpu") == CPU
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="'cuda' is not available here; there are"):
            choose_device("cuda")


def test_the_truth_has_something_to_learn(groundwork):
    from tests.training.synthetic import random_poses

    assert abs(clothed(groundwork, random_poses(4, 0)) - clothed(groundwork, random_poses(4, 1))).max() > 0.05
