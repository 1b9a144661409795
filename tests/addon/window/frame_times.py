"""Runs inside a real Blender with a window: how long frames take while a user plays, bare and in each garment.

run.sh starts Blender with this file when its second argument is `times`. Blender plays the dance by itself, every
frame, and the times from one frame to the next are printed, milliseconds; also how many frames the clothes were late.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import traceback
from collections.abc import Iterator

import bpy

WARM_UP, FRAMES = 12, 72
package = next(name for name in sys.modules if name.endswith(".scale_clothing"))
live = sys.modules[f"{package}.live"]


def play(label: str) -> Iterator[float]:
    """Play until enough frames were seen; yields seconds to wait."""
    moments, late = [], 0

    def seen(*_) -> None:
        nonlocal late
        moments.append(time.perf_counter())
        late += live._beside.busy

    bpy.app.handlers.frame_change_post.append(seen)
    bpy.ops.screen.animation_play()
    began = time.monotonic()
    while len(moments) < WARM_UP + FRAMES and time.monotonic() - began < 120:
        yield 0.1
    bpy.ops.screen.animation_cancel(restore_frame=False)
    bpy.app.handlers.frame_change_post.remove(seen)
    yield 1.0
    steps = [1e3 * (after - before) for before, after in zip(moments[WARM_UP:], moments[WARM_UP + 1 :], strict=False)]
    steps.sort()
    print(
        f"frame to frame, {label}: median {statistics.median(steps):.0f} ms, 95 of 100 below "
        f"{steps[int(0.95 * len(steps))]:.0f} ms, longest {steps[-1]:.0f} ms; late in {late} of {len(moments)} frames",
        flush=True,
    )


def measure() -> Iterator[float]:
    scene = bpy.context.scene
    for obj in list(bpy.data.objects):
        bpy.data.objects.remove(obj)
    scene.sync_mode = "NONE"  # every frame
    scene.render.fps = 120  # as fast as it can
    for shown in bpy.context.window_manager.windows[0].screen.areas:
        if shown.type == "VIEW_3D":
            shown.spaces.active.shading.type = "SOLID"
    bpy.ops.scale_clothing.add_character()
    bpy.ops.scale_clothing.apply_motion(motion="dance")
    yield 1.0
    yield from play("bare")
    chosen = scene.scale_clothing
    for garment, surface in (("dress", "MESH"), ("tee-trousers", "MESH"), ("dress", "MESH_X16")):
        chosen.garment, chosen.surface = garment, surface
        bpy.ops.scale_clothing.generate()
        yield 1.0
        yield from play(f"{garment} as {surface}")


steps = measure()


def advance() -> float | None:
    try:
        return next(steps)
    except StopIteration:
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)


bpy.app.timers.register(advance, first_interval=3.0)
