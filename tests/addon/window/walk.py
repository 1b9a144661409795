"""Runs inside a real Blender with a window: the first steps with the add-on, by clicks, each one checked.

run.sh has installed the extension and starts Blender with this file. Each step clicks, waits, and asserts what the
click must have done; a picture of the screen is left for each. The process ends with 0 only when all steps were right.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy
import numpy as np

PICTURES = Path(sys.argv[sys.argv.index("--") + 1])
TRIES, PATIENCE = 4, 20.0  # clicks, and seconds to wait for what each must do
VIEW = (500, 450)  # somewhere over the viewport
# Where things are in a window of 1280 x 800, in Blender's own layout
PLACES = {
    "tab SCALE": (1044, 204),
    "Add Sample Character": (900, 217),
    "Apply Motion": (890, 289),
    "Generate Clothes": (900, 435),
    "frame 40": (196, 760),
    # once the backend runs, the panel has two rows less on top
    "Points": (978, 353),
    "Generate Clothes again": (900, 409),
}


def picture(name: str) -> None:
    subprocess.run(["import", "-window", "root", str(PICTURES / f"{name}.png")], check=True)


def do(*actions: str) -> None:
    """Move, click or type, while Blender goes on."""
    subprocess.Popen(["xdotool", *actions])


def click(name: str, holds: Callable[[], object]) -> Iterator[float]:
    """Click until something holds. A busy machine may lose a click: it is tried again, at most TRIES times."""
    x, y = PLACES[name]
    near = ("mousemove", str(x - 4), str(y), "sleep", "0.3", "mousemove", str(x), str(y), "sleep", "0.3")
    for _ in range(TRIES):
        do(*near, "mousedown", "1", "sleep", "0.1", "mouseup", "1")
        for _ in range(int(PATIENCE / 0.5)):
            yield 0.5
            if holds():
                yield 1.0
                return
    raise AssertionError(f"The click on {name} did nothing.")


def press(*keys: str) -> None:
    do("mousemove", *map(str, VIEW), "sleep", "0.5", "key", *keys)


def chosen():
    return bpy.context.scene.scale_clothing


def sidebar() -> bpy.types.Region:
    area = next(area for area in bpy.context.window_manager.windows[0].screen.areas if area.type == "VIEW_3D")
    return next(region for region in area.regions if region.type == "UI")


def worn() -> list[bpy.types.Object]:
    return [obj for obj in bpy.data.objects if obj.scale_clothing.is_clothes]


def points(obj: bpy.types.Object) -> np.ndarray:  # [V, 3]
    values = np.empty((len(obj.data.vertices), 3), np.float32)
    obj.data.attributes["position"].data.foreach_get("vector", values.ravel())
    return values


def steps() -> Iterator[float]:
    """The walk. Yields the seconds to wait before it goes on."""
    press("a")
    yield 1.5
    press("Delete")
    yield 1.5
    press("n")
    yield 1.5
    yield from click("tab SCALE", lambda: sidebar().active_panel_category == "SCALE")
    picture("1-panel")
    yield from click("Add Sample Character", lambda: chosen().rig)
    picture("2-character")
    press("KP_1", "KP_Decimal")
    yield 2.0
    yield from click("Apply Motion", lambda: chosen().rig.animation_data)
    picture("3-motion")
    yield from click("Generate Clothes", worn)
    picture("4-clothes")
    before = points(worn()[0])
    assert len(worn()[0].data.polygons), "The clothes are no surface."
    yield from click("frame 40", lambda: bpy.context.scene.frame_current > 1)
    yield 1.0
    picture("5-frame")
    assert np.abs(points(worn()[0]) - before).max() > 0.01, "The clothes did not follow the frame."
    yield from click("Points", lambda: chosen().surface == "POINTS")
    yield from click("Generate Clothes again", lambda: not worn()[0].data.polygons)
    picture("6-points")


walk = steps()


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


bpy.app.timers.register(advance, first_interval=3.0)
