"""Motions in AMASS's format."""

import numpy as np
import pytest

from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.motion import (
    Motion,
    MotionError,
    axis_angle_from_matrices,
    matrices_from_axis_angle,
    resample,
    save_motion,
)
from scale_backend.formats.motions import load_motion


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


def test_round_trip(tmp_path):
    path = tmp_path / "swing.npz"
    save_motion(path, swing())
    back = load_motion(path)
    assert np.array_equal(back.rotations, swing().rotations)
    assert (back.frame_rate, back.up_axis, back.name) == (30, "Z", "swing")


def parts(count: int = 4) -> dict[str, np.ndarray]:
    """The keys of newer files, each joint with a number of its own."""
    sizes = {"root_orient": 3, "pose_body": 63, "pose_jaw": 3, "pose_eye": 6, "pose_hand": 90}
    starts = np.cumsum([0, *sizes.values()])
    return {
        name: np.tile(np.arange(start, start + size) / 1000, (count, 1))
        for (name, size), start in zip(sizes.items(), starts, strict=False)
    }


@pytest.mark.parametrize(
    ("left_out", "joint_count"),
    [((), 55), (("pose_jaw", "pose_eye"), 52), (("pose_jaw", "pose_eye", "pose_hand"), 22), (("pose_eye",), 55)],
)
def test_newer_keys(tmp_path, left_out, joint_count):
    kept = {name: array for name, array in parts().items() if name not in left_out}
    np.savez(tmp_path / "new.npz", **kept, trans=np.zeros((4, 3)), mocap_frame_rate=120, gender=b"female",
             surface_model_type="smplx", betas=np.tile(np.arange(16.0), (4, 1)))  # fmt: skip
    new = load_motion(tmp_path / "new.npz")
    assert new.rotations.shape == (4, joint_count, 3) and len(new.joint_names) == joint_count
    assert (new.frame_rate, new.model, new.gender) == (120, "smplx", "female")
    assert new.shape.tolist() == list(range(16))
    if "pose_hand" in kept:
        at = new.joint_names.index("left_index1")
        np.testing.assert_allclose(new.rotations[2, at], kept["pose_hand"][2, :3], rtol=1e-6)
    if joint_count == 55:
        assert new.rotations[:, 23:25].any() == ("pose_eye" in kept)


@pytest.mark.parametrize(("columns", "model"), [(66, ""), (72, "smpl"), (156, "smplh"), (165, "smplx")])
def test_families_are_known_by_their_columns(tmp_path, columns, model):
    np.savez(tmp_path / "some.npz", poses=np.zeros((2, columns)), trans=np.zeros((2, 3)))
    some = load_motion(tmp_path / "some.npz")
    assert some.model == model and some.rotations.shape[1] == columns // 3
    assert some.frame_rate == 30 and not some.frame_rate_known
    assert load_motion(tmp_path / "some.npz", frame_rate=59.94).frame_rate == 59.94


def test_the_axis_along_which_the_body_stands(tmp_path):
    standing_up = {"Y": np.zeros(3), "Z": np.array([np.pi / 2, 0, 0])}
    for axis, root in standing_up.items():
        poses = np.zeros((10, 72))
        poses[:, :3] = root + np.random.default_rng(0).normal(0, 0.2, (10, 3))
        np.savez(tmp_path / "some.npz", poses=poses)
        assert load_motion(tmp_path / "some.npz").up_axis == axis
        assert load_motion(tmp_path / "some.npz", "Z").up_axis == "Z"


BAD_FILES = {
    "no 'poses': it is not a motion of SMPL's family. It holds x": {"x": np.zeros(3)},
    "poses of 10 columns; SMPL motions have 66, 72, 156 or 165": {"poses": np.zeros((4, 10))},
    "not finite": {"poses": np.full((4, 72), np.nan)},
    "holds something else than numbers": {"poses": np.array([{}], dtype=object)},
    "no poses in it": {"poses": np.zeros((0, 72))},
    r"4 poses, but 'trans' of shape \(3, 3\)": {"poses": np.zeros((4, 72)), "trans": np.zeros((3, 3))},
    "frame rate of 0": {"poses": np.zeros((4, 72)), "fps": 0},
    "frame rate of nan": {"poses": np.zeros((4, 72)), "fps": np.nan},
    "up axis 'X'": {"poses": np.zeros((4, 72)), "up_axis": "x"},
    "no 'root_orient'": {"pose_body": np.zeros((4, 63))},
    r"'pose_hand' of shape \(4, 24\)": {
        "root_orient": np.zeros((4, 3)),
        "pose_body": np.zeros((4, 63)),
        "pose_hand": np.zeros((4, 24)),
    },
}


@pytest.mark.parametrize("sentence", BAD_FILES)
def test_bad_files(tmp_path, sentence):
    np.savez(tmp_path / "bad.npz", **BAD_FILES[sentence])
    with pytest.raises(ForeignFileError, match=rf"^bad\.npz .*{sentence}"):
        load_motion(tmp_path / "bad.npz")


def test_files_that_are_no_archives(tmp_path):
    (tmp_path / "cut.npz").write_bytes(b"PK cut")
    with pytest.raises(ForeignFileError, match=r"cut\.npz could not be read: it is no \.npz file"):
        load_motion(tmp_path / "cut.npz")
    np.save(tmp_path / "array.npy", np.zeros((4, 72)))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")  # known by what it holds
    assert load_motion(tmp_path / "array.npz").frame_count == 4
    with pytest.raises(FileNotFoundError):
        load_motion(tmp_path / "none.npz")


def test_a_rate_that_would_make_millions_of_frames_is_refused():
    with pytest.raises(MotionError, match="6,000,001 frames; check the frame rate"):
        resample(swing(frames=2, rate=1e-5), 60)
