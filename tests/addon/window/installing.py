"""Steps in Blender's preferences: the add-on is installed from its zip, and the backend set up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy
import hands
from stage import EDIT, PACKAGE, drop, is_installed, middle, module, picture, rows, status

PREFERENCES = ("PREFERENCES", "WINDOW")
MENU_BUTTON = 20  # pixels from the right and from the top, of a section's menu
WIDE, LEFT = (0.35, 0.6), (0.3,)  # where buttons are across the add-on's preferences
EXPAND, ICONS = (0.027,), (0.926, 0.95)


def open_preferences(section: str) -> Iterator[float]:
    yield from hands.go_to(EDIT, "screen.userpref_show")
    hands.do("key", "Return")
    yield from hands.new_window("PREFERENCES")
    yield from show_section(section)


def show_section(section: str) -> Iterator[float]:
    shown = lambda: bpy.context.preferences.active_section == section  # noqa: E731
    yield from hands.click_one_of(rows("PREFERENCES", "NAVIGATION_BAR", 0.5, 18), shown, f"section {section}")
    yield 1.0


def section_menu() -> hands.Place:
    inside = hands.region(*PREFERENCES)
    return hands.place(inside, 1 - MENU_BUTTON / inside.width, MENU_BUTTON / inside.height)


def show_addon() -> Iterator[float]:
    """Section Add-ons, the search, and the arrow beside the add-on's name."""
    yield from show_section("ADDONS")
    hands.write(hands.place(hands.region(*PREFERENCES), 0.3, MENU_BUTTON / hands.region(*PREFERENCES).height), "SCALE")
    yield from hands.until(lambda: bpy.context.window_manager.addon_search == "SCALE", "the search is typed")
    yield 1.0
    hands.click_at((yield from hands.find(*PREFERENCES, "preferences.addon_expand", EXPAND)))
    yield 1.5


def switch_addon(holds) -> Iterator[float]:
    """Its check box."""
    operator = "preferences.addon_disable" if is_installed() else "preferences.addon_enable"
    yield from hands.click(*PREFERENCES, operator, holds, (0.053,))


def install() -> Iterator[float]:
    """Get Extensions > Install from Disk."""
    yield from open_preferences("EXTENSIONS")
    yield from hands.go_to(section_menu(), "extensions.package_install_files")
    picture("00-install-menu")
    hands.do("key", "Return")
    yield from hands.name_file(Path(PACKAGE))
    picture("00-install-file")
    yield from hands.confirm_file(is_installed, "the add-on is installed and enabled", 60)
    yield 1.0
    picture("00-installed")
    yield from hands.close("PREFERENCES")


def install_by_drop() -> Iterator[float]:
    """The zip is dropped into the window, and the question answered."""
    yield from drop(Path(PACKAGE), middle(), lambda: True, "the zip is taken")
    yield 2.0
    picture("00-dropped")
    hands.do("key", "Return")
    yield from hands.until(is_installed, "the add-on is installed and enabled", 60)
    yield 1.0


def set_up() -> Iterator[float]:
    """A refusal that says what to do, Esc, the button Cancel, going on to the end, the log and the report. With pip."""
    yield from open_preferences("ADDONS")
    yield from show_addon()
    button = "scale_clothing.set_up_backend"
    assert status() == "not set up", status()
    if not bpy.app.online_access:
        yield from hands.click(*PREFERENCES, button, lambda: module("messages").last_error(), WIDE)
        assert "Allow Online Access" in module("messages").last_error()
        picture("01-refused")
        yield from allow_network()
        yield from show_section("ADDONS")
    yield from fetch(button)
    picture("02-setting-up")
    hands.press(hands.place(hands.region(*PREFERENCES), 0.5, 0.95), "Escape")
    yield from cancelled()
    yield from fetch(button)
    ended = lambda: status() != "setting up"  # noqa: E731
    yield from hands.click(*PREFERENCES, "scale_clothing.cancel_set_up", ended, LEFT)
    yield from cancelled()
    yield 1.0
    picture("02-cancelled")
    yield from hands.click(*PREFERENCES, button, lambda: status() == "setting up", WIDE)
    yield from hands.until(lambda: module("backend.process").setting_up().ended.is_set(), "the set-up ends", 900)
    assert module("backend.process").setting_up().succeeded, module("backend.process").setting_up().failure
    yield from hands.until(lambda: status() == "ready", "the backend starts", 120)
    yield 1.0
    picture("03-set-up")
    yield from log_and_report()
    yield from hands.close("PREFERENCES")


def allow_network() -> Iterator[float]:
    """The button that Blender has for it in Get Extensions."""
    yield from show_section("EXTENSIONS")
    allowed = lambda: bpy.app.online_access  # noqa: E731
    yield from hands.click(*PREFERENCES, "extensions.userpref_allow_online", allowed, (0.75,))


def fetch(button: str) -> Iterator[float]:
    """The set-up is begun or gone on with, up to where packages are fetched."""
    yield from hands.click(*PREFERENCES, button, lambda: status() == "setting up", WIDE)
    yield from hands.until(lambda: "Fetching" in module("backend.process").setting_up().step, "fetching begins", 120)
    yield 1.0


def cancelled() -> Iterator[float]:
    yield from hands.until(lambda: status() != "setting up", "the set-up is cancelled")
    assert module("backend.process").setting_up().cancelled


def log_and_report() -> Iterator[float]:
    """The log's button, which on a desktop without a program for it says where the log is; the report is copied."""
    said = lambda: "set-up.log" in module("messages").last_error()  # noqa: E731
    yield from hands.click(*PREFERENCES, "scale_clothing.show_log", said, (0.75,))
    copied = lambda: "Ready to decode." in bpy.context.window_manager.clipboard  # noqa: E731
    yield from hands.click(*PREFERENCES, "scale_clothing.copy_report", copied)
    picture("03-report")
