"""`scale-train test`: the files and figures that users of the release know."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import trimesh

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.point_files import PointFileError, patch_colors, read_points, write_points
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import load_garment
from tests.making import write_garment
from tests.training.synthetic import write_raw_folder
from training.cli import main
from training.frames.pack import PackSettings
from training.frames.pack import run as pack
from training.frames.packed_frames import PackedFrame, read_packed, write_packed
from training.measuring.figures import ScanFigures

TURN = np.array([[0.0, 0, 1, 5], [0, 1, 0, 2], [-1, 0, 0, 3], [0, 0, 0, 1]], np.float32)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("test-command")
    write_raw_folder(folder / "raw", {"test": 3})
    pack(PackSettings(raw=folder / "raw", out=folder / "packed", points=3000, splits=("test",)))
    return folder / "packed"


def run(*arguments: object) -> int:
    return main(["test", *map(str, arguments), "--device", "cpu"])


@pytest.mark.parametrize("kind", ["body", "garment"])
def test_points_are_what_the_fast_engine_decodes(packed, tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_garment(tmp_path / "g.safetensors", kind)
    assert run(path, "--packed", packed, "--every", 1) == 0
    garment, body = load_garment(path), load_body()
    frame = read_packed(packed / "test" / "skirt_test.00001.npz")
    rotations = torch.from_numpy(matrices_from_axis_angle(frame.pose[None])).float()
    part = "whole body" if kind == "body" else "clothes"
    asked = Poses(rotations, -body.mean_joints[:1]), DecodeOptions("points", part, push_out=False)
    points, normals = Decoder(garment, body).decode(*asked)
    found = read_points(tmp_path / "results" / f"test-{kind}" / f"test-{kind}_skirt_test.00001_pred.ply")
    assert np.abs(found.points - points[0].numpy()).max() < 1e-4
    assert np.abs(found.normals - normals[0].numpy()).max() < 2e-3
    assert np.array_equal(found.colors, np.clip(found.normals * 127.5 + 128, 0, 255).astype(np.uint8))


def test_names_log_and_json(packed, tmp_path, capsys):
    garment = write_garment(tmp_path / "g.safetensors", "body")
    assert run(garment, "--packed", packed, "--out", tmp_path / "out") == 0
    written = {path.name for path in (tmp_path / "out").glob("*.ply")}  # of three frames every tenth: the first
    assert written == {"test-body_skirt_test.00000_pred.ply", "test-body_skirt_test.00000_pred_patchcolor.ply"}
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["frame"] for row in content["rows"]] == [f"skirt_test.{i:05d}" for i in range(3)]
    mean = content["mean"]
    assert mean["chamfer"] == pytest.approx(mean["m2s"] + mean["s2m"])
    assert mean["m2s"] == pytest.approx(np.mean([row["m2s"] for row in content["rows"]]))
    log = (tmp_path / "out" / "results.log").read_text()
    assert f"chamfer {mean['chamfer']:.4f}" in log and f"{mean['to_scan_mm']:.2f} mm" in log
    colors = read_points(tmp_path / "out" / "test-body_skirt_test.00000_pred_patchcolor.ply").colors
    by_patch = colors.reshape(-1, 16, 3)
    assert (by_patch == by_patch[:, :1]).all() and len(np.unique(by_patch[:, 0], axis=0)) > 100


def test_normalisation_is_undone(packed, tmp_path):
    garment = write_garment(tmp_path / "g.safetensors", "body")
    frame = read_packed(packed / "test" / "skirt_test.00000.npz")
    values = {**frame.__dict__, "root": TURN, "name": "turned"}
    write_packed(tmp_path / "turned" / "turned.npz", PackedFrame(**values))
    assert run(garment, "--packed", tmp_path / "turned", "--out", tmp_path / "a") == 0
    assert run(garment, "--packed", tmp_path / "turned", "--out", tmp_path / "b", "--normalised") == 0
    a, b = (read_points(tmp_path / name / "test-body_turned_pred.ply") for name in "ab")
    assert np.allclose(a.points, b.points @ TURN[:3, :3].T + TURN[:3, 3], atol=1e-5)
    assert np.allclose(a.normals, b.normals @ TURN[:3, :3].T, atol=1e-6)


def test_figures_of_a_known_offset():
    plane = torch.cartesian_prod(torch.arange(30.0), torch.arange(30.0), torch.zeros(1)) * 0.01
    up = torch.tensor([0.0, 0, 1]).expand_as(plane)
    figures = ScanFigures()
    figures.add("a", plane + torch.tensor([0, 0.002, 0.004]), torch.tensor([0.0, 0.6, 0.8]).expand_as(plane), plane, up)
    mean = figures.mean()
    assert mean["m2s"] == pytest.approx(1e4 * 0.004**2, rel=1e-4)  # to the plane: the shift along it is free
    assert mean["s2m"] == pytest.approx(1e4 * (0.004**2 + 0.002**2), rel=1e-4)
    assert mean["normal"] == pytest.approx((0.6 + 0.2) / 3, rel=1e-4)
    assert mean["to_scan_mm"] == pytest.approx(1e3 * np.hypot(0.002, 0.004), rel=1e-4)
    assert mean["normal_degrees"] == pytest.approx(np.degrees(np.arccos(0.8)), rel=1e-4)


def test_point_files_are_read_by_others_and_others_by_us(tmp_path):
    random = np.random.default_rng(0)
    points, normals = random.normal(size=(2, 50, 3)).astype(np.float32)
    write_points(tmp_path / "a.ply", points, normals, patch_colors(np.arange(50)))
    theirs = trimesh.load(tmp_path / "a.ply", process=False)
    assert np.array_equal(theirs.vertices.astype(np.float32), points)
    ball = trimesh.creation.icosphere(subdivisions=1)
    for encoding in ("ascii", "binary"):
        ball.export(tmp_path / f"{encoding}.ply", encoding=encoding)
        assert np.allclose(read_points(tmp_path / f"{encoding}.ply").points, ball.vertices, atol=1e-6)
    (tmp_path / "b.ply").write_bytes((tmp_path / "a.ply").read_bytes()[:400])
    with pytest.raises(PointFileError, match=r"b\.ply cannot be read"):
        read_points(tmp_path / "b.ply")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--packed", "packed"], "Name a garment"),
        (["g.safetensors"], "--packed"),
        (["g.safetensors", "--packed", "nowhere"], "There is no folder nowhere"),
        (["g.safetensors", "--packed", "raw"], "no packed frames of the split 'test' (splits there: none)"),
        (["--config", "c.yaml"], "There is no garment runs"),
        (["g.safetensors", "--config", "c.yaml"], "holds raw frames"),
        (["g64.safetensors", "--packed", "packed"], "no positional map of 64 pixels (there: posmap32)"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(packed, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    write_garment(tmp_path / "g.safetensors", "body")
    write_garment(tmp_path / "g64.safetensors", "body", map_size=64)
    (tmp_path / "packed").symlink_to(packed)
    (tmp_path / "raw").symlink_to(packed.parent / "raw")
    (tmp_path / "c.yaml").write_text("name: skirt\ndata_root: raw\nmode: test\n")
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert said in error.splitlines()[-1]
