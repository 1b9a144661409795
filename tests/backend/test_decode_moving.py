"""`scale-backend decode` of a garment that feels motion: any part of a motion is that of the whole, whatever is up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scale_backend.cli import main
from scale_backend.formats.motion import Motion, matrices_from_axis_angle, save_motion
from scale_backend.formats.window import Window
from scale_backend.model.garment import load_garment, save_garment
from tests.making import make_moving_garment

WINDOWS = Window((0.1, 0.35), gravity=True), Window((0.1, 0.2, 0.35), gravity=True, coarse=True)
UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # from Y up to Z up


@pytest.fixture(scope="module", params=WINDOWS, ids=("moments", "coarse"))
def garment(tmp_path_factory, request) -> Path:
    path = tmp_path_factory.mktemp("garments") / "moving.safetensors"
    save_garment(path, make_moving_garment(request.param))
    return path


@pytest.fixture(scope="module")
def motions(tmp_path_factory) -> Path:
    """The same motion with Y up and with Z up."""
    folder = tmp_path_factory.mktemp("motions")
    random = np.random.default_rng(2)
    time = np.linspace(0, 1, 16)[:, None, None]
    rotations = (np.sin(time * random.normal(0, 2, (1, 24, 3))) * 0.6).astype(np.float32)
    places = (time[:, 0] * [0.5, 0.1, 1.0]).astype(np.float32)
    for up, turn in (("Y", np.eye(3)), ("Z", UP)):
        turned = rotations.copy()
        turned[:, 0] = axis_angle(turn @ matrices_from_axis_angle(rotations[:, 0]))
        moved = places @ turn.T
        save_motion(folder / f"{up}.npz", Motion(turned, moved.astype(np.float32), np.zeros(10, np.float32), 24.0, up))
    return folder


def axis_angle(matrices: np.ndarray) -> np.ndarray:  # [F, 3, 3] -> [F, 3]
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrices).as_rotvec()


def decoded(garment: Path, motion: Path, out: Path, *options: object) -> dict[str, np.ndarray]:
    """Points by file name."""
    line = ["decode", garment, "--motion", motion, "--out", out, "--format", "npz", "--device", "cpu", "--threads", "1",
            "--precision", "float32", *options]  # fmt: skip
    assert main([str(each) for each in line]) == 0
    return {path.name: np.load(path)["points"] for path in sorted(out.glob("*.npz"))}


def test_any_part_is_that_of_the_whole(garment, motions, tmp_path):
    whole = decoded(garment, motions / "Y.npz", tmp_path / "whole")
    part = decoded(garment, motions / "Y.npz", tmp_path / "part", "--frames", "12-13", "--batch", "1")
    assert list(part) == list(whole)[12:14]
    for name, points in part.items():
        np.testing.assert_array_equal(points, whole[name])
    still = decoded(garment, motions / "Y.npz", tmp_path / "still", "--frames", "12", "--at-rest")
    (alone,) = still.values()
    assert np.abs(alone - next(iter(part.values()))).max() > 1e-3


def test_down_is_down_whichever_axis_is_up(garment, motions, tmp_path):
    falls = load_garment(garment).window.coarse  # in some hundred steps, in which rounding grows
    points = [decoded(garment, motions / f"{up}.npz", tmp_path / up, "--axes", "Y", "--frames", "10") for up in "YZ"]
    # the pelvis, which turns go round, is not the origin: what is compared is the cloth about its middle
    one, other = (next(iter(each.values())) for each in points)
    np.testing.assert_allclose(one - one.mean(0), other - other.mean(0), atol=1e-3 if falls else 2e-5)


def test_fabrics_by_name(garment, motions, tmp_path, capsys):
    line = [garment, motions / "Y.npz"]
    first, named, other = (
        next(iter(decoded(*line, tmp_path / (fabric or "none"), "--frames", "9", *options).values()))
        for fabric, options in (("", ()), ("cotton", ("--fabric", "cotton")), ("denim", ("--fabric", "denim")))
    )
    np.testing.assert_array_equal(first, named)
    assert np.abs(first - other).max() > 1e-5
    between = ("--mixed-with", "denim", "--mix")
    none, whole = (
        next(iter(decoded(*line, tmp_path / f"mix-{mix}", "--frames", "9", *between, mix).values())) for mix in "01"
    )
    np.testing.assert_array_equal(none, first)
    np.testing.assert_array_equal(whole, other)
    told = ["decode", garment, "--motion", line[1], "--out", tmp_path, "--fabric", "silk"]
    assert main([str(each) for each in told]) == 2
    assert "has no fabric 'silk'; it offers cotton, denim" in capsys.readouterr().err
