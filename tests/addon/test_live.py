"""Live clothes: exact for scripts and renders; for users never in the way, the newest pose wins."""

from __future__ import annotations

import threading
import time

import bpy
import numpy as np
import pytest

from blender_addon import messages
from blender_addon.backend import process
from blender_addon.blender import meshes
from blender_addon.clothes import dressing, live, selection
from blender_addon.garments import opened
from blender_addon.tasks.background import DecodingThread


def until(holds, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "It did not happen."
        time.sleep(0.01)


def ours(name: str) -> int:
    handlers = getattr(bpy.app.handlers, name)
    return sum(handler.__module__.startswith("blender_addon") for handler in handlers)


@pytest.fixture
def swinging(dressed, character) -> bpy.types.Object:
    """Clothes of a character that swings a leg from frame 1 to 20."""
    bone = character.pose.bones["left_hip"]
    for frame, angle in ((1, -0.5), (20, 0.8)):
        bone.rotation_quaternion = (np.cos(angle / 2), np.sin(angle / 2), 0, 0)
        bone.keyframe_insert("rotation_quaternion", frame=frame)
    return dressed


@pytest.fixture
def by_user(monkeypatch):
    """As in a window, where a user goes through the frames; the tests call what Blender's timers would."""
    monkeypatch.setattr(live, "_must_be_exact", lambda: False)
    monkeypatch.setattr(live, "_by_user", lambda: True)
    monkeypatch.setattr(live, "_soon", lambda *_: None)
    yield
    live._beside.forget()


class Heavy:
    """Work that keeps the decoding thread busy until it is released."""

    def __init__(self):
        self.release = threading.Event()
        live._beside.ask(-1, lambda: self.release.wait(20))
        until(lambda: not live._beside._asked)


def exact(scene, obj) -> np.ndarray:
    live.update(scene, bpy.context.evaluated_depsgraph_get())
    return meshes.get_positions(obj.data)


def test_a_light_frame_is_there_with_the_frame(swinging, scene, by_user):
    scene.frame_set(20)  # opens the garment, and tells how long it takes
    until(lambda: live._collect() is None)
    scene.frame_set(1)
    shown = meshes.get_positions(swinging.data)
    np.testing.assert_allclose(shown, exact(scene, swinging), atol=1e-6)


def test_a_heavy_frame_does_not_hold_blender_and_the_newest_pose_wins(swinging, scene, by_user):
    scene.frame_set(1)
    until(lambda: live._collect() is None)
    first = meshes.get_positions(swinging.data)
    heavy = Heavy()
    began = time.monotonic()
    for frame in (5, 10, 15, 20):
        scene.frame_set(frame)
    assert time.monotonic() - began < 5.0  # nobody waited for what does not end
    np.testing.assert_array_equal(meshes.get_positions(swinging.data), first)  # the last result stays
    assert len(live._beside._asked) == 1
    heavy.release.set()
    until(lambda: live._collect() is None)
    shown = meshes.get_positions(swinging.data)
    assert np.abs(shown - first).max() > 0.03
    np.testing.assert_allclose(shown, exact(scene, swinging), atol=1e-6)


def test_what_comes_too_late_for_its_clothes_is_dropped(swinging, scene, by_user):
    for leave in (
        lambda: dressing.remove(swinging),
        lambda: bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True),
    ):
        heavy = Heavy()
        scene.frame_set(7)
        leave()
        heavy.release.set()
        until(lambda: live._collect() is None)
        assert selection.all_clothes() == []
        scene = bpy.context.scene
    assert messages.last_error() == ""


def test_late_results_of_another_scene_come_there(swinging, character, scene, by_user):
    other = bpy.data.scenes.new("Other")
    twin = swinging.copy()
    twin.data = twin.data.copy()
    for obj in (twin, character):
        other.collection.objects.link(obj)
    other.view_layers[0].update()  # it has no depsgraph before
    scene.frame_set(1)
    until(lambda: live._collect() is None)
    first = meshes.get_positions(swinging.data)
    heavy = Heavy()
    scene.frame_set(20)
    heavy.release.set()
    until(lambda: not live._beside.busy)
    live.update(other, other.view_layers[0].depsgraph, waits=False)
    assert np.abs(meshes.get_positions(swinging.data) - first).max() > 0.03
    until(lambda: live._collect() is None)

    heavy = Heavy()
    scene.frame_set(1)
    live._beside.ask(twin.session_uid, lambda: 1 // 0)  # an error that nobody foresaw takes nothing from the others
    heavy.release.set()
    until(lambda: not live._beside.busy)
    with pytest.raises(ZeroDivisionError):
        live._collect()
    np.testing.assert_allclose(meshes.get_positions(swinging.data), first, atol=1e-6)


def test_edited_clothes_are_left_alone(swinging, scene, by_user):
    heavy = Heavy()
    scene.frame_set(20)
    bpy.context.view_layer.objects.active = swinging
    bpy.ops.object.mode_set(mode="EDIT")
    heavy.release.set()
    until(lambda: live._collect() is None)
    scene.frame_set(10)
    assert live.followers(scene) == [] and messages.last_error() == ""
    bpy.ops.object.mode_set(mode="OBJECT")
    assert live.followers(scene) == [swinging]


def test_an_error_beside_is_told_and_switches_off(swinging, scene, by_user, monkeypatch):
    heavy = Heavy()
    scene.frame_set(20)
    process.stop()
    monkeypatch.setattr(opened, "open_garment", lambda *_: (_ for _ in ()).throw(messages.AddonError("It is gone.")))
    heavy.release.set()
    until(lambda: live._collect() is None)
    assert not swinging.scale_clothing.live
    assert messages.last_error().startswith("It is gone. Live update of '")


def test_a_backend_that_is_not_running_starts_beside(swinging, scene, by_user):
    process.stop()
    began = time.monotonic()
    scene.frame_set(20)
    assert time.monotonic() - began < 2.0 and not process.running()
    until(lambda: process.status().kind == process.STARTING)
    until(lambda: live._collect() is None, 90)
    assert process.status().kind == process.READY
    shown = meshes.get_positions(swinging.data)
    np.testing.assert_allclose(shown, exact(scene, swinging), atol=1e-6)


def test_a_script_a_render_and_an_export_get_exact_clothes(swinging, scene, tmp_path):
    """Also where a work is under way: here the test is the script."""
    assert not live._by_user()
    shapes = {}
    for frame in (1, 20):
        scene.frame_set(frame)
        shapes[frame] = meshes.get_positions(swinging.data)
    rendered = {}

    def remember(scene, *_):
        rendered[scene.frame_current] = meshes.get_positions(swinging.data)

    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera, scene.render.engine = camera, "BLENDER_WORKBENCH"
    scene.render.resolution_x = scene.render.resolution_y = 16
    scene.frame_start, scene.frame_end, scene.frame_step = 1, 20, 19
    scene.render.filepath = str(tmp_path / "frame")
    bpy.app.handlers.render_post.append(remember)
    try:
        bpy.ops.render.render(animation=True)
    finally:
        bpy.app.handlers.render_post.remove(remember)
    for frame in (1, 20):
        np.testing.assert_array_equal(rendered[frame], shapes[frame])


def test_undo_brings_the_clothes_to_the_pose(swinging, character, scene, by_user, monkeypatch):
    """What undo remembers of the clothes may be of a pose before."""
    asked = []
    monkeypatch.setattr(live, "_soon", lambda function, *_: asked.append(function))
    live._undone()
    assert live._update_soon in asked


def test_handlers_come_and_go_with_the_clothes(dressed):
    names = ("frame_change_post", "depsgraph_update_post")
    assert [ours(name) for name in names] == [1, 1]
    bpy.ops.scale_clothing.remove()
    assert [ours(name) for name in names] == [0, 0]


def test_the_thread_does_the_newest_and_forgets_on_demand():
    thread: DecodingThread[int] = DecodingThread()
    gate, begun, done = threading.Event(), threading.Event(), []

    def first() -> int:
        begun.set()
        gate.wait(10)
        return 0

    thread.ask(1, first)
    assert begun.wait(10)
    for value in (1, 2, 3):
        thread.ask(1, lambda value=value: done.append(value) or value)
    thread.ask(2, lambda: 1 // 0)
    assert thread.busy and not thread.wait(0.01) and thread.collect() == {}
    gate.set()
    assert thread.wait(10)
    outcomes = thread.collect()
    assert done == [3] and outcomes[1].value == 3
    assert isinstance(outcomes[2].error, ZeroDivisionError)
    assert thread.collect() == {}

    gate.clear(), begun.clear()
    thread.ask(1, first)
    assert begun.wait(10)
    thread.ask(2, lambda: 5)
    thread.forget()
    gate.set()
    assert thread.wait(10) and thread.collect() == {}
