"""A user's hands in a real Blender: finds buttons wherever they are, moves, clicks, types, and takes pictures.

The virtual screen has no window manager. What that does for a user, `new_window` and `close` do: they put a window
in sight, let the keyboard reach it, and close it again. Everything works in the newest window that has such an area.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy

TRIES, PATIENCE = 3, 30.0  # clicks, and seconds to wait for what each must do
ROW = 10  # pixels, half a button
GLANCE = 0.15  # seconds that Blender needs to notice where the mouse is
ENTRIES = 40  # that a menu has at most
CLICK = ("mousedown", "1", "sleep", "0.1", "mouseup", "1")
COPY, COPY_PATH = "ctrl+c", "ctrl+shift+c"  # of the button under the mouse: its operator or value, its data path

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


# Windows and what is in them.


def windows() -> list[bpy.types.Window]:
    return list(bpy.context.window_manager.windows)


def areas(kind: str) -> list[bpy.types.Area]:
    """Of all windows, the newest first."""
    return [each for window in reversed(windows()) for each in window.screen.areas if each.type == kind]


def area(kind: str) -> bpy.types.Area:
    return areas(kind)[0]


def region(kind: str, name: str) -> bpy.types.Region:
    return next(each for each in area(kind).regions if each.type == name)


def place(inside: bpy.types.Region, x: float, y: float) -> Place:
    """A point of a region, given in shares of its width and height from its top left."""
    first, window = windows()[0], next(each for each in windows() if each.screen == inside.id_data)
    top = first.y + first.height - window.y  # the first one fills the screen
    return window.x + inside.x + x * inside.width, top - inside.y - (1 - y) * inside.height


def listen() -> Iterator[float]:
    """After a window was closed: the keyboard reaches the one below."""
    _hear()
    yield 0.5


def _hear(*actions: str) -> None:
    """Let the keyboard reach the newest window, and do something with it first."""
    search = ["xdotool", "search", "--onlyvisible", "--class", "Blender"]
    newest = max(map(int, subprocess.run(search, capture_output=True, check=True).stdout.split()))
    for action in (*actions, "windowfocus"):
        name, *values = action.split()
        subprocess.run(["xdotool", name, str(newest), *values], check=True)


def new_window(kind: str) -> Iterator[float]:
    """Wait for a window of Blender's own with such an area, and bring it into sight."""
    yield from until(lambda: len(windows()) > 1 and windows()[-1].screen.areas[0].type == kind, f"a {kind} window")
    yield 0.5
    _hear("windowsize 1040 680", "windowmove 20 60")
    yield 1.0


def close(kind: str) -> Iterator[float]:
    """Close such an area's window, as its frame's cross does."""
    screen = area(kind).id_data
    with bpy.context.temp_override(window=next(each for each in windows() if each.screen == screen)):
        bpy.ops.wm.window_close()
    yield 0.5
    yield from listen()


# The mouse and the keyboard.


def point_at(where: Place) -> tuple[str, ...]:
    x, y = map(round, where)
    return ("mousemove", str(x - 3), str(y), "sleep", "0.1", "mousemove", str(x), str(y), "sleep", "0.1")


def press(where: Place, *keys: str) -> None:
    """Keys, with the mouse over a place."""
    do(*point_at(where), "sleep", "0.2", "key", *keys)


def click_at(where: Place) -> None:
    do(*point_at(where), *CLICK)


def write(where: Place, text: str) -> None:
    """Replace what is in a field."""
    typing = ("type", "--delay", "25", "--args", "1", text, "sleep", "0.3", "key", "Return")
    do(*point_at(where), *CLICK, "sleep", "0.4", "key", "ctrl+a", "sleep", "0.1", *typing)


def drag(start: Place, end: Place) -> None:
    """With the left button, in some steps."""
    steps = [tuple(str(round(a + (b - a) * step / 8)) for a, b in zip(start, end, strict=True)) for step in range(1, 9)]
    moves = [word for step in steps for word in ("mousemove", *step, "sleep", "0.15")]
    do(*point_at(start), "mousedown", "1", "sleep", "0.2", *moves, "mouseup", "1")


# Buttons, which are known by what Blender copies from them.


def find(kind: str, name: str, operator: str, columns: tuple[float, ...] = (0.5,)) -> Iterator[float]:
    """Go over the rows of a region until the mouse is over an operator's button; returns its place."""
    return (yield from _find(kind, name, COPY, f"bpy.ops.{operator}(", columns))


def find_property(kind: str, name: str, path: str, columns: tuple[float, ...] = (0.5,)) -> Iterator[float]:
    """The same for a property's button or field; path: from what owns it, such as `shading.type` of a space."""
    return (yield from _find(kind, name, COPY_PATH, path, columns))


def _find(kind: str, name: str, copy: str, words: str, columns: tuple[float, ...]) -> Iterator[float]:
    """What is not in sight is scrolled to."""
    for glance, turn in ((GLANCE, "none"), (GLANCE, "5"), (3 * GLANCE, "none"), (3 * GLANCE, "4")):
        if turn != "none":
            do(*point_at(place(region(kind, name), 0.1, 0.5)), "click", "--repeat", "30", "--delay", "30", turn)
            yield 2.0
        for column in columns:
            where = yield from _find_in(kind, name, copy, words, column, glance)
            if where is not None:
                return where
    raise AssertionError(f"No button for {words} is in sight.")


def _find_in(kind: str, name: str, copy: str, words: str, column: float, glance: float) -> Iterator[float]:
    manager = bpy.context.window_manager
    for pixel in range(ROW, region(kind, name).height, ROW):
        here = region(kind, name)
        where = place(here, column, pixel / here.height)
        manager.clipboard = ""
        do("mousemove", *(str(round(value)) for value in where), "sleep", str(glance / 2), "key", copy)
        yield glance
        if words in manager.clipboard:
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
        click_at((yield from find(kind, name, operator, columns)))
        for _ in range(int(seconds / 0.25)):
            yield 0.25
            if holds():
                return
    raise AssertionError(f"The click on {operator} did nothing.")


def click_one_of(places: list[Place], holds: Callable[[], object], what: str) -> Iterator[float]:
    """Click one after another until something holds: for buttons that tell nothing of themselves, such as tabs."""
    for where in places:
        click_at(where)
        yield 1.0
        if holds():
            return
    raise AssertionError(f"No click did it: {what}.")


def go_to(menu: Place, *entries: str) -> Iterator[float]:
    """Open a menu with the mouse and go down with the arrow key to an operator's entry, which Return then chooses.

    Where several are named the first ones are menus, which are opened on the way.
    """
    click_at(menu)
    yield 1.0
    manager = bpy.context.window_manager
    for number, entry in enumerate(entries, 1):
        words = f"bpy.ops.{entry}(" if number == len(entries) else f'"{entry}"'
        for _ in range(ENTRIES):
            manager.clipboard = ""
            do("key", "Down", "sleep", "0.1", "key", COPY)
            yield 3 * GLANCE
            if words in manager.clipboard:
                break
        else:
            raise AssertionError(f"The menu has no {entry}.")
        if number < len(entries):
            do("key", "Right")
            yield 1.0


def pick(kind: str, name: str, path: str, letter: str, holds: Callable[[], object], x: float = 0.6) -> Iterator[float]:
    """Open a property's drop-down with the mouse, and choose an entry by the letter that is underlined in it."""
    yield from pick_at((yield from find_property(kind, name, path, (x,))), letter, holds)


def pick_at(where: Place, letter: str, holds: Callable[[], object]) -> Iterator[float]:
    for _ in range(TRIES):
        click_at(where)
        yield 1.0
        yield from rest()
        do("key", letter)
        yield 1.0
        yield from rest()
        if holds():
            return
    raise AssertionError(f"No {letter} could be chosen in a drop-down.")


def click_patiently(where: Place, holds: Callable[[], object], what: str) -> Iterator[float]:
    """Where drawing is slow: Blender loses clicks that come together with the mouse."""
    for _ in range(TRIES):
        click_at(where)
        yield 1.0
        yield from rest()
        if holds():
            return
    raise AssertionError(f"The clicks did nothing: {what}.")


def rest() -> Iterator[float]:
    """Wait until Blender answers at once, four times one after another."""
    quick, end = 0, time.monotonic() + 4 * PATIENCE
    while quick < 4 and time.monotonic() < end:
        before = time.monotonic()
        yield 0.25
        quick = quick + 1 if time.monotonic() - before < 0.5 else 0


# The file browser.


def name_file(path: Path) -> Iterator[float]:
    """Type folder and name into the file browser."""
    yield from new_window("FILE_BROWSER")
    yield from rest()  # on a busy machine the first click would come before its fields
    named = lambda: area("FILE_BROWSER").spaces.active.params  # noqa: E731
    write(place(region("FILE_BROWSER", "UI"), 0.4, 0.5), f"{path.parent}/")
    yield from until(lambda: Path(named().directory.decode()) == path.parent, "the folder is typed")
    yield 1.0
    write(place(region("FILE_BROWSER", "EXECUTE"), 0.3, 0.5), path.name)
    yield from until(lambda: not areas("FILE_BROWSER") or named().filename == path.name, "the name is typed")
    yield 1.0


def confirm_file(holds: Callable[[], object], what: str, seconds: float = PATIENCE) -> Iterator[float]:
    """Click the file browser's button; where a name that is there was typed, the Return may have done it."""
    if areas("FILE_BROWSER"):
        click_at(place(region("FILE_BROWSER", "EXECUTE"), 0.9, 0.5))
    yield from until(lambda: not areas("FILE_BROWSER") and holds(), what, seconds)
    yield from listen()
