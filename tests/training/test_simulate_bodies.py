"""Cloth simulated on a body that does not ship, with fingers, face and correctives; and what is made of its frames."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scale_backend.decoding.decoder import DecodeOptions, Decoder
from scale_backend.formats.assets import find_body, find_motion
from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.motions import load_motion
from scale_backend.formats.poses import Poses
from scale_backend.geometry.body import load_body, pose_vertices
from scale_backend.model.garment import load_garment
from tests.training.family import TALL, write_relative
from training.frames.pack import PackSettings
from training.frames.pack import run as pack
from training.frames.packed_frames import read_packed
from training.frames.raw_frames import RawFramesError, chunk_path, read_garment, read_split
from training.learning.train import TrainSettings
from training.learning.train import run as train
from training.learning.trainer import NORM_FRAMES
from training.simulate.mesh_tools import ClosedSurface, Mesh
from training.simulate.run import SimulateSettings, run, simulate_motion
from training.simulate.skinning import load_skinned_body, rotation_matrices, skin_body, whole_pose

FRAMES = ("walk-0000", "walk-0071")
RECIPE = """
name: relative
data: raw
body: x.npz
mirror: true
network: {unet_width: 8, hidden: 32}
batch: 2
points: 200
steps: 3
warm_up: 1
subdivisions: 0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A body like SMPL-X's, and two frames of the walk simulated on it."""
    folder = tmp_path_factory.mktemp("relative")
    body = write_relative(folder / "x.npz", 55, correctives=True)
    simulate_motion("dress", find_motion("walk"), 2, folder / "raw", split="train", body=str(body))
    return folder


@pytest.mark.parametrize("joints", [52, 55])
def test_skinning_agrees_with_the_backends_body(tmp_path, joints):
    path = write_relative(tmp_path / "body.npz", joints, correctives=True)
    ours, model = load_skinned_body(path), load_body(path)
    pose = whole_pose(ours, np.random.default_rng(0).normal(0, 0.4, (24, 3)))
    pose[1] = -0.5, 0, 0
    assert not pose[22:].any()
    assert ours.digest() == model.digest
    rotations = torch.tensor(rotation_matrices(pose), dtype=torch.float32)[None]
    there = pose_vertices(model, rotations, torch.tensor(-ours.joints[:1], dtype=torch.float32))[0].numpy()
    posed = skin_body(ours, pose)
    assert np.abs(posed - there).max() < 1e-5
    assert np.abs(posed - skin_body(replace(ours, pose_components=None), pose)).max() > 0.003


def test_two_frames_of_a_motion_are_simulated_and_a_stopped_run_goes_on(folder):
    raw, body = folder / "raw", load_skinned_body(folder / "x.npz")
    frames, garment = read_split(raw, "train"), read_garment(raw)
    assert frames.names == FRAMES
    assert garment.body_name == "x"
    assert frames.vertices.shape == (2, *garment.vertices.shape)
    assert (frames.inside <= 0.005).all()
    assert (frames.speed < 4).all()
    motion = load_motion(find_motion("walk"))
    assert frames.pose.shape == (2, 55, 3)
    np.testing.assert_allclose(frames.pose[1, 1:22], motion.rotations[71, 1:22], atol=1e-6)
    assert not frames.pose[:, 0].any() and not frames.pose[:, 22:].any()
    held = garment.pin >= 1
    rest = garment.vertices - body.joints[0]
    assert np.abs(frames.vertices[0][held] - rest[held]).max() < 0.05  # the bodice follows the upright chest
    assert 0.001 < np.abs(frames.vertices[0] - frames.vertices[1]).mean() < 0.1
    for pose, cloth in zip(frames.pose, frames.vertices, strict=True):
        surface = ClosedSurface(Mesh(skin_body(body, pose.astype(np.float64)), body.triangles))
        assert (surface.distance(cloth.astype(np.float64))[0] > 0).mean() > 0.995  # correctives and all
    assert json.loads((raw / "train-report.json").read_text()) == {"kept": 2}

    written = chunk_path(raw, "train", 0).stat().st_mtime_ns
    simulate_motion("dress", find_motion("walk"), 2, raw, split="train", body=str(folder / "x.npz"))
    assert chunk_path(raw, "train", 0).stat().st_mtime_ns == written
    with pytest.raises(RawFramesError, match="was simulated on the body 'x', not on 'neutral'"):
        simulate_motion("dress", find_motion("walk"), 2, raw, split="train")
    with pytest.raises(RawFramesError, match="holds 'dress' simulated with other settings"):
        simulate_motion("tee-trousers", find_motion("walk"), 2, raw, split="train", body=str(folder / "x.npz"))


def test_a_garment_is_laid_onto_the_body(folder, skinned_body, garments):
    """Where on the larger body it is, is known: our own, scaled and moved."""
    body, laid, cut = load_skinned_body(folder / "x.npz"), read_garment(folder / "raw"), garments["dress"]
    there = body.joints[0] + TALL * (cut.mesh.vertices - skinned_body.joints[0])
    away = np.linalg.norm(laid.vertices - there, axis=1)
    assert away.mean() < 0.003 and away.max() < 0.015
    np.testing.assert_array_equal(laid.triangles, cut.mesh.triangles)
    np.testing.assert_allclose(laid.blend_weights[:, :22].sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(laid.blend_weights[:, :22], cut.blend_weights[:, :22], atol=0.05)


def test_frames_are_packed_trained_and_decoded_on_their_body(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setitem(NORM_FRAMES, "corresponding", 8)  # 512 take half a minute
    assert pack(PackSettings(Path("raw"), Path("packed"), points=500, body="x.npz")) == 2
    packed, body = read_packed(Path("packed/train/walk-0071.npz")), load_body("x.npz")
    assert packed.pose is not None and packed.pose.shape == (55, 3)
    assert len(packed.body_vertices) == len(body.template)
    Path("recipe.yaml").write_text(RECIPE)
    garment = load_garment(train(TrainSettings(Path("recipe.yaml"), out=Path("out"), device="cpu")))
    assert garment.training["frames"] == 4  # with their mirror images
    pose = read_split(Path("raw"), "train").pose[1:]
    rotations = torch.from_numpy(rotation_matrices(pose.astype(np.float64))).float()
    decoder = Decoder(garment, body)
    points, _ = decoder.decode(Poses(rotations, -body.mean_joints[:1]), DecodeOptions("mesh", push_out=False))
    of_smpl, _ = decoder.decode(Poses(rotations[:, :24], -body.mean_joints[:1]), DecodeOptions("mesh", push_out=False))
    assert torch.equal(points, of_smpl)
    truth = torch.from_numpy(read_split(Path("raw"), "train").vertices[1])
    assert (points[0] - truth).norm(dim=-1).mean() < 0.05


def test_bodies_that_cannot_be_used_say_what_is_needed(tmp_path):
    with np.load(find_body("neutral")) as file:
        arrays = dict(file)
    np.savez(tmp_path / "surface.npz", **{key: arrays[key] for key in ("v_template", "f", "vt", "ft")})
    few = arrays | {"weights": arrays["weights"][:, :23], "J_regressor": arrays["J_regressor"][:23]}
    few |= {"kintree_table": arrays["kintree_table"][:, :23]}
    few.pop("posedirs", None)
    np.savez(tmp_path / "few.npz", **few)
    (tmp_path / "template.obj").write_text("v 0 0 0\n")
    needed = r"; cloth is simulated on bodies that can be posed: an \.npz in SMPL's format with 24, 52 or 55 joints"
    for name, what in (("surface.npz", "is a surface alone"), ("template.obj", "alone"), ("few.npz", "has 23 joints")):
        with pytest.raises(ForeignFileError, match=f"{what}.*{needed}"):
            run(SimulateSettings(out=tmp_path / "out", body=str(tmp_path / name)))
    assert not (tmp_path / "out").exists()
