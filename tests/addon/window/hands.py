"""A user's hands in a real Blender: finds buttons wherever they are, moves, clicks, types, and takes pictures."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy

TRIES, PATIENCE = 3, 30.0  # clicks, and seconds to wait for what each must do
ROW = 10  # pixels, half a button
GLANCE = 0.15  # seconds that Blender needs to notice where the mouse is

Place = tuple[float, float]  # pixels from the screen's top left


def do(*actions: str) -> None:
    """Move, click or type, while Blender goes on."""
    subprocess.Popen(["xdotool", *actions])


def picture(path: Path) -> None:
    """The whole screen. Blender's own screenshots are black here."""
    subprocess.run(["import", "-window", "root", str(path)], check=True)


def until(holds: Callable[[], object], what: str, seconds: float = PATIENCE) -> Iterator[float]:
    """Wait until something holds."""
    for _ in range(int(seconds / 0.25)):
        if holds():
            return
        yield 0.25
    raise AssertionError(f"It did not happen in {seconds:.0f} s: {what}.")


def area(kind: str) -> bpy.types.Area:
    return next(each for each in bpy.context.window_manager.windows[0].screen.areas if each.type == kind)


def region(kind: str, name: str) -> bpy.types.Region:
    return next(each for each in area(kind).regions if each.type == name)


def place(inside: bpy.types.Region, x: float, y: float) -> Place:
    """A point of a region, given in shares of its width and height from its top left."""
    window = bpy.context.window_manager.windows[0]
    return inside.x + x * inside.width, window.height - inside.y - (1 - y) * inside.height


def point_at(where: Place) -> tuple[str, ...]:
    x, y = map(round, where)
    return ("mousemove", str(x - 3), str(y), "sleep", "0.1", "mousemove", str(x), str(y), "sleep", "0.1")


def press(where: Place, *keys: str) -> None:
    """Keys, with the mouse over a place."""
    do(*point_at(where), "sleep", "0.2", "key", *keys)


def find(kind: str, name: str, operator: str, columns: tuple[float, ...]) -> Iterator[float]:
    """Go over the rows of a region until the mouse is over an operator's button; returns its place.

    Over a button, Ctrl+C copies the operator as Python. What is not in sight is scrolled to.
    """
    for glance, turn in ((GLANCE, "none"), (GLANCE, "5"), (3 * GLANCE, "none"), (3 * GLANCE, "4")):
        if turn != "none":
            do(*point_at(place(region(kind, name), 0.1, 0.5)), "click", "--repeat", "30", "--delay", "30", turn)
            yield 2.0
        for column in columns:
            where = yield from _find_in(kind, name, operator, column, glance)
            if where is not None:
                return where
    raise AssertionError(f"No button for {operator} is in sight.")


def _find_in(kind: str, name: str, operator: str, column: float, glance: float) -> Iterator[float]:
    manager = bpy.context.window_manager
    for pixel in range(ROW, region(kind, name).height, ROW):
        here = region(kind, name)
        where = place(here, column, pixel / here.height)
        manager.clipboard = ""
        do("mousemove", *(str(round(value)) for value in where), "sleep", str(glance / 2), "key", "ctrl+c")
        yield glance
        if manager.clipboard.startswith(f"bpy.ops.{operator}("):
            return where
    return None


def click(
    kind: str,
    name: str,
    operator: str,
    holds: Callable[[], object],
    columns: tuple[float, ...] = (0.5,),
    seconds: float = PATIENCE,
) -> Iterator[float]:
    """Click an operator's button until something holds. A busy machine may lose a click: it is tried again."""
    for _ in range(TRIES):
        where = yield from find(kind, name, operator, columns)
        do(*point_at(where), "mousedown", "1", "sleep", "0.1", "mouseup", "1")
        for _ in range(int(seconds / 0.25)):
            yield 0.25
            if holds():
                return
    raise AssertionError(f"The click on {operator} did nothing.")


def drag(start: Place, end: Place) -> None:
    """With the left button, in some steps."""
    steps = [tuple(str(round(a + (b - a) * step / 8)) for a, b in zip(start, end, strict=True)) for step in range(1, 9)]
    moves = [word for step in steps for word in ("mousemove", *step, "sleep", "0.15")]
    do(*point_at(start), "mousedown", "1", "sleep", "0.2", *moves, "mouseup", "1")
