"""What the add-on tells its user: errors as one sentence, kept in view until the next success."""

from __future__ import annotations

import textwrap


class AddonError(RuntimeError):
    """Something the user can mend. The message is one sentence that says what is wrong and what to do."""


_last_error = ""
_report: dict = {}


def last_error() -> str:
    return _last_error


def show_error(sentence: str) -> None:
    global _last_error
    _last_error = sentence.strip()
    redraw_panels()


def clear() -> None:
    global _last_error
    if _last_error:
        _last_error = ""
        redraw_panels()


def keep_report(report: dict) -> None:
    """What the backend found on this computer, for the preferences to show."""
    global _report
    _report = report
    redraw_panels()


def report() -> dict:
    return _report


def wrapped(sentence: str, width: float) -> list[str]:
    """Lines of a sentence for a panel `width` pixels wide; Blender's labels do not wrap."""
    return textwrap.wrap(sentence, max(int(width / 7.0), 16)) or [""]


def redraw_panels() -> None:
    """Show what has changed, in all windows."""
    import bpy

    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "PREFERENCES"}:
                area.tag_redraw()
