"""Raw pairs of scan and body: normalised, packed, put back, and rejected with reasons."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import trimesh

from scale_backend.formats.errors import UserError
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.point_files import read_points
from scale_backend.geometry.body import load_body, pose_vertices
from tests.making import write_garment
from tests.training.synthetic import random_poses
from training.cli import main
from training.frames.body_fit import fit_body
from training.frames.packed_frames import read_packed, scan_colors
from training.geometry.meshes import MeshError, read_mesh, read_obj

PLACE = np.array([1.0, 2.0, 3.0], np.float32)


def posed(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices of the body, its root orientation, and the pelvis, somewhere in space."""
    body = load_body()
    pose = random_poses(1, number)
    pose[0, 0] = [0.3, 1.2, -0.4]
    rotations = torch.from_numpy(matrices_from_axis_angle(pose)).float()
    vertices = pose_vertices(body, rotations, torch.from_numpy(PLACE)[None])[0].numpy()
    return vertices, rotations[0, 0].numpy(), body.mean_joints[0].numpy() + PLACE


def write_obj(path, vertices: np.ndarray, faces: np.ndarray) -> None:
    lines = [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in faces + 1]
    path.write_text("\n".join(lines) + "\n")


def write_pair(folder, name: str, number: int = 0, scan: np.ndarray | None = None, body: np.ndarray | None = None):
    folder.mkdir(parents=True, exist_ok=True)
    vertices, faces = posed(number)[0], load_body().triangles.numpy()
    normals = trimesh.Trimesh(vertices, faces, process=False).vertex_normals
    cloth = vertices + 0.01 * normals if scan is None else scan
    # open: the lower legs' triangles are left out, so the scan is not watertight
    write_obj(folder / f"{name}_clothed.obj", cloth, faces[cloth[faces].mean(1)[:, 1] > np.nanmin(cloth[:, 1]) + 0.1])
    write_obj(folder / f"{name}_minimal.obj", vertices if body is None else body, faces)


def test_the_pose_of_a_body_is_found_again():
    vertices, orientation, pelvis = posed(3)
    fit = fit_body(load_body(), vertices)
    assert fit.error < 2e-3
    assert np.abs(fit.root[:3, :3] - orientation).max() < 0.02
    assert np.linalg.norm(fit.root[:3, 3] - pelvis) < 5e-3
    with pytest.raises(UserError, match="100 vertices, the body 'neutral' has 6890"):
        fit_body(load_body(), vertices[:100])


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    vertices = posed(0)[0]
    write_pair(folder / "raw" / "train", "shirt_walk.00001", 1)
    write_pair(folder / "raw" / "test", "shirt_walk.00002", 2)
    write_pair(folder / "raw" / "train" / "tuesday", "shirt_walk.00001", 3)
    broken = vertices.copy()
    broken[7] = np.nan
    write_pair(folder / "raw", "nan", scan=broken)
    write_pair(folder / "raw", "apart", scan=vertices + 2)
    write_pair(folder / "raw", "millimetres", scan=1000 * vertices)
    write_pair(folder / "raw", "shuffled", body=vertices[::-1])
    write_pair(folder / "raw", "alone")
    (folder / "raw" / "alone_minimal.obj").unlink()
    write_pair(folder / "raw", "empty")
    (folder / "raw" / "empty_clothed.obj").write_text("# nothing\n")
    write_pair(folder / "raw", "topology")
    write_obj(folder / "raw" / "topology_minimal.obj", vertices[:50], np.array([[0, 1, 2]]))
    status = main(["pack", str(folder / "raw"), "--out", str(folder / "packed"), "--points", "3000",
                   "--processes", "2"])  # fmt: skip
    return folder, status


def test_what_is_rejected_and_why(packed):
    folder, status = packed
    report = json.loads((folder / "packed" / "pack-report.json").read_text())
    assert status == 0 and report["packed"] == 2
    said = {"nan": "that are not finite", "apart": "m apart", "millimetres": "both in metres", "empty": "scan is empty",
            "shuffled": "no pose of 'neutral'", "alone": "there is no alone_minimal",
            "topology": "50 vertices", "train/tuesday/shirt_walk.00001_clothed.obj": "has this name too"}  # fmt: skip
    assert report["rejected"].keys() == said.keys()
    assert all(text in report["rejected"][name] for name, text in said.items())


def test_frames_are_normalised_and_results_are_put_back(packed, tmp_path):
    folder, _ = packed
    frame = read_packed(folder / "packed" / "test" / "shirt_walk.00002.npz")
    vertices, orientation, pelvis = posed(2)
    normalised = (vertices - pelvis) @ orientation
    assert np.linalg.norm(frame.body_vertices - normalised, axis=1).mean() < 5e-3
    assert np.linalg.norm(frame.points, axis=1).max() < 1.5
    garment = write_garment(tmp_path / "g.safetensors", "body")
    arguments = ["test", str(garment), "--packed", str(folder / "packed"), "--out", str(tmp_path), "--device", "cpu"]
    assert main(arguments) == 0
    points = read_points(tmp_path / "test-body_shirt_walk.00002_pred.ply").points
    # where the scan stood, up to what random weights do
    assert np.linalg.norm(points.mean(0) - vertices.mean(0)) < 0.15


def test_packed_pairs_pass_the_check_but_for_a_missing_split(packed, capsys):
    folder, _ = packed
    assert main(["check", str(folder / "packed")]) == 2
    assert capsys.readouterr().out.count("fault:") == 1


def test_a_limit_is_one_for_each_split(tmp_path):
    for number, split in enumerate(("train", "train", "val", "test")):
        write_pair(tmp_path / "raw" / split, f"shirt_walk.{number:05d}", number)
    arguments = ["pack", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--points", "100"]
    assert main([*arguments, "--limit", "1", "--splits", "train", "val"]) == 0
    assert sorted(path.parent.name for path in (tmp_path / "out").glob("*/*.npz")) == ["train", "val"]
    assert main(arguments) == 0
    report = json.loads((tmp_path / "out" / "pack-report.json").read_text())
    assert report == {"packed": 2, "there already": 2, "rejected": {}}


def test_mistakes_are_one_sentence(tmp_path, capsys):
    assert main(["pack", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert "There is no" in capsys.readouterr().err
    assert main(["pack", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "neither frames of scale-train simulate nor pairs" in capsys.readouterr().err


def test_colours_of_scans(tmp_path):
    square = "v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 1 1 0 0 0 1\nv 0 1 0 1 1 1\nf 1 2 3 4\n"
    (tmp_path / "a.obj").write_text(square)
    mesh = read_obj(tmp_path / "a.obj")
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3]] and mesh.colors.tolist()[2] == [0, 0, 1]
    colored = trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False, vertex_colors=[255, 0, 0, 255])
    colored.visual.vertex_colors[1] = [9, 9, 9, 0]
    colored.export(tmp_path / "a.ply")
    colors = read_mesh(tmp_path / "a.ply").colors
    assert np.isnan(colors[1]).all() and colors[0].tolist() == [1, 0, 0]
    assert np.isnan(scan_colors(np.array([[0, 0, 0], [255, 0, 51]], np.uint8))).tolist() == [[True] * 3, [False] * 3]
    assert not np.isnan(scan_colors(np.zeros((1, 3), np.float32))).any()


@pytest.mark.parametrize(("text", "told"), [
    ("v 0 0\nv 1 0\nv 1 1\nf 1 2 3\n", "a line of 2 numbers, or of some that are not finite, line 1"),
    ("v 0 0 0\nv nan 0 0\n", "not finite, line 2"),
    ("v 0 0 0\nf 1 2 3\n", "its faces point outside its vertices"),
    ("v 0 0 0\nf 0 1 1\nv 0 0 0\n", "a face with the number 0, line 2"),
    ("v 0 0 0\nvt 0\nf 1/1 1/1 1/1\n", "a line of 1 numbers"),
    ("v 0 0 0\nvt 0 0\nf 1/1 1/1 1/2\n", "its faces point outside its UVs"),
    ("v 0 0 0\nf 1 1 " + "9" * 5000 + "\n", "line 2"),
])  # fmt: skip
def test_damaged_obj_files_are_told(tmp_path, text, told):
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(MeshError, match=rf"a\.obj cannot be read as an \.obj .*{told}") as error:
        read_obj(tmp_path / "a.obj")
    assert len(str(error.value)) < 250


def test_normals_are_smooth_across_a_seam(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=2)
    torn = trimesh.Trimesh(ball.triangles.reshape(-1, 3), np.arange(3 * len(ball.faces)).reshape(-1, 3), process=False)
    torn.export(tmp_path / "torn.ply")
    mesh = read_mesh(tmp_path / "torn.ply")
    assert len(mesh.vertices) == 3 * len(ball.faces)
    assert (mesh.normals() * mesh.vertices).sum(1).min() > 0.99
