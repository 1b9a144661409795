"""The commands for scripts and farms, in processes of their own: exit codes, chunks, kills, signals."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np
import pytest
from PIL import Image

from blender_addon.headless import command_line
from scale_backend.client.backend import Backend
from tests.addon.conftest import USER_FOLDER
from tests.disks import small_disk
from tests.making import write_garment

ROOT = Path(__file__).resolve().parents[2]
LAST = 40


@pytest.fixture(scope="module")
def farm(tmp_path_factory, garment_files):
    """A saved scene with a walking character in a skirt, and the surroundings of a farm's machine."""
    folder = tmp_path_factory.mktemp("farm")
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    scene = bpy.context.scene
    bpy.ops.scale_clothing.add_character()
    bpy.ops.scale_clothing.apply_motion(motion="walk")
    scene.scale_clothing.garment = garment_files["skirt"]
    bpy.ops.scale_clothing.generate()
    scene.frame_start, scene.frame_end = 1, LAST
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.render.resolution_x = scene.render.resolution_y = 64
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location, camera.rotation_euler = (0, -4, 1), (1.57, 0, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scene.blend"))
    return Farm(folder)


class Farm:
    def __init__(self, folder: Path):
        self.folder, self.scene = folder, folder / "scene.blend"
        self.environment = {
            **os.environ,
            "BLENDER_USER_RESOURCES": USER_FOLDER.name,
            "SCALE_BACKEND_PYTHON": sys.executable,
        }

    def start(self, command: str, *arguments: object) -> subprocess.Popen:
        line = [sys.executable, "-u", "-m", "blender_addon.batch", command, self.scene, *arguments]
        return subprocess.Popen(
            list(map(str, line)),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: str, *arguments: object) -> tuple[int, str]:
        """Exit code and what was said."""
        process = self.start(command, *arguments)
        told, errors = process.communicate(timeout=120)
        return process.returncode, told + errors


@contextmanager
def shared_backend(farm: Farm) -> Iterator[None]:
    """A backend that was started by somebody else, as a farm's machine may have it for several Blenders."""
    with Backend.start(sys.executable) as backend:
        farm.environment |= {"SCALE_BACKEND_ADDRESS": backend.address, "SCALE_BACKEND_KEY": backend.key.hex()}
        try:
            yield
            assert backend.alive and backend.doctor()
        finally:
            del farm.environment["SCALE_BACKEND_ADDRESS"], farm.environment["SCALE_BACKEND_KEY"]


def until(process: subprocess.Popen, pattern: str) -> str:
    """The first line that matches."""
    for line in process.stdout:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"no '{pattern}' before the end: {process.stderr.read()}")


@pytest.fixture(scope="module")
def whole(farm) -> bytes:
    """The range baked in one go."""
    code, told = farm.run("bake", "--out", farm.folder / "whole")
    assert code == 0, told
    (path,) = (farm.folder / "whole").iterdir()
    assert f"saved {path}" in told and re.search(r"progress \d+/\d+ 100% Baking", told)
    return path.read_bytes()


def test_chunks_are_the_whole_and_what_exists_is_skipped(farm, whole, tmp_path):
    code, told = farm.run("bake", "--frames", f"1-5,6..6,7-{LAST}", "--out", tmp_path)
    assert code == 0, told
    chunks = sorted(tmp_path.iterdir())
    assert [each.stem[-10:] for each in chunks] == ["_0001-0005", "_0006-0006", f"_0007-{LAST:04d}"]
    assert b"".join(each.read_bytes()[32:] for each in chunks) == whole[32:]
    chunks[0].unlink()
    stamps = [each.stat().st_mtime_ns for each in chunks[1:]]
    code, told = farm.run("bake", "--frames", f"1-5,6..6,7-{LAST}", "--out", tmp_path)
    assert code == 0 and chunks[0].exists()
    assert [each.stat().st_mtime_ns for each in chunks[1:]] == stamps
    assert max(map(int, re.findall(r"progress \d+/(\d+)", told))) == 2 * 5


def test_a_bake_killed_ten_times_equals_one_that_was_not(farm, tmp_path):
    """SIGKILL at random moments of reading, decoding and writing. All runs use one backend, which outlives them."""
    chance, frames = random.Random(4), 600
    there = []
    with shared_backend(farm):
        code, told = farm.run("bake", "--frames", f"1-{frames}", "--out", tmp_path / "whole")
        assert code == 0, told
        for number in range(10):
            process = farm.start("bake", "--frames", f"1-{frames}", "--out", tmp_path / "killed")
            begin = frames if chance.random() < 0.8 else 0
            wait_for = begin + chance.randint(1, 30 * (number + 1))
            while int(re.search(r"progress (\d+)/", until(process, "progress"))[1]) < wait_for:
                continue
            time.sleep(chance.uniform(0, 0.005))
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL, "the bake was done before it was killed"
            there.append(max((each.stat().st_size for each in (tmp_path / "killed").iterdir()), default=0))
        code, told = farm.run("bake", "--frames", f"1-{frames}", "--out", tmp_path / "killed")
    assert code == 0, told
    (whole,), (resumed,) = (list((tmp_path / name).iterdir()) for name in ("whole", "killed"))
    assert resumed.read_bytes() == whole.read_bytes()
    assert sorted(there) == there and there[0] < there[-1] < whole.stat().st_size


def test_two_blenders_bake_into_one_folder_at_once(farm, whole, tmp_path):
    """Each its own frames; a third, which wants the first one's, is told who bakes them."""
    with shared_backend(farm):
        first, second = (farm.start("bake", "--frames", part, "--out", tmp_path) for part in ("1-20", f"21-{LAST}"))
        until(first, "progress .* Baking")
        first.send_signal(signal.SIGSTOP)
        code, told = farm.run("bake", "--frames", "1-20", "--out", tmp_path)
        first.send_signal(signal.SIGCONT)
        ends = [process.communicate(timeout=120) for process in (first, second)]
    assert code == 3 and f"is being baked by another Blender (process {first.pid} on" in told, told
    assert [process.returncode for process in (first, second)] == [0, 0], ends
    chunks = sorted(tmp_path.iterdir())
    assert len(chunks) == 2 and b"".join(each.read_bytes()[32:] for each in chunks) == whole[32:]


@pytest.mark.skipif(sys.platform == "win32", reason="there a test mounts no file systems")
def test_a_disk_that_gets_full_in_a_bake_and_one_that_is_read_only(farm, whole, tmp_path):
    """The bake stops before the last of the disk is taken, and goes on where there is room again."""
    with shared_backend(farm), small_disk(tmp_path, (64 << 20) + len(whole) // 2) as disk:
        if disk.limit is not None:  # of a disk that cannot be made small the size is told otherwise
            (tmp_path / "file").write_text("in the way")
        code, told = farm.run("bake", "--out", tmp_path if disk.limit is None else tmp_path / "file")
        assert code and "Traceback" not in told and re.search(r"make room|choose another folder", told), told
        disk.change(len(whole) + (128 << 20), writable=False)
        code, told = farm.run("bake", "--out", tmp_path)
        assert code and "Traceback" not in told and "choose another folder" in told, told
        disk.change(len(whole) + (128 << 20), writable=True)
        code, told = farm.run("bake", "--out", tmp_path)
        (path,) = (path for path in tmp_path.iterdir() if path.name != "file")
        assert code == 0 and path.read_bytes() == whole, told


def test_sigterm_leaves_what_is_done(farm, whole, tmp_path):
    process = farm.start("bake", "--out", tmp_path)
    until(process, "progress .* Baking")
    process.send_signal(signal.SIGTERM)
    told, errors = process.communicate(timeout=60)
    (path,) = tmp_path.iterdir()
    if path.suffix == ".part":
        assert process.returncode == 128 + signal.SIGTERM and "run the same command again to resume" in told, errors
    code, told = farm.run("bake", "--out", tmp_path)
    (path,) = tmp_path.iterdir()
    assert code == 0 and path.read_bytes() == whole


def test_pictures_are_rendered_once_and_the_same_in_chunks(farm, tmp_path):
    code, told = farm.run("render", "--frames", "9-12", "--out", tmp_path / "a", "--engine", "workbench")
    assert code == 0, told
    pictures = sorted((tmp_path / "a").iterdir())
    assert [each.name for each in pictures] == ["0009.png", "0010.png", "0011.png", "0012.png"]
    contents = [each.read_bytes() for each in pictures]
    assert len(set(contents)) == 4
    pictures[2].unlink()
    stamps = [each.stat().st_mtime_ns for each in pictures if each.exists()]
    code, told = farm.run("render", "--frames", "9-12", "--out", tmp_path / "a")
    assert code == 0 and "skipped 3 frames" in told and "progress 1/1 100%" in told
    assert pictures[2].read_bytes() == contents[2]
    assert [each.stat().st_mtime_ns for each in pictures if each != pictures[2]] == stamps


def test_sigterm_ends_a_long_render_at_once(farm, tmp_path):
    process = farm.start("render", "--frames", "9-12", "--out", tmp_path, "--engine", "cycles", "--samples", "100000",
                         "--size", "1600")  # fmt: skip
    until(process, "baked in")
    time.sleep(1.0)
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert time.monotonic() - sent < 15
    assert list(tmp_path.iterdir()) == []


def test_a_saved_bake_plays_without_the_add_on(farm, whole, tmp_path):
    code, told = farm.run("bake", "--out", tmp_path, "--save", tmp_path / "baked.blend")
    assert code == 0, told
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "baked.blend"))
    (modifier,) = (m for obj in bpy.data.objects for m in obj.modifiers if m.type == "MESH_CACHE")
    assert Path(bpy.path.abspath(modifier.filepath)).read_bytes() == whole
    baked = Farm(tmp_path)
    baked.scene = tmp_path / "baked.blend"
    pictures = []
    for each, folder in ((farm, tmp_path / "live"), (baked, tmp_path / "baked")):
        code, told = each.run("render", "--frames", "10", "--out", folder, "--engine", "workbench")
        assert code == 0, told
        with Image.open(folder / "0010.png") as picture:
            pictures.append(np.asarray(picture.convert("RGB"), int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 2


def test_info_is_json(farm):
    code, told = farm.run("info")
    assert code == 0
    info = json.loads(told[told.index("{") : told.rindex("}") + 1])
    (target,) = info["rigs"]
    assert target["family"] == "SMPL" and info["frames"] == [1, LAST] and info["camera"] == "Camera"
    assert target["clothes"][0]["vertices"] == 384 and not target["clothes"][0]["baked"]
    assert info["formats"]["pc2"] == "yes"


def test_exit_codes(farm, tmp_path):
    assert farm.run("bake", "--frames", "9-1")[0] == 2
    assert farm.run("bake", "--rig", "Nobody", "--out", tmp_path)[0] == 3
    (tmp_path / "file").write_text("no folder")
    assert farm.run("bake", "--out", tmp_path / "file")[0] == 5
    farm.environment["SCALE_BACKEND_PYTHON"] = shutil.which("false")
    try:
        code, told = farm.run("bake", "--out", tmp_path / "out")
    finally:
        farm.environment["SCALE_BACKEND_PYTHON"] = sys.executable
    assert code == 4 and "scale_clothing: error: The backend" in told


def test_another_garment_can_be_put_on(farm, tmp_path):
    other = write_garment(tmp_path / "other.safetensors", "body")
    code, told = farm.run("bake", "--garment", other, "--format", "ply", "--frames", "3-4", "--out", tmp_path / "out")
    assert code == 0, told
    assert [each.suffix for each in (tmp_path / "out").iterdir()] == [".ply", ".ply"]
    assert "note:" not in told


def test_normals_can_be_chosen(farm, tmp_path):
    code, told = farm.run("bake", "--normals", "decoded", "--frames", "3-4", "--out", tmp_path / "out",
                          "--save", tmp_path / "baked.blend")  # fmt: skip
    assert code == 0, told
    assert len(list((tmp_path / "out").glob("*.normals.pc2"))) == 1
    baked = Farm(tmp_path)
    baked.scene = tmp_path / "baked.blend"
    info = json.loads((told := baked.run("info")[1])[told.index("{") : told.rindex("}") + 1])
    assert info["rigs"][0]["clothes"][0]["normals"] == "decoded"
    pictures = []
    for normals in ("decoded", "faces"):  # the first as they are baked, the second in place of those
        code, told = baked.run("render", "--normals", normals, "--frames", "3", "--out", tmp_path / normals)
        assert code == 0 and ("baked in" in told) == (normals == "faces"), told
        with Image.open(tmp_path / normals / "0003.png") as picture:
            pictures.append(np.asarray(picture.convert("RGB"), int))
    assert np.abs(pictures[0] - pictures[1]).max() > 10


def test_faces_that_change_are_rendered_without_a_cache(farm, tmp_path):
    worn = ("--garment", "dress-body", "--surface", "poisson", "--frames", "9")
    code, told = farm.run("render", *worn, "--out", tmp_path / "pictures", "--engine", "workbench")
    assert code == 0, told
    with Image.open(tmp_path / "pictures" / "0009.png") as picture:
        assert np.asarray(picture.convert("L"), int).std() > 5
    code, told = farm.run("bake", *worn, "--out", tmp_path / "clothes")
    assert code == 3 and "choose PLY or OBJ files" in told


def test_frames_outside_the_scene_are_baked_and_mentioned(farm, tmp_path):
    code, told = farm.run("bake", "--frames", f"{LAST + 5}", "--format", "ply", "--out", tmp_path / "out")
    assert code == 0 and f"note: {LAST + 5} goes beyond the scene's frames, 1-{LAST}" in told
    assert len(list((tmp_path / "out").iterdir())) == 1


@pytest.mark.parametrize(
    ("text", "ranges"), [("7", [(7, 7)]), ("1-5, 8..9", [(1, 5), (8, 9)]), ("-5--2", [(-5, -2)]), ("-3..4", [(-3, 4)])]
)
def test_frames_are_read_as_people_write_them(text, ranges):
    assert command_line.frame_ranges(text) == ranges
