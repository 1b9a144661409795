"""Runs inside a real Blender with a window: clothes that feel motion, while a user plays, jumps, poses and renders.

run.sh starts Blender with this file when its second argument is `moving`. The character and its animation are made by
script; what a user does to them is done with the keyboard.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import hands
from stage import PACKAGE as GARMENT
from stage import chosen, exact, middle, module, picture, points, run, show_tab, told, worn

LAST = 40
SAME = 1e-6  # metres: the world is float32


def character() -> Iterator[float]:
    """Walks along and swings a leg."""
    scene = bpy.context.scene
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    bpy.ops.scale_clothing.add_character()
    target, bone = chosen().rig, chosen().rig.pose.bones["left_hip"]
    for frame, angle in ((1, -0.5), (15, 0.7), (LAST, -0.3)):
        bone.rotation_quaternion = (np.cos(angle / 2), np.sin(angle / 2), 0, 0)
        bone.keyframe_insert("rotation_quaternion", frame=frame)
        target.location.y = -0.04 * frame
        target.keyframe_insert("location", frame=frame)
    scene.frame_end = LAST
    bpy.ops.scale_clothing.generate(garment=GARMENT)
    yield from hands.until(worn, "the clothes are there", 90)
    yield from show_tab()
    yield 1.0
    picture("20-moving")


def settled(what: str) -> Iterator[float]:
    """After a pause the clothes are those of the true window."""
    yield from hands.until(lambda: np.abs(points(worn()[0]) - exact(worn()[0])).max() < SAME, what, 10)


def play() -> Iterator[float]:
    """Space plays. Frames that had their window are those that a jump gives; after the end so is the last."""
    scene, seen = bpy.context.scene, {}

    def look(scene: bpy.types.Scene, *_) -> None:
        if module("clothes.memory").is_whole(scene) and not module("clothes.live")._beside.busy:
            seen[scene.frame_current] = worn()[0].data.attributes["position"].data[7].vector.copy()

    bpy.app.handlers.frame_change_post.append(look)
    scene.sync_mode = "NONE"
    scene.frame_set(1)
    hands.press(middle(), "space")
    yield from hands.until(lambda: scene.frame_current >= 30, "it plays")
    hands.press(middle(), "space")
    yield from hands.until(lambda: not bpy.context.screen.is_animation_playing, "it stops")
    bpy.app.handlers.frame_change_post.remove(look)
    yield from settled("the frame at which it was stopped has its true window")
    picture("21-played")
    known, frame = {k: v for k, v in seen.items() if k > 12}, scene.frame_current
    assert len(known) > 5, f"Only {sorted(seen)} were shown with their window."
    for number, place in known.items():
        scene.frame_set(number)
        assert (worn()[0].data.attributes["position"].data[7].vector - place).length < SAME, number
    scene.frame_set(frame)


def jump() -> Iterator[float]:
    """To the end, to the beginning, on by single frames."""
    scene = bpy.context.scene
    for keys, frame in (("shift+Right", LAST), ("shift+Left", 1)):
        module("clothes.memory").forget()
        hands.press(middle(), keys)
        yield from hands.until(lambda frame=frame: scene.frame_current == frame, keys)
        yield from settled(f"frame {frame} has its true window after a pause")
        assert module("clothes.memory").is_whole(scene)
    scene.frame_set(20)
    for _ in range(3):
        hands.press(middle(), "Right")
        yield 1.0
        yield from settled("a step")
    assert scene.frame_current == 23
    picture("22-jumped")


def pose() -> Iterator[float]:
    """A bone that is posed by hand has cloth at rest; keyed it has cloth that moved."""
    target = chosen().rig
    bpy.context.view_layer.objects.active = target
    bpy.ops.object.mode_set(mode="POSE")
    target.data.bones.active = target.data.bones["left_hip"]
    target.data.bones["left_hip"].select = True
    yield 0.5
    before = points(worn()[0])
    hands.press(middle(), "r")
    yield 1.0
    hands.do("mousemove_relative", "80", "120")
    yield 1.0
    hands.do("key", "Return")
    yield from hands.until(lambda: np.abs(points(worn()[0]) - before).max() > 0.02, "the clothes follow the bone")
    yield 1.0
    (memory,) = module("clothes.memory")._memories.values()
    assert not memory.is_animated, "What was posed by hand counts as animated."
    still = points(worn()[0])
    picture("23-posed")
    target.pose.bones["left_hip"].keyframe_insert("rotation_quaternion")
    yield from hands.until(lambda: np.abs(points(worn()[0]) - still).max() > 1e-4, "what was keyed moves")
    yield from settled("as it should")
    bpy.ops.object.mode_set(mode="OBJECT")
    yield 1.0


def render() -> Iterator[float]:
    """F12 after a jump, and an animation: their thread is not the window's."""
    scene, seen, threads = bpy.context.scene, {}, set()
    scene.camera = bpy.data.objects["Camera"]
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
    scene.render.resolution_x, scene.render.resolution_y = 64, 64
    scene.render.filepath = bpy.app.tempdir
    scene.frame_set(2)
    scene.frame_start, scene.frame_end = 30, 32
    done = []

    def look(scene: bpy.types.Scene, *_) -> None:
        threads.add(threading.current_thread() is threading.main_thread())
        seen[scene.frame_current] = points_of_data(worn()[0])

    bpy.app.handlers.frame_change_post.append(look)
    bpy.app.handlers.render_complete.append(lambda *_: done.append(True))
    hands.press(middle(), "ctrl+F12")
    yield from hands.until(lambda: done, "the animation is rendered", 120)
    bpy.app.handlers.render_complete.clear()
    bpy.app.handlers.frame_change_post.remove(look)
    assert False in threads, "The render had no thread of its own."
    for frame in (30, 31, 32):
        scene.frame_set(frame)
        assert np.array_equal(points_of_data(worn()[0]), seen[frame]), f"Frame {frame} was rendered otherwise."
    assert [scene.name for scene in bpy.data.scenes] == ["Scene"]


def points_of_data(obj: bpy.types.Object) -> np.ndarray:
    values = np.empty((len(obj.data.vertices), 3), np.float32)
    obj.data.attributes["position"].data.foreach_get("vector", values.ravel())
    return values


run(told(character, play, jump, pose, render))
