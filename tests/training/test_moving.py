"""Cloth in motion: what the network sees of it, and a garment trained on it that knows motion and fabrics."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scale_backend.decoding.decoder import Decoder
from scale_backend.decoding.frames import network_input, pose_frames
from scale_backend.decoding.tensor_poses import TensorPoses
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.window import Window
from scale_backend.geometry.body import load_body
from scale_backend.geometry.carrier import pose_carrier
from scale_backend.model.garment import Garment, load_garment
from tests.making import skirt_carrier
from tests.training.synthetic import random_poses
from training.cli import main
from training.config import ConfigError, recipe_from_dict
from training.frames.mirror import mirror_map
from training.frames.sequences import ClothGarment, Sequence, read_garment, write_garment, write_sequence
from training.learning.coarse_correction import kept_correction, learn_correction
from training.learning.coarse_sheet import coarse_sheet
from training.learning.dataset import garment_groundwork, lay_groundwork
from training.learning.moving import MovingFrames, motion_of, moving_carrier, read_sequences
from training.simulate.fabrics import find_fabric
from training.simulate.record import describe
from training.testing.moving import window_of

LAGS = (0.1, 0.3)
RECIPE = """
name: skirt
data: DATA
fabrics: [cotton, denim]
lags: [0.1, 0.3]
gravity: true
body_shape: true
mirror: true
preset: fast
network: {hidden: 32, unet_width: 4}
steps: 4
batch: 4
points: 96
subdivisions: 0
loss: {length: 1.0}
"""


def sequence(fabric: str, seed: int, shift: float = 0.0, count: int = 24) -> Sequence:
    """The skinned skirt of somebody who walks and turns, moved aside by so much."""
    body = load_body("neutral")
    carrier = skirt_carrier(body)
    random = np.random.default_rng(seed)
    ends = random_poses(2, seed)
    share = np.linspace(0, 1, count, dtype=np.float32)[:, None, None]
    pose = (1 - share) * ends[:1] + share * ends[1:]
    pose[:, 0] = share[:, 0] * random.normal(0, 1, 3)
    translation = (share[:, 0] * random.normal(0, 1, 3)).astype(np.float32)
    betas = random.normal(0, 1, 10).astype(np.float32)
    rotations = torch.from_numpy(matrices_from_axis_angle(pose)).float()
    shape = torch.from_numpy(betas).expand(count, -1)
    vertices = pose_carrier(carrier, body, rotations, torch.from_numpy(translation), shape).numpy() + shift
    return Sequence(pose, translation, betas, fabric, 30.0, vertices, 6, "walk", (seed,))


def write_folder(folder: Path) -> None:
    body = load_body("neutral")
    carrier = skirt_carrier(body)
    front = np.arange(len(carrier.triangles)) % 64 < 32
    write_garment(folder / "garment.npz", ClothGarment(
        "skirt", carrier.template.numpy(), carrier.triangles.numpy().astype(np.int32), carrier.uv.numpy(),
        carrier.uv_triangles.numpy().astype(np.int32), carrier.blend_weights.numpy(), carrier.shape_components.numpy(),
        np.zeros(len(carrier.template), bool), (~front).astype(np.uint8), ("front", "back"), carrier.region.numpy(),
        carrier.region_names, 0.04, body.name, body.digest,
    ))  # fmt: skip
    for part in ("train", "held-out"):
        (folder / part).mkdir()
        for seed, fabric in enumerate(("cotton", "denim")):
            write_sequence(folder / part / f"walk-{fabric}.npz", sequence(fabric, seed + 10 * (part == "train")))


def frames_of(*sequences: Sequence, window: Window = Window(LAGS, gravity=True)) -> MovingFrames:  # noqa: B008
    body = load_body("neutral")
    groundwork = lay_groundwork(skirt_carrier(body), body, 32, "continuous")
    return MovingFrames(groundwork, motion_of(sequences, window.lags, ("cotton", "denim")), window)


def test_the_world_s_cloth_lies_on_the_posed_carrier():
    frames = frames_of(sequence("cotton", 0), sequence("denim", 1))
    cloth = frames.at(torch.arange(0, len(frames), 3))
    assert len(frames) == 2 * 18 and cloth.fabric.tolist() == [0] * 6 + [1] * 6
    assert (cloth.vertices - cloth.posed.base).abs().max() < 1e-5
    assert cloth.posed.maps.shape[1:] == (12, 32, 32)


def test_moments_are_frames_of_their_own_sequence():
    motion = frames_of(sequence("cotton", 0), sequence("denim", 1)).motion
    assert motion.frame[0] == 6 and motion.frame[18] == 24 + 6
    assert motion.past[0].tolist() == [3, 0] and motion.past[18].tolist() == [24 + 3, 24]
    assert motion.past[5].tolist() == [11 - 3, 11 - 9]


def test_the_network_sees_the_body_s_shape_only_where_it_is_told():
    one = sequence("cotton", 0)
    chosen = torch.tensor([3])
    shown, hidden = (frames_of(one, window=Window(LAGS, True, shape)).at(chosen).posed.maps for shape in (True, False))
    assert (shown[:, :3] - hidden[:, :3]).abs().max() > 1e-3
    assert (shown[:, 9:] - hidden[:, 9:]).abs().max() == 0  # where down is
    still = Sequence(
        **{**one.__dict__, "pose": one.pose[:1].repeat(24, 0), "translation": one.translation[:1].repeat(24, 0)}
    )
    for shape in (True, False):
        maps = frames_of(still, window=Window(LAGS, True, shape)).at(chosen).posed.maps
        assert maps[:, 3:9].abs().max() < 1e-5  # the same skin then and now


def test_a_mirror_shows_cloth_on_the_mirrored_body(tmp_path):
    write_folder(tmp_path)
    paths = sorted((tmp_path / "train").glob("*.npz"))
    one, other = list(read_sequences(paths[:1], mirror_map(read_garment(tmp_path / "garment.npz"))))
    assert (one.pose[:, 1] * [1, -1, -1] == other.pose[:, 2]).all() and other.translation[-1, 0] == -one.translation[
        -1, 0
    ]
    cloth = frames_of(other).at(torch.arange(18))
    assert (cloth.vertices - cloth.posed.base).norm(dim=-1).mean() < 2e-3 < (one.vertices - other.vertices).std()


def test_coarse_cloth_stands_for_the_garment(tmp_path):
    write_folder(tmp_path)
    garment = read_garment(tmp_path / "garment.npz")
    sheet = coarse_sheet(garment, 0.08)
    assert 60 < len(sheet.template) < len(garment.vertices) / 2
    there = (sheet.template[sheet.index] * sheet.weights[..., None]).sum(1).numpy()
    assert np.linalg.norm(there - garment.vertices, axis=1).mean() < 0.01  # smoothed: borders shrink
    nearest = np.linalg.norm(sheet.template.numpy()[:, None] - garment.vertices, axis=-1).argmin(1)
    assert np.abs(sheet.blend_weights.numpy() - garment.blend_weights[nearest]).mean() < 0.01
    assert torch.allclose(sheet.blend_weights.sum(1), torch.ones(len(sheet.template)), atol=1e-5)


def test_learning_beside_coarse_cloth_begins_where_it_fell(tmp_path):
    write_folder(tmp_path)
    text = RECIPE.replace("DATA", str(tmp_path)).replace(
        "gravity: true", "gravity: true\ncoarse: 0.08\ncoarse_steps: 60"
    )
    (tmp_path / "recipe.yaml").write_text(text)
    assert main(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    garment = load_garment(tmp_path / "run" / "skirt.safetensors")
    assert garment.window.coarse and garment.network.settings.inputs == 9 and garment.coarse is not None
    assert garment.coarse_settings.seconds == 0.3
    assert garment.coarse.correction is not None
    one = sequence("cotton", 0)
    groundwork = garment_groundwork(garment, load_body("neutral"))
    frames = MovingFrames(groundwork, motion_of([one], garment.window.lags, garment.fabrics), garment.window, 2)
    decoder = Decoder(garment, load_body("neutral"))
    chosen = torch.tensor([2, 9])
    posed = frames.at(chosen).posed
    there = pose_frames(decoder.model, tensor_poses(garment, one, chosen + one.first))
    assert (posed.base - there.vertices).norm(dim=-1).mean() < 1e-4
    maps = network_input(decoder.model, there).mT.unflatten(2, posed.maps.shape[-2:])
    assert (maps - posed.maps).abs().mean() < 1e-4 and posed.maps[:, 3:6].abs().max() > 1e-2


def test_coarse_cloth_learns_what_it_lacks(tmp_path):
    """Here nothing falls in truth: what is learned takes the fall back."""
    write_folder(tmp_path)
    garment, body = read_garment(tmp_path / "garment.npz"), load_body("neutral")
    groundwork = replace(
        lay_groundwork(skirt_carrier(body), body, 32, "continuous"), coarse=coarse_sheet(garment, 0.08)
    )
    window = Window(LAGS, True, True, coarse=True)
    motion = motion_of([sequence("cotton", 0), sequence("denim", 1)], LAGS, ("cotton", "denim"))
    frames = MovingFrames(groundwork, motion, window, 2)
    learned = kept_correction(tmp_path / "correction.safetensors", frames, steps=300, seed=0)
    better = frames.corrected(replace(groundwork, coarse=replace(groundwork.coarse, correction=learned)))
    chosen = torch.arange(len(frames))
    before, after = (
        (each.at(chosen).posed.base - each.at(chosen).vertices).norm(dim=-1).mean() for each in (frames, better)
    )
    assert after < 0.5 * before
    assert torch.equal(learned.first, kept_correction(tmp_path / "correction.safetensors", frames, 300, 1).first)
    again = learn_correction(frames, 300, 0)
    assert torch.equal(again.last_bias, learned.last_bias)


def tensor_poses(garment: Garment, one: Sequence, chosen: torch.Tensor) -> TensorPoses:
    poses = window_of(garment, one)[(chosen - one.first).tolist()[0] :]
    parts = {name: torch.from_numpy(np.asarray(part)) for name, part in poses.given().items() if name != "shape"}
    picked = {name: part[(chosen - chosen[0]).tolist()] for name, part in parts.items()}
    return TensorPoses(**picked, shape=torch.from_numpy(one.betas).expand(len(chosen), -1))


def test_a_garment_learns_motion_and_fabrics(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("DATA", str(tmp_path)))
    describe(tmp_path / "simulation.json", read_garment(tmp_path / "garment.npz"), ("denim",))
    assert main(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 0
    garment = load_garment(tmp_path / "run" / "skirt.safetensors")
    assert garment.fabrics == ("cotton", "denim") and garment.window == Window(LAGS, gravity=True, shape=True)
    assert garment.training["simulation"]["fabrics"]["denim"]["bending"] == find_fabric("denim").bending
    assert garment.pins is not None and not garment.pins.any()
    assert garment.network.settings.inputs == 12 and len(garment.settling) == 2
    assert garment.training["frames"] == 72 and garment.training["held_out"]["all"]["to_truth_mean"] < 50
    (tmp_path / "two-pasts").mkdir()
    write_sequence(tmp_path / "two-pasts" / "walk-cotton.npz", sequence("cotton", 0, 0.01, 60))
    write_sequence(tmp_path / "held-out" / "walk-cotton.npz", sequence("cotton", 0, 0.0, 60))
    asked = ["measure", str(tmp_path / "run" / "skirt.safetensors"), "--data", str(tmp_path), "--json"]
    assert main([*asked, str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())["cotton"]
    assert figures["skinned"]["all"]["distance"] < 0.01 and figures["skinned"]["walk"]["edges"] == pytest.approx(
        1, abs=0.1
    )
    assert figures["limit"]["walk"]["distance"] == pytest.approx(1e3 * 0.01 * 3**0.5, rel=1e-3)
    assert figures[str(tmp_path / "run" / "skirt.safetensors")]["walk"]["distance"] > 0.01


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"lags": [0.1]}, "need cloth in motion"),
        ({"fabrics": ["cotton"], "frames": 3}, "leave supervision and frames away"),
        ({"fabrics": "cotton"}, "fabrics must be of the kind"),
        ({"fabrics": ["cotton"], "lags": [-1.0]}, "Lags are seconds"),
    ],
)
def test_recipes_that_make_no_sense(keys, sentence):
    with pytest.raises(ConfigError, match=sentence):
        recipe_from_dict({"name": "skirt", "data": "x"} | keys)


def test_cloth_of_another_body_or_fabric_is_refused(tmp_path):
    write_folder(tmp_path)
    with pytest.raises(ConfigError, match="no cloth in motion of silk"):
        motion_of([sequence("cotton", 0)], LAGS, ("silk",))
    body = load_body("neutral")
    other = type(body)(**{**body.__dict__, "template": body.template + 0.01})
    with pytest.raises(ConfigError, match="was simulated on the body"):
        moving_carrier(tmp_path, other)


def test_a_damaged_sequence_is_named(tmp_path, capsys):
    write_folder(tmp_path)
    (tmp_path / "train" / "walk-cotton.npz").write_bytes(b"PK")
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("DATA", str(tmp_path)))
    assert main(["train", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    assert "walk-cotton.npz is not a file of cloth in motion" in capsys.readouterr().err
