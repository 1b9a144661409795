"""Long work in a window: a moment at a time, stopped and gone on with, with the time that is left."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import bpy
import numpy as np
import pytest

from blender_addon.bake import baking, plan
from blender_addon.bake.run import Run
from blender_addon.blender import meshes, pc2
from blender_addon.clothes import live, playback, selection
from blender_addon.messages import AddonError
from blender_addon.tasks import time_left
from blender_addon.tasks.ahead import ahead
from blender_addon.tasks.time_left import TimeLeft
from blender_addon.ui import bake_operators

FRAMES = 20


@pytest.fixture
def swinging(dressed, character, scene) -> bpy.types.Object:
    scene.frame_start, scene.frame_end = 1, FRAMES
    bone = character.pose.bones["left_hip"]
    for frame, angle in ((1, -0.5), (FRAMES, 0.8)):
        bone.rotation_quaternion = (np.cos(angle / 2), np.sin(angle / 2), 0, 0)
        bone.keyframe_insert("rotation_quaternion", frame=frame)
    return dressed


def begin(obj: bpy.types.Object, scene: bpy.types.Scene, folder: Path, **options) -> Run:
    settings = plan.BakeSettings(str(folder), 1, FRAMES, **options)
    return Run([obj], settings, baking.bake(scene, [obj], settings, bake_operators.PATIENCE))


def until_baking(run: Run) -> None:
    while run.progress.text != "Baking " + selection.all_clothes()[0].name:
        assert run.advance()


def test_a_bake_in_a_window_is_the_blocking_one(swinging, scene, bake_folder):
    run = begin(swinging, scene, bake_folder)
    shares, longest = [], 0.0
    began = time.monotonic()
    while run.advance():
        shares.append(run.share)
        longest = max(longest, time.monotonic() - began)
        began = time.monotonic()
    assert shares == sorted(shares) and shares[-1] <= 1.0
    assert run.summary().startswith(f"Baked {FRAMES} frames of '{swinging.name}'")
    assert 0 < float(run.summary().rsplit("in ", 1)[1].removesuffix(" s")) < 10  # what it took, not rounded to fives
    path = plan.bake_path(swinging, plan.BakeSettings(str(bake_folder), 1, FRAMES))
    frames = pc2.read_frames(path)
    bpy.ops.scale_clothing.bake(overwrite=True)
    np.testing.assert_array_equal(pc2.read_frames(path), frames)


def test_while_frames_are_baked_the_scene_is_the_users(swinging, scene, bake_folder):
    scene.frame_set(4)
    run = begin(swinging, scene, bake_folder)
    run.progress = next(run.steps)
    assert run.progress.moves_frames  # while poses are read, it is not
    until_baking(run)
    assert scene.frame_current == 4 and not run.progress.moves_frames
    before = meshes.get_positions(swinging.data)
    scene.frame_set(18)
    assert np.abs(meshes.get_positions(swinging.data) - before).max() > 0.03  # live clothes go on following
    while run.advance():
        pass
    assert scene.frame_current == 18 and playback.is_baked(swinging)


@pytest.mark.parametrize("event", ["undo", "another file", "stop"])
def test_what_the_bake_holds_may_go(swinging, scene, bake_folder, event, monkeypatch):
    scene.frame_set(4)
    run = begin(swinging, scene, bake_folder)
    monkeypatch.setattr(bake_operators, "_run", run)
    next(run.steps)
    for handlers in bake_operators._watched():
        handlers.append(bake_operators._scene_goes)
    try:
        if event == "undo":  # there is none in background: what Blender calls before it
            for handler in bpy.app.handlers.undo_pre:
                handler(scene)
        elif event == "another file":
            bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
        else:
            bpy.ops.scale_clothing.stop_bake()
        assert run.stopped == bake_operators.STOPPED
        if event != "another file":
            assert scene.frame_current == 4 and not playback.is_baked(swinging)
        assert not live._suspended
        assert not list(bake_folder.glob("*.pc2"))
    finally:
        bake_operators._forget_run()
    assert not any(bake_operators._scene_goes in handlers for handlers in bake_operators._watched())


def test_clothes_that_are_deleted_while_they_are_baked(swinging, scene, bake_folder):
    run = begin(swinging, scene, bake_folder)
    until_baking(run)
    bpy.data.objects.remove(swinging)
    with pytest.raises(AddonError, match="deleted while they were being baked"):
        while run.advance():
            pass


def test_there_is_one_bake_at_a_time(swinging, scene, bake_folder, monkeypatch):
    monkeypatch.setattr(bake_operators, "_run", begin(swinging, scene, bake_folder))
    assert not bpy.ops.scale_clothing.bake.poll() and bpy.ops.scale_clothing.stop_bake.poll()
    monkeypatch.setattr(bake_operators, "_run", None)
    assert bpy.ops.scale_clothing.bake.poll() and not bpy.ops.scale_clothing.stop_bake.poll()


def test_a_thread_works_ahead_and_ends_when_it_is_not_wanted():
    gate, closed, given = threading.Event(), threading.Event(), []

    def source():
        try:
            for number in range(100):
                given.append(number)
                yield number
                if number == 1:
                    gate.wait(10)
        finally:
            closed.set()

    with ahead(source(), patience=0.02) as items:
        assert next(items) == 0 and next(items) == 1
        assert next(items) is None  # not there yet: there is time for something else
        gate.set()
        assert next(item for item in items if item is not None) == 2
    assert closed.wait(10) and len(given) < 10

    def failing():
        yield 1
        raise AddonError("It broke.")

    with ahead(failing(), None) as items:
        assert next(items) == 1
        with pytest.raises(AddonError, match="It broke"):
            next(items)
    with ahead((number for number in range(3)), None) as items:
        assert list(items) == [0, 1, 2]


def test_the_time_that_is_left():
    left = TimeLeft()
    assert str(left) == ""
    left.saw(0.1, now=100.0)
    left.saw(0.11, now=100.5)
    assert left.seconds is None  # too early
    for second in range(1, 60):
        left.saw(0.1 + 0.01 * second, now=100.0 + second)
    assert left.seconds == pytest.approx(31.0)
    assert str(left) == ", 30 s left"
    assert [time_left.spoken(seconds) for seconds in (1, 57, 200, 5400)] == ["5 s", "1 min", "3 min", "1 h 30 min"]
