"""What a training leaves behind: curves, pictures, the best garment with its card; and that it stops by itself."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scale_backend.cli import main as backend
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.point_files import read_points
from scale_backend.geometry.body import load_body, pose_vertices
from scale_backend.geometry.positional_map import positional_map, rasterise
from scale_backend.model.garment import load_garment
from tests.training.synthetic import random_poses
from training.cli import main
from training.config import RELEASE_KEYS, read_recipe
from training.frames.packed_frames import PackedFrame, write_packed
from training.geometry.surface_distance import vertex_normals
from training.learning.checkpoints import newest_state

CONFIG = """
name: shirt
title: Striped shirt
description: From scans of one person.
licence: CC-BY-4.0
author: A. Tailor
data_root: packed
epochs: 30
val_every: 1
batch_size: 4
scan_npoints: 3000
hsize: 16
nf: 4
npoints: 4
lr: 1e-3
w_rgl: 0
patience: 3
"""
RELEASE_CURVES = ("m2s", "s2m", "normal", "rgl", "latent", "total")


def write_frames(folder: Path, count: int, seed: int, thickness: float) -> None:
    """Scans of clothes that lie so many metres off the body."""
    body = load_body()
    poses = random_poses(count, seed)
    rotations = torch.from_numpy(matrices_from_axis_angle(poses)).float()
    skins = pose_vertices(body, rotations, -body.mean_joints[:1].expand(count, 3))
    maps = positional_map(skins, body.triangles, rasterise(body.uv, body.uv_triangles, 32)).permute(0, 2, 3, 1)
    for number, (skin, drawn) in enumerate(zip(skins.numpy(), maps.numpy(), strict=True)):
        normals = vertex_normals(skin, body.triangles.numpy())
        frame = PackedFrame(drawn, skin, skin + thickness * normals, normals, f"shirt_walk.{number:05d}")
        write_packed(folder / f"{frame.name}.npz", frame)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """Clothes off the body to learn from, and clothes inside it to validate on: each step makes it worse."""
    folder = tmp_path_factory.mktemp("run")
    write_frames(folder / "packed" / "train", 4, 0, 0.03)
    write_frames(folder / "packed" / "val", 2, 1, -0.03)
    (folder / "shirt.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def trained(project) -> tuple[Path, str]:
    """The output folder of the stopped training, and what it printed."""
    from contextlib import redirect_stdout

    with redirect_stdout(io.StringIO()) as printed:
        assert train(project, "out") == 0
    return project / "out", printed.getvalue()


def train(project: Path, out: str, *options: str, recipe: str = "shirt.yaml") -> int:
    return main(["train", str(project / recipe), "--out", str(project / out), "--device", "cpu", *options])


def held_out(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "held-out.jsonl").read_text().splitlines()]


def test_it_stops_when_validation_gets_worse_and_keeps_the_best(project, trained):
    out, printed = trained
    rows = held_out(out)
    errors = [row["table"]["all"]["to_truth_mean"] for row in rows]
    best = int(np.argmin(errors))
    assert errors[best:] == sorted(errors[best:]) and errors[-1] > errors[best]
    assert len(errors) == best + 1 + 3 and rows[-1]["step"] == rows[best]["step"] + 3 < 30  # an epoch is one step
    assert f"Stopped early at step {rows[-1]['step']}: 3 validations in a row without progress" in printed
    assert f"the garment is that of step {rows[best]['step']}, held-out {errors[best]:.2f} mm" in printed.lower()
    garment = load_garment(out / "shirt.safetensors")
    assert garment.training["steps"] == rows[best]["step"]
    assert garment.training["held_out"]["all"]["to_truth_mean"] == pytest.approx(errors[best], abs=1e-3)
    # to the bit what a training gives that was told to end there
    (project / "short.yaml").write_text(CONFIG.replace("epochs: 30", f"epochs: {rows[best]['step']}"))
    assert train(project, "short", recipe="short.yaml") == 0
    short = load_garment(project / "short" / "shirt.safetensors").network.state_dict()
    assert all(torch.equal(value, short[name]) for name, value in garment.network.state_dict().items())
    assert newest_state(out)["step"] == rows[-1]["step"]  # the checkpoint is of the end: it can go on


def test_a_stopped_training_goes_on_only_with_more_patience(project, trained, tmp_path, capsys):
    import shutil

    shutil.copytree(trained[0], tmp_path / "out")
    (tmp_path / "packed").symlink_to(project / "packed")
    (tmp_path / "shirt.yaml").write_text(CONFIG)
    written = (tmp_path / "out" / "shirt.safetensors").read_bytes()
    assert train(tmp_path, "out", "--resume") == 0
    assert "Stopped early" in capsys.readouterr().out
    (tmp_path / "shirt.yaml").write_text(CONFIG.replace("patience: 3", "patience: 5"))
    assert train(tmp_path, "out", "--resume") == 0
    assert len(held_out(tmp_path / "out")) == len(held_out(trained[0])) + 2
    assert (tmp_path / "out" / "shirt.safetensors").read_bytes() == written


def test_curves_have_the_releases_six_names_for_train_and_val(project, trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained[0] / "curves"))
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert {f"{split}/{name}" for split in ("train", "val") for name in RELEASE_CURVES} <= names
    assert {name.split("/")[1] for name in names if name.startswith("val/")} == set(RELEASE_CURVES)
    loss = read_recipe(project / "shirt.yaml").loss
    loss = replace(loss, normal=1e-6 * loss.normal)  # before epoch 250
    weight = {"m2s": loss.model_to_scan, "s2m": loss.scan_to_model, "normal": loss.normal, "rgl": loss.residual,
              "latent": loss.latent}  # fmt: skip
    for split in ("train", "val"):
        series = {name: events.Scalars(f"{split}/{name}") for name in RELEASE_CURVES}
        steps = [event.step for event in series["total"]]
        assert steps == [row["step"] for row in held_out(trained[0])]
        for k in range(len(steps)):
            total = sum(weight[name] * series[name][k].value for name in weight)
            assert series["total"][k].value == pytest.approx(total, rel=1e-4)
    # the clothes lie on the other side of the body: nearer to the one, farther from the other
    values = {split: [event.value for event in events.Scalars(f"{split}/m2s")] for split in ("train", "val")}
    assert values["train"][-1] < values["train"][0] and values["val"][-1] > values["val"][0]


def test_samples_are_written_and_shown_beside_the_curves(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, steps = trained[0], [row["step"] for row in held_out(trained[0])]
    events = EventAccumulator(str(out / "curves"), {"images": 0})
    events.Reload()
    pictures = events.Images("val/samples")
    assert [event.step for event in pictures] == steps
    for event in pictures:
        folder = out / "samples" / f"step-{event.step:08d}"
        shown = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
        assert np.array_equal(shown, np.asarray(Image.open(folder / "shirt.png")))
        assert shown.shape == (1024, 1024, 3) and 0.05 < (shown < 250).any(-1).mean() < 0.6
        kinds = ("_pred.ply", "_pred_patchcolor.ply")
        names = {f"shirt_shirt_walk.{number:05d}{kind}" for number in range(2) for kind in kinds}
        assert {path.name for path in folder.glob("*.ply")} == names
        points = read_points(folder / "shirt_shirt_walk.00000_pred.ply").points
        assert len(points) == 4 * 1024 and np.isfinite(points).all() and 1.4 < np.ptp(points[:, 1]) < 1.9


def test_the_garment_carries_its_card(trained, capsys):
    path = trained[0] / "shirt.safetensors"
    garment = load_garment(path)
    card, figures = garment.training["card"], garment.training["held_out"]["all"]
    assert card.startswith("# Striped shirt\n\nFrom scans of one person.\n")
    weights = sum(value.numel() for value in garment.network.parameters())
    steps = garment.training["steps"]
    for line in (
        "- Licence: CC-BY-4.0", "- Author: A. Tailor", "- Body: neutral",
        "- Learned from: 4 frames of `packed`, chamfer", f"- Training: {steps} steps of 4 frames",
        f"- Network: 1024 patches on the body, {weights:,} weights, patch queries",
        f"| all | {figures['to_truth_mean']:.2f} | {figures['from_truth_mean']:.2f} | {figures['normal_angle']:.2f} |",
    ):  # fmt: skip
        assert line in card, card
    preview = np.asarray(Image.open(io.BytesIO(garment.preview)).convert("RGB"))
    assert preview.shape == (256, 256, 3) and 0.05 < (preview < 250).any(-1).mean() < 0.6
    assert backend(["info", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["licence"] == "CC-BY-4.0" and told["training"]["card"] == card


def test_the_last_step_is_validated_once(project):
    (project / "even.yaml").write_text(CONFIG.replace("epochs: 30", "epochs: 4").replace("patience: 3\n", ""))
    assert train(project, "even", recipe="even.yaml") == 0
    assert [row["step"] for row in held_out(project / "even")] == [1, 2, 3, 4]


def test_every_key_of_the_config_above_is_the_releases_or_ours(project):
    recipe = read_recipe(project / "shirt.yaml")
    assert recipe.patience == 3 and recipe.mirror is False  # augmentation is off unless asked for
    assert {"data_root", "val_every", "batch_size", "hsize", "nf", "npoints", "lr", "w_rgl"} <= RELEASE_KEYS.keys()
