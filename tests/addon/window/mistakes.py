"""Runs inside a real Blender with a window: what users do wrong and what breaks, and what they are told.

As walk.py, with which it shares the stage. Each step leaves a picture of the sentence that the panel shows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import hands
from installing import install
from stage import (
    MODULE,
    SIDEBAR,
    chosen,
    exact,
    middle,
    module,
    new_file,
    open_tab,
    picture,
    points,
    run,
    status,
    told,
    worn,
)  # fmt: skip
from walk import character

GENERATE, BAKE = "scale_clothing.generate", "scale_clothing.bake"
PYTHON = "SCALE_BACKEND_PYTHON"
FIRST_ICON, CROSS = (0.707,), (0.81,)  # where they are across the sidebar
POPUP_BUTTON = 0.042  # how far down the sidebar the report's first row comes to be


def says(words: str) -> Callable[[], bool]:
    return lambda: words in module("messages").last_error()


def no_armature() -> Iterator[float]:
    yield from hands.click(*SIDEBAR, GENERATE, says("No armature is chosen"))
    yield 1.0
    picture("20-no-armature")


def plain_armature() -> Iterator[float]:
    bpy.ops.object.armature_add()
    yield 1.0
    yield from hands.click(*SIDEBAR, GENERATE, says("lacks the bones"))
    yield 1.0
    picture("21-plain-armature")
    bpy.ops.object.delete()


def broken_garment() -> Iterator[float]:
    whole = Path(module("garments.library").entry("dress").path).read_bytes()
    short = module("settings").garment_folder() / "my-dress.safetensors"
    short.write_bytes(whole[: len(whole) // 2])
    chosen().garment = str(short)
    yield from hands.click(*SIDEBAR, GENERATE, says("cut short"))
    yield 1.0
    picture("22-broken-garment")
    short.unlink()
    chosen().garment = "dress"


def wrong_python() -> Iterator[float]:
    """Of a program that ends at once. The sentence stays until it is mended, also when it was dismissed."""
    right, os.environ[PYTHON] = os.environ[PYTHON], "/bin/false"
    yield from hands.click(*SIDEBAR, GENERATE, says("stopped before it was ready"))
    yield 1.0
    picture("23-wrong-python")
    dismissed = lambda: not module("messages").last_error()  # noqa: E731
    yield from hands.click(*SIDEBAR, "scale_clothing.dismiss_error", dismissed, CROSS)
    assert status() == "failed" and module("backend.process").failure()
    yield 1.0
    picture("24-dismissed")
    os.environ[PYTHON] = right
    yield from hands.click(*SIDEBAR, GENERATE, worn, seconds=60)
    assert status() == "ready"


def report() -> Iterator[float]:
    yield from hands.click(*SIDEBAR, "scale_clothing.check_backend", module("messages").report, FIRST_ICON)
    yield 1.0
    picture("25-report")
    hands.click_at(hands.place(hands.region(*SIDEBAR), 0.5, POPUP_BUTTON))
    copied = lambda: "Ready to decode." in bpy.context.window_manager.clipboard  # noqa: E731
    yield from hands.until(copied, "the report is copied")
    hands.press(middle(), "Escape")
    yield 1.0


def killed_backend() -> Iterator[float]:
    """Blender goes on, and the next frame starts another."""
    backend = module("backend.process")
    first = backend.get()
    first._process.child.kill()
    hands.press(middle(), "Right")
    yield from hands.until(lambda: status() == "ready" and backend.get() != first, "another one starts")
    yield 1.0
    assert np.abs(points(worn()[0]) - exact(worn()[0])).max() < 1e-5
    picture("26-another-backend")


def bake_folders() -> Iterator[float]:
    """Beside a file that was never saved, and where nobody may write."""
    yield from hands.click(*SIDEBAR, BAKE, says("Save the .blend file first"))
    yield 1.0
    picture("27-not-saved")
    chosen().bake_folder = "/proc/clothes"
    yield from hands.click(*SIDEBAR, BAKE, says("cannot be written"))
    yield 1.0
    picture("28-not-writable")
    module("messages").clear()


def copies() -> Iterator[float]:
    """Shift D of all, the copy renamed and posed; its armature deleted, and back by undo."""
    first = chosen().rig
    hands.press(middle(), "a")
    yield 1.0
    hands.press(middle(), "shift+d", "x", "1", "Return")
    yield from hands.until(lambda: len(worn()) == 2, "the clothes are duplicated")
    second = next(obj.scale_clothing.rig for obj in worn() if obj.scale_clothing.rig != first)
    second.name = "Anna"
    bone = second.pose.bones["left_shoulder"]
    bone.rotation_mode, bone.rotation_euler = "XYZ", (0, 0, 1)
    yield 2.0
    picture("29-copy")
    assert np.abs(points(worn()[0]) - points(worn()[1])).max() > 0.02, "The copy's clothes did not move alone."
    for obj in worn():
        assert np.abs(points(obj) - exact(obj)).max() < 1e-5, f"{obj.name} is not at its pose"
    bpy.ops.object.select_all(action="DESELECT")
    second.select_set(True)
    bpy.context.view_layer.objects.active = second
    bpy.ops.ed.undo_push(message="Pose")
    hands.press(middle(), "x")
    yield 1.0
    hands.press(middle(), "Return")
    yield from hands.until(lambda: "Anna" not in bpy.context.scene.objects, "the armature is deleted")
    yield 1.0
    picture("30-armature-deleted")
    assert len(worn()) == 2
    hands.press(middle(), "ctrl+z")
    yield from hands.until(lambda: "Anna" in bpy.context.scene.objects, "undo brings it back")
    yield 2.0
    for obj in worn():
        assert np.abs(points(obj) - exact(obj)).max() < 1e-5, f"{obj.name} is not at its pose"


def new_file_while_playing() -> Iterator[float]:
    hands.press(middle(), "space")
    yield from hands.until(lambda: bpy.context.screen.is_animation_playing, "the animation plays")
    yield 2.0
    yield from new_file()
    assert not [h for h in bpy.app.handlers.frame_change_post if h.__module__.startswith(MODULE)]
    picture("31-new-file")


STEPS = (
    install, open_tab, no_armature, plain_armature, character, broken_garment, wrong_python, report, killed_backend,
    bake_folders, copies, new_file_while_playing,
)  # fmt: skip

if __name__ == "__main__":
    run(told(*STEPS))
