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


def click(name: str) -> None:
    x, y = PLACES[name]
    near = ("mousemove", str(x - 4), str(y), "sleep", "0.3", "mousemove", str(x), str(y), "sleep", "0.3")
    do(*near, "mousedown", "1", "sleep", "0.1", "mouseup", "1")


def press(*keys: str) -> None:
    do("mousemove", *map(str, VIEW), "sleep", "0.5", "key", *keys)


def until(holds: Callable[[], object], seconds: float, otherwise: str) -> Iterator[float]:
    """Wait until something holds, and fail with a sentence when it does not in time."""
    for _ in range(int(seconds / 0.5)):
        if holds():
            return
        yield 0.5
    raise AssertionError(otherwise)


def chosen():
    return bpy.context.scene.scale_clothing


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
    click("tab SCALE")
    yield 2.0
    picture("1-panel")
    click("Add Sample Character")
    yield 3.0
    picture("2-character")
    assert chosen().rig is not None, "The click on Add Sample Character added none."
    press("KP_1", "KP_Decimal")
    yield 2.0
    click("Apply Motion")
    yield 3.0
    picture("3-motion")
    assert chosen().rig.animation_data.action is not None, "The click on Apply Motion keyed nothing."
    click("Generate Clothes")
    yield from until(lambda: worn(), 60.0, "The click on Generate Clothes made none.")
    yield 1.0
    picture("4-clothes")
    before = points(worn()[0])
    assert len(worn()[0].data.polygons), "The clothes are no surface."
    click("frame 40")
    yield from until(lambda: bpy.context.scene.frame_current > 1, 10.0, "The click into the timeline moved no frame.")
    yield 2.0
    picture("5-frame")
    assert np.abs(points(worn()[0]) - before).max() > 0.01, "The clothes did not follow the frame."
    click("Points")
    yield 1.5
    click("Generate Clothes again")
    yield from until(lambda: not worn()[0].data.polygons, 30.0, "Generate Clothes made no points.")
    yield 2.0
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
