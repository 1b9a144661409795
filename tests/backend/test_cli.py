"""The command line as a user has it: real processes, real files."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh

import scale_backend
from scale_backend.cli import main
from scale_backend.commands.frame_sources import frame_range
from scale_backend.commands.options import UsageError
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.frame_files import ply_bytes
from scale_backend.formats.motion import Motion, matrices_from_axis_angle, save_motion
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import load_garment
from tests.making import write_garment

PACKAGES = Path(scale_backend.__file__).parent.parent
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.fixture(scope="module")
def garment(tmp_path_factory):
    return write_garment(tmp_path_factory.mktemp("garments") / "skirt.safetensors")


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    path = tmp_path_factory.mktemp("motions") / "steps.npz"
    random = np.random.default_rng(2)
    rotations = random.normal(0, 0.1, (6, 24, 3)).astype(np.float32)
    save_motion(path, Motion(rotations, random.normal(0, 1, (6, 3)).astype(np.float32), np.ones(10, np.float32), 30.0))
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "scale_backend", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PACKAGES), "OMP_NUM_THREADS": "1"}


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(), stdin=subprocess.DEVNULL
    )


def test_decoded_frames_are_the_engines(garment, motion, tmp_path):
    done = run("decode", garment, "--motion", motion, "--out", tmp_path / "new" / "ply", "--device", "cpu",
               "--frames", "1-4", "--normals", "decoded")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "The CPU was asked for." in done.stderr and "4/4" in done.stderr
    files = sorted((tmp_path / "new" / "ply").glob("*.ply"))
    assert [f.name for f in files] == [f"test-garment_{frame:05d}.ply" for frame in range(1, 5)]

    poses = np.load(motion)
    import torch

    decoder = Decoder(load_garment(garment), load_body(), precision="auto")
    rotations = torch.from_numpy(matrices_from_axis_angle(poses["poses"].reshape(6, 24, 3))).float()
    points, normals = decoder.decode(
        Poses(rotations, torch.from_numpy(poses["trans"]), torch.ones(10)), DecodeOptions(normals="decoded")
    )
    for frame, file in enumerate(files, 1):
        mesh = trimesh.load(file, process=False)
        assert np.abs(mesh.vertices - points[frame].numpy()).max() < 5e-5
        assert np.array_equal(mesh.faces, decoder.topology().triangles)
        assert np.abs(mesh.vertex_normals - normals[frame].numpy()).max() < 1e-2


def test_axes_person_and_foreign_betas(garment, motion, tmp_path, capsys):
    """What is written has the axis up that was asked for; betas of another body are left out, and both is said."""
    with np.load(motion) as file:
        arrays = dict(file)
    poses = np.tile(arrays["poses"][:1], (2, 1))
    poses[:, :3] = [np.pi / 2, 0, 0]
    people = {"1": {"poses": poses, "trans": arrays["trans"][:2], "betas": np.ones(10)},
              "2": {"poses": poses[:1], "trans": arrays["trans"][:1], "betas": np.ones(10)}}  # fmt: skip
    (tmp_path / "two.pkl").write_bytes(pickle.dumps(people))
    points = {}
    wanted = ["--surface", "points", "--format", "npz", "--precision", "float32", "--device", "cpu", "--threads", "1"]
    for name, options in {"Z": [], "Y": ["--axes", "Y"], "two": ["--person", "2"], "betas": ["--betas"]}.items():
        arguments = ["decode", garment, "--motion", tmp_path / "two.pkl", "--out", tmp_path / name, *wanted, *options]
        assert main([str(argument) for argument in arguments]) == 0
        told = capsys.readouterr().err
        assert f"frames are written with {'Y' if name == 'Y' else 'Z'} up" in told
        assert ("its body shape is left out, as betas are of a body of the model smpl" in told) == (name != "betas")
        files = sorted((tmp_path / name).glob("*.npz"))
        assert len(files) == (1 if name == "two" else 2)
        points[name] = np.load(files[0])["points"]
    x, y, z = points["Z"].T
    np.testing.assert_allclose(points["Y"], np.stack([x, z, -y], 1), atol=1e-6)
    np.testing.assert_array_equal(points["two"], points["Z"])
    assert np.abs(points["betas"] - points["Z"]).max() > 1e-3


def test_points_as_npz(garment, motion, tmp_path):
    done = run("decode", garment, "--motion", motion, "--out", tmp_path, "--device", "cpu", "--frames", "5",
               "--surface", "points", "--format", "npz")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*.npz")
    with np.load(file) as data:
        assert set(data) == {"points", "normals", "triangles", "uv", "patch", "region"}
        assert data["points"].shape == data["normals"].shape == (len(data["patch"]), 3)
        assert data["triangles"].shape == (0, 3)


def test_what_is_there_is_not_overwritten_unasked(garment, motion, tmp_path):
    arguments = ["decode", garment, "--motion", motion, "--out", tmp_path, "--device", "cpu", "--frames", "0-1"]
    there = tmp_path / "test-garment_00001.ply"
    there.write_text("mine")
    done = run(*arguments)
    assert done.returncode == 2 and "replace them with --overwrite" in done.stderr
    assert there.read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    assert run(*arguments, "--overwrite").returncode == 0
    assert there.read_bytes().startswith(b"ply") and len(list(tmp_path.glob("*.ply"))) == 2


def test_decoding_goes_on_where_it_was_stopped(garment, motion, tmp_path, capsys):
    arguments = ["decode", garment, "--motion", motion, "--out", tmp_path, "--device", "cpu", "--threads", "1"]
    arguments = [str(a) for a in arguments]
    assert main([*arguments, "--frames", "1-2"]) == 0
    kept = tmp_path / "test-garment_00001.ply"
    stamp, content = kept.stat().st_mtime_ns, kept.read_bytes()
    gap = tmp_path / "test-garment_00002.ply"
    second = gap.read_bytes()
    gap.unlink()
    capsys.readouterr()
    assert main([*arguments, "--frames", "0-3"]) == 0
    assert "1 of 4 frames are there already" in capsys.readouterr().err
    assert kept.stat().st_mtime_ns == stamp and gap.read_bytes() == second
    assert sorted(p.name for p in tmp_path.glob("*.ply")) == [f"test-garment_0000{n}.ply" for n in range(4)]
    assert main([*arguments, "--frames", "0-3"]) == 0 and "4 of 4" in capsys.readouterr().err
    # frames that were made with other settings are neither kept silently nor lost, nor may they pass for others later
    assert main([*arguments, "--frames", "1-2", "--no-push-out", "--overwrite"]) == 2
    assert "2 frames that were not asked for" in capsys.readouterr().err and kept.read_bytes() == content
    assert main([*arguments, "--frames", "0-3", "--precision", "bfloat16"]) == 2
    capsys.readouterr()
    assert main([*arguments, "--frames", "0-3", "--no-push-out"]) == 2
    assert "made with other settings" in capsys.readouterr().err and kept.read_bytes() == content
    assert main([*arguments, "--frames", "1", "--overwrite"]) == 0
    assert kept.stat().st_mtime_ns > stamp and kept.read_bytes() == content


def wrong_requests(garment: Path, motion: Path, folder: Path) -> dict[str, list]:
    cut, file = folder / "cut.safetensors", folder / "file"
    cut.write_bytes(garment.read_bytes()[:4000])
    file.write_text("in the way")
    out = ["--out", folder / "out"]
    good = ["decode", garment, "--motion", motion, *out]
    return {
        "There is no file": ["decode", folder / "absent.safetensors", "--motion", motion, *out],
        "There is no garment 'absent'; give the path": ["decode", "absent", "--motion", motion, *out],
        "cut.safetensors is cut short": ["decode", cut, "--motion", motion, *out],
        "could not be read": ["decode", garment, "--motion", garment, *out],
        "has no part 'whole body'": [*good, "--part", "whole-body"],
        "Say what to decode": ["decode", garment, *out],
        "or packed frames with --packed": [*good, "--packed", folder],
        "holds no packed frames": ["decode", garment, *out, "--packed", folder],
        "--every is for packed frames": [*good, "--every", "2"],
        "--axes, --up-axis, --person and --betas are for motions": [
            "decode",
            garment,
            *out,
            "--packed",
            folder,
            "--axes",
            "Z",
        ],
        "has no surface 'cloud'; it offers": [*good, "--surface", "cloud"],
        "is no range": [*good, "--frames", "a-b"],
        "it has the frames 0-5": [*good, "--frames", "3-9"],
        "cannot be written": ["decode", garment, "--motion", motion, "--out", file / "inside"],
        "A batch of 0 frames": [*good, "--batch", "0"],
        "-3 threads": [*good, "--threads", "-3"],
        "no garment file": ["info", file],
        "which hands it a key|key of 64": ["serve"],
    }


def test_errors_are_one_sentence_and_exit_code_2(garment, motion, tmp_path, capsys, monkeypatch):
    import re

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"no key\n")))
    for sentence, arguments in wrong_requests(garment, motion, tmp_path).items():
        assert main([str(a) for a in arguments]) == 2, arguments
        told = capsys.readouterr().err
        assert re.search(sentence, told) and told.count("\n") == 1, told
    assert list(tmp_path.glob("out/*")) == []


def test_a_device_that_is_missing(garment, motion, tmp_path):
    import torch

    missing = "mps" if torch.cuda.is_available() else "cuda"
    done = run("decode", garment, "--motion", motion, "--out", tmp_path, "--device", missing)
    assert done.returncode == 2 and "Choose the device 'cpu' or 'auto'." in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_options_that_do_not_exist_are_refused():
    done = run("decode", "dress", "--motoin", "walk")
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_help_names_every_command():
    done = run("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("serve", "doctor", "decode", "info"))


def test_info_prints_the_files_own_words(garment):
    done = run("info", garment)
    assert done.returncode == 0 and json.loads(done.stdout)["title"] == "Test garment"


@posix_only
def test_a_reader_who_has_seen_enough_is_no_mistake(garment):
    command = [sys.executable, "-m", "scale_backend", "info", str(garment)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() == 141


@posix_only
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_leaves_whole_frames(garment, tmp_path, number, code):
    motion = tmp_path / "long.npz"
    save_motion(
        motion, Motion(np.zeros((3000, 24, 3), np.float32), np.zeros((3000, 3), np.float32), np.zeros(10), 30.0)
    )
    out = tmp_path / "out"
    arguments = command("decode", garment, "--motion", motion, "--out", out, "--device", "cpu", "--surface", "points")
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, env=environment()) as process:
        deadline = time.monotonic() + 30
        while not list(out.glob("*.ply")) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        told = process.stderr.read().decode()
        assert process.wait(20) == code and "Traceback" not in told
    files = list(out.glob("*.ply"))
    assert 0 < len(files) < 3000 and {f.name for f in set(out.iterdir()) - set(files)} == {"test-garment.decode.json"}
    assert len({f.stat().st_size for f in files}) == 1
    trimesh.load(max(files), process=False)


def test_frame_ranges():
    assert frame_range("", 10) == (0, 9)
    assert frame_range("3", 10) == (3, 3)
    assert frame_range("3-7", 10) == (3, 7)
    for text in ("7-3", "10", "1-2-3", "-1", "1-", "x"):
        with pytest.raises(UsageError):
            frame_range(text, 10)


def test_ply_of_a_point_cloud_is_read_back():
    random = np.random.default_rng(0)
    points, normals = random.random((2, 50, 3)).astype(np.float32)
    data = ply_bytes(points, normals, np.zeros((0, 3), np.int32), np.arange(50))
    cloud = trimesh.load(io.BytesIO(data), file_type="ply")
    assert np.array_equal(cloud.vertices, points)
    raw = cloud.metadata["_ply_raw"]["vertex"]["data"]
    assert np.array_equal(raw["nx"].ravel(), normals[:, 0]) and np.array_equal(raw["patch"].ravel(), np.arange(50))
