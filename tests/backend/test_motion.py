"""Motions in AMASS's format."""

import numpy as np
import pytest

from scale_backend.motion import (
    Motion,
    axis_angle_from_matrices,
    load_motion,
    matrices_from_axis_angle,
    resample,
    save_motion,
)


def swing(frames: int = 31, rate: float = 30) -> Motion:
    rotations = np.zeros((frames, 24, 3), np.float32)
    rotations[:, 5, 0] = np.linspace(0, 1.5, frames)
    translation = np.zeros((frames, 3), np.float32)
    translation[:, 0] = np.linspace(0, 2, frames)
    return Motion(rotations, translation, np.zeros(10, np.float32), rate)


def test_matrices_and_back():
    rng = np.random.default_rng(0)
    rotations = rng.normal(size=(200, 3))
    rotations *= (rng.uniform(0, 3.14, 200) / np.linalg.norm(rotations, axis=1))[:, None]
    rotations[0] = 0
    matrices = matrices_from_axis_angle(rotations)
    assert np.allclose(matrices @ np.swapaxes(matrices, -1, -2), np.eye(3), atol=1e-12)
    assert np.allclose(axis_angle_from_matrices(matrices), rotations, atol=1e-7)


@pytest.mark.parametrize("rate", [24, 60, 29.97])
def test_resampling_keeps_speed_and_does_not_drift(rate):
    again = resample(swing(), rate)
    time = np.arange(again.frame_count) / rate
    assert again.frame_count == int(1.0 * rate + 1e-6) + 1
    assert np.allclose(again.rotations[:, 5, 0], 1.5 * np.minimum(time, 1), atol=1e-5)
    assert np.allclose(again.translation[:, 0], 2 * np.minimum(time, 1), atol=1e-5)


def test_round_trip_and_newer_keys(tmp_path):
    path = tmp_path / "swing.npz"
    save_motion(path, swing())
    back = load_motion(path)
    assert np.array_equal(back.rotations, swing().rotations)
    assert (back.frame_rate, back.up_axis, back.name) == (30, "Z", "swing")
    parts = {"root_orient": np.zeros((4, 3)), "pose_body": np.ones((4, 63)), "pose_hand": np.zeros((4, 90))}
    np.savez(tmp_path / "new.npz", **parts, trans=np.zeros((4, 3)), mocap_frame_rate=120)
    new = load_motion(tmp_path / "new.npz")
    assert new.rotations.shape == (4, 52, 3)
    assert new.frame_rate == 120
    assert new.rotations[0, 1].tolist() == [1, 1, 1]


def test_bad_files(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz has no 'poses'"):
        load_motion(tmp_path / "other.npz")
    np.savez(tmp_path / "short.npz", poses=np.zeros((4, 10)))
    with pytest.raises(ValueError, match="72, 156 or 165"):
        load_motion(tmp_path / "short.npz")
    np.savez(tmp_path / "nan.npz", poses=np.full((4, 72), np.nan))
    with pytest.raises(ValueError, match="not finite"):
        load_motion(tmp_path / "nan.npz")
    np.savez(tmp_path / "pickled.npz", poses=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="could not be read"):
        load_motion(tmp_path / "pickled.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK cut")
    with pytest.raises(ValueError, match=r"cut\.npz could not be read"):
        load_motion(tmp_path / "cut.npz")
