"""Nobody looks: a backend that dies is started again, and where that fails a render does too, with an exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import bpy
import numpy as np
import pytest

from blender_addon.backend import process
from blender_addon.backend import settings as backend_settings
from blender_addon.blender import meshes
from blender_addon.clothes import unattended
from scale_backend.client.backend import BackendError
from tests.addon.test_bake import FRAMES, cache, moving, parts, steps_of  # noqa: F401 -- moving is a fixture
from tests.backend.serving import gone, start

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def slow_python(path: Path, seconds: int = 60) -> Path:
    """A Python that takes its time before it begins."""
    path.write_text(f'#!/bin/sh\necho $$ > {path}.pid\nsleep {seconds}\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def until(holds, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "It did not happen."
        time.sleep(0.01)


# a render goes on


def rendered_frames(scene, tmp_path: Path, obj, disturb=None) -> list[np.ndarray]:
    """The clothes' positions in each frame of a rendered animation; `disturb` is called before a frame's update."""
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera, scene.render.engine = camera, "BLENDER_WORKBENCH"
    scene.render.resolution_x = scene.render.resolution_y = 16
    scene.frame_end = 6
    scene.render.filepath = str(tmp_path / "frame")
    shapes: list[np.ndarray] = []
    handlers = bpy.app.handlers
    before = [lambda scene, *_: disturb(scene.frame_current)] if disturb else []
    after = [lambda *_: shapes.append(meshes.get_positions(obj.data))]
    handlers.frame_change_pre.extend(before)
    handlers.render_post.extend(after)
    try:
        assert bpy.ops.render.render(animation=True) == {"FINISHED"}
    finally:
        handlers.frame_change_pre.remove(before[0]) if before else None
        handlers.render_post.remove(after[0])
    return shapes


@posix_only
def test_a_render_outlives_the_backend(moving, scene, tmp_path):  # noqa: F811
    expected = rendered_frames(scene, tmp_path, moving)
    killed = []

    def kill(frame: int) -> None:
        if frame in (4, 6):
            killed.append(process.get().pid)
            os.kill(killed[-1], signal.SIGKILL)  # and nobody has noticed yet

    shapes = rendered_frames(scene, tmp_path, moving, kill)
    assert len(set(killed)) == 2 and unattended.failure() == "" and moving.scale_clothing.live
    for shape, other in zip(shapes, expected, strict=True):
        np.testing.assert_array_equal(shape, other)
    assert np.abs(shapes[3] - shapes[0]).max() > 1e-3


def undisturbed_bake(clothes: bpy.types.Object, bake_folder: Path) -> bytes:
    """What a bake writes; nothing of it is left."""
    bpy.ops.scale_clothing.bake()
    written = cache(clothes, bake_folder).read_bytes()
    bpy.ops.scale_clothing.clear_bake()
    cache(clothes, bake_folder).unlink()
    return written


@posix_only
def test_a_bake_outlives_the_backend_to_the_bit(moving, scene, bake_folder):  # noqa: F811
    expected = undisturbed_bake(moving, bake_folder)
    todo = steps_of(moving, scene, bake_folder)
    while next(todo).done <= FRAMES:
        pass
    killed = process.get().pid
    os.kill(killed, signal.SIGKILL)
    for _ in todo:
        pass
    assert process.get().pid != killed and not parts(bake_folder)
    assert cache(moving, bake_folder).read_bytes() == expected


@posix_only
def test_a_bake_outlives_a_backend_that_stands_still_in_mid_message(moving, scene, bake_folder):  # noqa: F811
    expected = undisturbed_bake(moving, bake_folder)
    stuck = process.get()
    stuck._silence = 2.0  # seconds; 120 for others
    todo = steps_of(moving, scene, bake_folder)
    while next(todo).done <= FRAMES:
        pass
    os.kill(stuck.pid, signal.SIGSTOP)
    for _ in todo:
        pass
    assert process.get().pid != stuck.pid and gone(stuck.pid) and not parts(bake_folder)
    assert cache(moving, bake_folder).read_bytes() == expected


FAILING = """
import os, pathlib, signal, sys
import bpy, blender_addon
from blender_addon.backend import process
garment, out, python, format = sys.argv[1:]
blender_addon.register()
bpy.ops.scale_clothing.add_character()
scene = bpy.context.scene
scene.scale_clothing.garment = garment
bpy.ops.scale_clothing.generate()
camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
scene.collection.objects.link(camera)
scene.camera, scene.render.engine = camera, "BLENDER_WORKBENCH"
scene.render.resolution_x = scene.render.resolution_y = 16
scene.frame_end = 6
scene.render.filepath = out + "/frame"
scene.render.image_settings.file_format = format
def kill(scene, *_):
    if scene.frame_current == 3 and os.path.exists(python):
        pathlib.Path(python).unlink()
        os.kill(process.get().pid, signal.SIGKILL)
bpy.app.handlers.frame_change_pre.append(kill)
try:
    bpy.ops.render.render(animation=True)
except RuntimeError as error:
    print("the render failed", scene.render.filepath == out + "/frame", scene.render.image_settings.file_format)
"""


@posix_only
@pytest.mark.parametrize("file_format", ["PNG", "FFMPEG"])
def test_where_no_other_starts_the_render_fails_with_an_exit_code(garment_files, tmp_path, file_format):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "out").mkdir()
    run = [sys.executable, "-c", FAILING, garment_files["skirt"], str(tmp_path / "out"), str(python), file_format]
    environment = {**os.environ, "SCALE_BACKEND_PYTHON": str(python)}
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == unattended.EXIT_CODE, (done.returncode, done.stdout, done.stderr)
    assert "scale_clothing: error: The backend's Python could not be started" in done.stderr
    assert f"the render failed True {file_format}" in done.stdout
    if file_format == "PNG":
        assert sorted(os.listdir(tmp_path / "out")) == ["frame0001.png", "frame0002.png"]


# a start holds nobody


@pytest.fixture
def slow(dressed, tmp_path, monkeypatch):
    """A backend that takes a minute to begin."""
    process.stop()
    monkeypatch.setenv("SCALE_BACKEND_PYTHON", str(slow_python(tmp_path / "slow")))
    yield tmp_path / "slow.pid"
    process.stop()


@posix_only
@pytest.mark.parametrize("leave", [process.stop, process.unregister], ids=["a preference", "disabling"])
def test_a_start_can_be_made_unwanted_at_once(slow, leave):
    process.start_beside()
    until(slow.exists)
    assert process.status().kind == process.STARTING
    heard: list[BaseException] = []

    def wait_for_it() -> None:
        try:
            process.get(process.Launch.read())
        except BackendError as error:
            heard.append(error)

    other = threading.Thread(target=wait_for_it)
    other.start()
    time.sleep(0.1)
    began = time.monotonic()
    try:
        leave()
        assert time.monotonic() - began < 0.5
        assert process.status().kind == process.NOT_STARTED
        other.join(5)
        assert [str(each) for each in heard] == ["The start of the backend was stopped; start it again."]
        assert gone(int(slow.read_text()))
    finally:
        process.register()


@posix_only
def test_a_backend_that_stands_still_is_stopped_at_once(dressed):
    bpy.ops.scale_clothing.update()
    pid = process.get().pid
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    process.stop()
    assert time.monotonic() - began < 1.0 and gone(pid)


# threads have a launch


def test_threads_never_read_preferences(dressed, monkeypatch):
    bpy.ops.scale_clothing.update()
    launch = process.launch()
    assert isinstance(launch, process.Launch)  # while it runs too
    process.get()._process.child.kill()
    process.get()._process.child.wait()

    def read() -> None:
        raise AssertionError("Blender's data was read in a thread")

    monkeypatch.setattr(process.Launch, "read", read)
    started: list[object] = []
    thread = threading.Thread(target=lambda: started.append(process.get(launch)))
    thread.start()
    thread.join(120)
    assert started == [process.get()] and process.running()


# a backend of another program


def test_a_shared_backend_is_used_where_there_is_none_of_ones_own(dressed, tmp_path, monkeypatch):
    process.stop()
    with start() as shared, contextlib.ExitStack() as stack:
        stack.callback(process.stop)
        monkeypatch.delenv(backend_settings.PYTHON_VARIABLE)
        monkeypatch.setenv(backend_settings.FOLDER_VARIABLE, str(tmp_path / "none"))
        monkeypatch.setenv(process.ADDRESS_VARIABLE, shared.address)
        monkeypatch.setenv(process.KEY_VARIABLE, shared.key.hex())
        assert process.status().kind == process.NOT_STARTED
        assert bpy.ops.scale_clothing.update() == {"FINISHED"}
        assert process.status().kind == process.READY and process.get().pid is None
        process.stop()
        assert shared.alive and shared.doctor()
        monkeypatch.setenv(process.KEY_VARIABLE, "no digits")
        with pytest.raises(RuntimeError, match="SCALE_BACKEND_KEY must be the backend's key, 64 hexadecimal digits"):
            bpy.ops.scale_clothing.update()
