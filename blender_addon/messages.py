"""What the add-on tells its user: errors as one sentence, kept in view until the next success."""

from __future__ import annotations

import re

from scale_backend.formats.errors import UserError

from .present import present


class AddonError(UserError):
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


def wrapped(text: str, width: float) -> list[str]:
    """Lines of a text for a panel that has `width` pixels for it, at a UI scale of 1; Blender's labels do not wrap.

    A word that is wider stands alone. Spaces inside a line stay.
    """
    import blf
    import bpy

    blf.size(0, present(bpy.context.preferences).ui_styles[0].widget.points)
    lines: list[str] = []
    for word in re.findall(r"\s*\S+", text):
        if lines and blf.dimensions(0, lines[-1] + word)[0] <= width:
            lines[-1] += word
        else:
            lines.append(word.lstrip() if lines else word)
    return lines or [""]


def redraw_panels() -> None:
    """Show what has changed, in all windows."""
    import bpy

    for window in present(bpy.context.window_manager).windows:
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "PREFERENCES"}:
                area.tag_redraw()
