"""Pictures of points, positional maps as pictures, and the check of a folder."""

from __future__ import annotations

import av
import numpy as np
import pytest
import trimesh
from PIL import Image

from scale_backend.formats.point_files import read_points, write_points, write_results
from scale_backend.geometry.body import load_body
from scale_backend.geometry.positional_map import rasterise
from tests.training.synthetic import write_raw_folder
from training.cli import main
from training.frames.pack import PackSettings
from training.frames.pack import run as pack
from training.frames.packed_frames import PackedFrame, read_packed, write_packed
from training.pictures.splatter import Camera


def test_the_nearer_point_hides_the_farther():
    points = np.array([[0, 0, 0.5], [0, 0, -0.5]])
    colors = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    for azimuth, expected in ((0, [255, 0, 0]), (180, [0, 0, 255])):
        camera = Camera((0, 0, 0), 1.0, azimuth, 0.0, 64)
        for order in ([0, 1], [1, 0]):
            picture = camera.picture(points[order], None, colors[order], radius=0.1)
            assert picture[31, 31].tolist() == expected
            assert picture[2, 2].tolist() == [255, 255, 255]


def test_a_point_lands_where_the_camera_looks():
    camera = Camera((0, 1, 0), 1.0, 0.0, 0.0, 100)
    picture = camera.picture(np.array([[0.5, 1.5, 0]]), None, np.zeros((1, 3), np.uint8), radius=0.02)
    rows, columns = np.nonzero((picture < 128).all(-1))
    assert abs(rows.mean() - 24.5) < 1 and abs(columns.mean() - 74.5) < 1  # up and to its left, which is our right


def test_a_ball_has_no_holes():
    ball = trimesh.creation.icosphere(subdivisions=4)
    camera = Camera.around(ball.vertices.min(0), ball.vertices.max(0), size=200)
    picture = camera.picture(ball.vertices, None, np.zeros((len(ball.vertices), 3), np.uint8))
    row, column = np.meshgrid(np.arange(200), np.arange(200), indexing="ij")
    disc = (row - 99.5) ** 2 + (column - 99.5) ** 2 < (0.9 * 100 / 1.08) ** 2
    assert (picture[disc] < 128).all()


def test_both_sets_are_drawn_from_one_camera(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=3)
    for number in range(2):
        write_results(tmp_path, f"g_a.{number}", ball.vertices + number, ball.vertices, np.arange(len(ball.vertices)))
    assert main(["render", str(tmp_path), "--size", "96"]) == 0
    drawn = sorted(str(p.relative_to(tmp_path / "pictures")) for p in (tmp_path / "pictures").rglob("*.png"))
    assert drawn == ["normals/g_a.0_pred.png", "normals/g_a.1_pred.png", "patches/g_a.0_pred_patchcolor.png",
                     "patches/g_a.1_pred_patchcolor.png"]  # fmt: skip
    pictures = [np.asarray(Image.open(tmp_path / "pictures" / name)) for name in drawn[:2]]
    assert all(picture.shape == (96, 96, 3) for picture in pictures)
    inside = [np.nonzero((picture < 250).any(-1)) for picture in pictures]
    assert inside[1][1].mean() > inside[0][1].mean() + 5  # the second ball is elsewhere: the camera stood still
    for kind in ("normals", "patches"):
        with av.open(str(tmp_path / "pictures" / f"{kind}.mp4")) as film:
            assert film.streams.video[0].codec.name == "h264" and float(film.streams.video[0].average_rate) == 24
            frames = [frame.to_image().convert("L") for frame in film.decode(video=0)]
        assert len(frames) == 2
        drawn = sorted((tmp_path / "pictures" / kind).glob("*.png"))
        for frame, path in zip(frames, drawn, strict=True):  # in grey: colours have half the film's resolution
            assert np.abs(np.asarray(frame, int) - np.asarray(Image.open(path).convert("L"), int)).mean() < 4


def test_pictures_are_1024_pixels_wide_and_kept(tmp_path):
    ball = trimesh.creation.icosphere(subdivisions=2)
    write_results(tmp_path, "g_a.0", ball.vertices, ball.vertices, np.arange(len(ball.vertices)))
    picture = tmp_path / "pictures" / "normals" / "g_a.0_pred.png"
    for options, size in (([], 1024), (["--size", "33"], 33)):
        assert main(["render", str(tmp_path), *options]) == 0
        assert Image.open(picture).size == (size, size)
    written = picture.stat().st_mtime_ns
    assert main(["render", str(tmp_path), "--size", "33", "--frame-rate", "12.5"]) == 0
    assert picture.stat().st_mtime_ns == written
    with av.open(str(tmp_path / "pictures" / "normals.mp4")) as film:
        video = film.streams.video[0]
        assert (video.width, video.height, float(video.average_rate)) == (32, 32, 12.5)  # H.264 wants even sides


def test_nothing_to_draw_is_told(tmp_path, capsys):
    assert main(["render", str(tmp_path)]) == 2
    assert "holds no .ply files" in capsys.readouterr().err
    (tmp_path / "a.ply").write_text("ply\n")
    assert main(["render", str(tmp_path)]) == 2
    assert "a.ply cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("size", [32, 200])
def test_posmap_of_the_body(tmp_path, size):
    assert main(["posmap", "--size", str(size), "--out", str(tmp_path)]) == 0
    body = load_body()
    layout = rasterise(body.uv, body.uv_triangles, size)
    mask = np.load(tmp_path / f"mask{size}.npy")
    assert np.array_equal(mask, layout.mask.flatten().numpy())
    points = read_points(tmp_path / f"points{size}.ply").points
    with np.load(tmp_path / f"posmap{size}.npz") as file:
        assert np.allclose(file["posmap"][file["mask"]], points, atol=1e-6)
    picture = np.asarray(Image.open(tmp_path / f"posmap{size}.png"))
    assert picture.shape == (size, size, 3) and (picture[~layout.mask.numpy()] == 0).all()


def test_posmap_of_a_template(tmp_path, capsys):
    obj = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"
    (tmp_path / "uv.obj").write_text(obj)
    arguments = ["posmap", "--template", str(tmp_path / "uv.obj"), "--out", str(tmp_path), "--size", "8"]
    assert main(arguments) == 0
    with np.load(tmp_path / "posmap8.npz") as file:
        assert np.allclose(file["posmap"][7, 0], [1 / 16, 1 / 16, 0], atol=1e-6)  # u, v of the lowest, leftmost pixel
    (tmp_path / "uv.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert main(arguments) == 2
    assert "has no UVs" in capsys.readouterr().err


def test_check_finds_what_was_done_to_a_folder(tmp_path, capsys):
    write_raw_folder(tmp_path / "raw", {"train": 3, "val": 1})
    pack(PackSettings(raw=tmp_path / "raw", out=tmp_path / "packed", points=500))
    for folder in ("raw", "packed"):
        assert main(["check", str(tmp_path / folder)]) == 0
        assert "no faults" in capsys.readouterr().out
    train = sorted((tmp_path / "packed" / "train").glob("*.npz"))
    frames = [read_packed(path) for path in train]

    def change(number: int, **values) -> None:
        write_packed(train[number], PackedFrame(**{**frames[number].__dict__, **values}))

    change(0, normals=2 * frames[0].normals, name=frames[1].name)
    change(1, body_vertices=frames[1].body_vertices + 3)
    change(2, positional_map=np.zeros((64, 64, 3), np.float32))
    assert main(["check", str(tmp_path / "packed")]) == 2
    said = capsys.readouterr().out
    faults = (
        "normals of length 2.00", "is not at the origin", "does not lie on the body", "empty positional map",
        "positional maps of different sizes: 32 (3 frames), 64 (1 frames)", "names that occur twice",
    )  # fmt: skip
    for fault in faults:
        assert fault in said


def test_point_files_have_colours(tmp_path):
    write_points(tmp_path / "a.ply", np.zeros((2, 3)), np.ones((2, 3)), np.array([[1, 2, 3], [4, 5, 6]]))
    assert read_points(tmp_path / "a.ply").colors.tolist() == [[1, 2, 3], [4, 5, 6]]
