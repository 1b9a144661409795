"""Runs inside two real Blenders at once, with one user folder: each dresses its dancer, and the first one dies.

run.sh installs the add-on and starts both with this file, `first` and `second`. They wait for each other by files
beside the pictures.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import hands
from stage import (
    PICTURES,
    SIDEBAR,
    WHICH,
    chosen,
    exact,
    frame_place,
    module,
    open_tab,
    picture,
    points,
    run,
    status,
    told,
    worn,
)  # fmt: skip
from walk import character

(NAME,) = WHICH
OTHER = "second" if NAME == "first" else "first"
GARMENT = {"first": ("dress", "d"), "second": ("tee-trousers", "t")}[NAME]
PATIENCE = 300  # seconds for what the other one has to do first


def meet(where: str, told: str = "") -> Iterator[float]:
    """Wait until the other one has come as far, and tell it something."""
    beside = PICTURES / f"{NAME}.{where}-"
    beside.write_text(told)
    beside.rename(PICTURES / f"{NAME}.{where}")
    yield from hands.until((PICTURES / f"{OTHER}.{where}").exists, f"the other Blender is {where}", PATIENCE)


def motion() -> Iterator[float]:
    keyed = lambda: chosen().rig.animation_data  # noqa: E731
    yield from hands.click(*SIDEBAR, "scale_clothing.apply_motion", keyed, (0.4,))


def generate() -> Iterator[float]:
    """Both at the same time, each another garment."""
    key, letter = GARMENT
    if chosen().garment != key:
        yield from hands.pick(*SIDEBAR, "scale_clothing.garment", letter, lambda: chosen().garment == key)
    yield from meet("ready")
    yield from hands.click(*SIDEBAR, "scale_clothing.generate", worn, seconds=90)
    assert worn()[0].scale_clothing.garment == key


def scrub(first: int = 5, last: int = 60) -> Iterator[float]:
    yield from meet(f"at-{first}")
    before = points(worn()[0])
    hands.drag(frame_place(first), frame_place(last))
    reached = lambda: abs(bpy.context.scene.frame_current - last) < 10  # noqa: E731
    yield from hands.until(reached, "the timeline is dragged")
    yield 3.0
    assert np.abs(points(worn()[0]) - before).max() > 0.05, "The clothes did not follow the frame."
    right()
    picture(f"40-{NAME}")


def right() -> None:
    assert np.abs(points(worn()[0]) - exact(worn()[0])).max() < 1e-5, "The clothes are not those of this frame."


def one_goes() -> Iterator[float]:
    """The first one ends without a farewell, and its backend with it. The second one's goes on."""
    process = module("backend.process").get()._process.child
    yield from meet("scrubbed", str(process.pid))
    if NAME == "first":
        print("window test: all steps passed, and the first Blender dies", flush=True)
        os._exit(0)
    others = Path("/proc", (PICTURES / f"{OTHER}.scrubbed").read_text())
    yield from hands.until(lambda: not others.exists(), "the first one's backend ends too")
    assert process.poll() is None and status() == "ready" and module("backend.process").get()._process.child == process
    hands.drag(frame_place(60), frame_place(90))
    yield from hands.until(lambda: bpy.context.scene.frame_current > 80, "the timeline is dragged")
    yield 3.0
    right()
    assert module("backend.process").get()._process.child == process
    picture("41-second-alone")


if __name__ == "__main__":
    run(told(open_tab, character, motion, generate, scrub, one_goes))
