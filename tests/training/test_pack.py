"""Packed frames: the format in circulation, and that only what a scanner sees is sampled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from tests.training.synthetic import random_poses, skirt_groundwork, write_raw_folder
from training.frames.pack import PackSettings, make_packer, pack_frame, run
from training.frames.packed_frames import PackedFrameError, read_packed
from training.frames.raw_frames import RawFramesError, read_garment, read_split
from training.geometry.visibility import covered, ray_hits, visible_skin


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    write_raw_folder(folder, {"train": 2, "test": 1})
    out = folder / "packed"
    written = run(PackSettings(raw=folder, out=out, points=4000))
    return folder, out, written


def test_frames_hold_what_the_format_says(packed):
    folder, out, written = packed
    assert written == 3
    with np.load(out / "train" / "skirt_train.00001.npz") as file:
        shapes = {name: file[name].shape for name in file.files}
    assert shapes == {"posmap32": (32, 32, 3), "body_verts": (6890, 3), "scan_pc": (4000, 3), "scan_n": (4000, 3),
                      "scan_name": (), "scan_cloth": (4000,), "pose": (24, 3)}  # fmt: skip
    frame = read_packed(out / "train" / "skirt_train.00001.npz")
    assert frame.name == "skirt_train.00001"
    assert np.allclose(np.linalg.norm(frame.normals, axis=1), 1, atol=1e-5)
    # pelvis at the origin
    body = skirt_groundwork().body
    assert np.abs(body.joint_regressor.numpy()[0] @ frame.body_vertices).max() < 0.02
    truth = read_split(folder, "train").vertices[1]
    cloth = trimesh.Trimesh(truth, read_garment(folder).triangles, process=False)
    nearest = trimesh.proximity.closest_point_naive(cloth, frame.points[frame.cloth][:200])[1]
    assert nearest.max() < 1e-5


def test_packing_again_leaves_frames_alone(packed):
    folder, out, _ = packed
    assert run(PackSettings(raw=folder, out=out, points=10)) == 0


def test_damaged_frames_are_told(packed, tmp_path):
    _, out, _ = packed
    source = next((out / "train").glob("*.npz"))
    with pytest.raises(PackedFrameError, match="no positional map of 64 pixels"):
        read_packed(source, 64)
    short = tmp_path / "short.npz"
    short.write_bytes(source.read_bytes()[:500])
    with pytest.raises(PackedFrameError, match="cannot be read"):
        read_packed(short)


DAMAGE = {
    "scan_cloth that is neither 0 nor 1": {"scan_cloth": np.full(10, 0.5)},
    "a pose of 0 joints, not 24, 52 or 55": {"pose": np.zeros((0, 3))},
    "root of the shape": {"root": np.eye(3)},
    "colours of 2 numbers": {"scan_color": np.zeros((10, 2))},
    "10 scan points but 9 in scan_n": {"scan_n": np.zeros((9, 3))},
    "body_verts that holds no numbers": {"body_verts": np.full((9, 3), "x")},
    "numbers that are not finite": {"scan_pc": np.full((10, 3), 1e300)},
}


@pytest.mark.parametrize("sentence", DAMAGE)
def test_what_is_wrong_with_a_frame_is_told(tmp_path, sentence):
    points = np.zeros((10, 3))
    whole = {"posmap32": np.zeros((32, 32, 3)), "body_verts": np.zeros((9, 3)), "scan_pc": points, "scan_n": points}
    np.savez(tmp_path / "f.npz", **whole)
    assert read_packed(tmp_path / "f.npz").name == "f"
    np.savez(tmp_path / "f.npz", **(whole | DAMAGE[sentence]))
    with pytest.raises(PackedFrameError, match=sentence):
        read_packed(tmp_path / "f.npz")


def test_an_unknown_split_is_told(packed):
    with pytest.raises(RawFramesError, match="no split 'holdout'"):
        run(PackSettings(raw=packed[0], out=packed[1], splits=("holdout",)))


def sleeve(radius: float, length: float) -> trimesh.Trimesh:
    return trimesh.creation.cylinder(radius, length, sections=24).subdivide_to_size(0.03)


def test_skin_under_cloth_is_not_seen_and_bare_skin_is():
    limb = trimesh.creation.cylinder(0.05, 0.9, sections=32).subdivide_to_size(0.03)
    for radius, covers in ((0.058, True), (0.1, True)):  # close cover, and a loose tube a camera cannot look under
        tube = sleeve(radius, 0.4)
        open_ends = np.abs(tube.face_normals[:, 2]) < 0.5
        # turned upright: cameras stand round the vertical axis
        upright = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
        seen = visible_skin(limb.vertices @ upright.T, limb.faces, tube.vertices @ upright.T, tube.faces[open_ends])
        height = np.abs(limb.vertices[:, 2])
        assert seen[(height < 0.1)].any() != covers
        bare = (height > 0.3) & (height < 0.4)
        assert seen[bare].mean() > 0.95


def test_cover_is_found_by_rays():
    plane = np.array([[[-1, -1, 0.03], [3, -1, 0.03], [-1, 3, 0.03]]])
    starts = np.zeros((2, 3))
    rays = np.array([[0, 0, 1.0], [0, 0, -1.0]])
    hits = ray_hits(starts, rays, np.broadcast_to(plane, (2, 1, 3, 3)), 0.05)
    assert hits[:, 0].tolist() == [True, False]
    assert not ray_hits(starts, rays, np.broadcast_to(plane, (2, 1, 3, 3)), 0.02).any()
    points = np.array([[0.1, 0.1, 0], [0.1, 0.1, 0]])
    normals = np.array([[0, 0, 1.0], [0, 0, -1.0]])
    corners, faces = plane[0], np.array([[0, 1, 2]])
    near = covered(points, normals, corners * [0.05, 0.05, 1] + [0.1, 0.1, 0], faces)
    assert near.tolist() == [True, False]


def test_equal_seeds_give_equal_scans(packed):
    folder = packed[0]
    packer = make_packer(skirt_groundwork().body, read_garment(folder), points=500)
    cloth = read_split(folder, "test").vertices[0]
    first, second = (pack_frame(packer, random_poses(1, 5)[0], cloth, "a.0", seed=3) for _ in range(2))
    assert np.array_equal(first.points, second.points)
    assert torch.from_numpy(first.cloth).float().mean() > 0.1
