"""What all walks in the window know: the add-on as it is installed, its clothes, places to click, and how to go on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy
import hands
import numpy as np
from bpy.app.handlers import persistent

PACKAGE, FOLDER, *WHICH = sys.argv[sys.argv.index("--") + 1 :]
PICTURES = Path(FOLDER)
MODULE = "bl_ext.user_default.scale_clothing"
VIEW, SIDEBAR = ("VIEW_3D", "WINDOW"), ("VIEW_3D", "UI")
FILE, EDIT, WINDOW = (47, 14), (83, 14), (187, 14)  # menus of the top bar
DROPPING = Path(__file__).with_name("dropping.py")


def picture(name: str) -> None:
    hands.picture(PICTURES / f"{name}.png")


# The add-on and its clothes.


def module(name: str):
    return sys.modules[f"{MODULE}.{name}"]


def is_installed() -> bool:
    return hasattr(bpy.types.Scene, "scale_clothing")


def chosen():
    return bpy.context.scene.scale_clothing


def worn() -> list[bpy.types.Object]:
    return [obj for obj in bpy.context.scene.objects if obj.scale_clothing.is_clothes]


def is_baked() -> bool:
    return module("clothes.playback").is_baked(worn()[0])


def points(obj: bpy.types.Object) -> np.ndarray:  # [V, 3] as shown
    mesh = obj.evaluated_get(bpy.context.view_layer.depsgraph).data
    values = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", values.ravel())
    return values


def exact(obj: bpy.types.Object) -> np.ndarray:  # [V, 3] for the present pose
    arrival, graph = module("clothes.memory").Arrival.STAYED, bpy.context.view_layer.depsgraph
    return module("clothes.request").present_request(obj, graph, arrival).decode().points


def status() -> str:
    return module("backend.process").status().kind


# Places.


def middle() -> hands.Place:
    return hands.place(hands.region(*VIEW), 0.3, 0.6)


def rows(kind: str, name: str, x: float, step: int) -> list[hands.Place]:
    """Places down a region, so many pixels from each other."""
    inside = hands.region(kind, name)
    return [hands.place(inside, x, pixel / inside.height) for pixel in range(step, inside.height, step)]


def frame_place(frame: int) -> hands.Place:
    """Where a frame is in the timeline's header."""
    timeline = hands.region("DOPESHEET_EDITOR", "WINDOW")
    x, _ = timeline.view2d.view_to_region(frame, 0, clip=False)
    return timeline.x + x, hands.place(timeline, 0, 0)[1] + 12


# What users do again and again.


def open_tab() -> Iterator[float]:
    """The default cube goes, the sidebar comes, and its tab SCALE is clicked."""
    keys = bpy.context.window_manager.keyconfigs.user.keymaps["3D View"].keymap_items
    keys["view3d.copybuffer"].active = False  # Ctrl+C is how buttons are found
    hands.press(middle(), "Delete")
    yield from hands.until(lambda: "Cube" not in bpy.data.objects, "the cube is deleted")
    yield from show_tab()


def show_tab() -> Iterator[float]:
    for _ in range(hands.TRIES):  # after a file was opened, Blender may have a sidebar that it shows nothing of
        if hands.region(*SIDEBAR).width > 1:
            break
        hands.press(middle(), "n")
        yield 1.5
    shown = lambda: hands.region(*SIDEBAR).active_panel_category == "SCALE"  # noqa: E731
    edge = 1 - 8 / hands.region(*SIDEBAR).width
    yield from hands.click_one_of(rows(*SIDEBAR, edge, 40), shown, "the tab SCALE")


def new_file() -> Iterator[float]:
    """File > New > General. What was not saved is left."""
    dirty = bpy.data.is_dirty
    hands.press(middle(), "ctrl+n")
    yield 1.5
    hands.do("key", "Return")
    yield 1.5
    if dirty:
        hands.do("key", "d")
    yield from hands.until(lambda: not bpy.data.filepath, "a new file")
    yield 2.0


def save(path: Path) -> Iterator[float]:
    """Ctrl+S, with the file browser where the file is new."""
    new = bpy.data.filepath != str(path)
    hands.press(middle(), "ctrl+s")
    if new:
        yield from hands.name_file(path)
        yield from hands.confirm_file(lambda: bpy.data.filepath == str(path), "the file is saved")
    yield from hands.until(lambda: not bpy.data.is_dirty, "the file is saved")


def open_file(path: Path) -> Iterator[float]:
    """File > Open. What was not saved is left."""
    dirty = bpy.data.is_dirty
    hands.press(middle(), "ctrl+o")
    yield 1.5
    if dirty:
        hands.do("key", "d")
    yield from hands.name_file(path)
    yield from hands.confirm_file(lambda: bpy.data.filepath == str(path), "the file is opened")
    yield 2.0


def drop(path: Path, where: hands.Place, holds: Callable[[], object], what: str) -> Iterator[float]:
    """Drag a file from a file manager to a place and let go there; the add-on's answer may be a question."""
    python = os.environ.get("SCALE_DROPPING_PYTHON", "python3")
    dragging = subprocess.Popen([python, str(DROPPING), str(path), *(str(round(value)) for value in where)])
    yield from hands.until(lambda: dragging.poll() is not None, "the drag ends")
    assert dragging.returncode == 0, f"The window did not take {path.name}."
    yield from hands.until(holds, what)


def run(steps: Iterator[Iterator[float]]) -> None:
    """Go through a walk beside Blender's own work, and end Blender."""
    walk = (wait for step in steps for wait in step)

    @persistent
    def advance() -> float | None:
        try:
            return next(walk)
        except StopIteration:
            print("window test: all steps passed", flush=True)
            code = 0
        except BaseException:
            traceback.print_exc()
            picture("failed")
            code = 1
        sys.stdout.flush()
        os._exit(code)

    bpy.app.timers.register(advance, first_interval=3.0, persistent=True)


def told(*steps: Callable[[], Iterator[float]]) -> Iterator[Iterator[float]]:
    """Steps, each named on the console before it begins, with the seconds since the start."""
    began = time.monotonic()
    for step in steps:
        print(f"window test: {time.monotonic() - began:4.0f} s, {step.__name__.replace('_', ' ')}", flush=True)
        yield step()
