"""Clothes that fail with nobody looking: a render is broken off, and Blender in the background ends with an exit code.

Nothing that was rendered or exported is then silently wrong: in a window the panel says that clothes no longer follow,
here nobody would read it.
"""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path

import bpy
from bpy.app.handlers import persistent
from bpy.types import Scene

EXIT_CODE = 4  # the command line's for the backend
# below a file nothing can be written: Blender breaks off a render whose picture cannot be saved, and says so
NOWHERE = str(Path(__file__) / "the clothes could not follow" / "_")

_failure = ""  # the first, of this Blender
_rendering = False
_before: tuple[str, str] | None = None  # file path and format of a render that was broken off


def failed(scene: Scene, sentence: str) -> None:
    """Clothes of a scene could not be brought to a frame."""
    global _failure, _before
    if bpy.app.background:
        print(f"scale_clothing: error: {sentence}", file=sys.stderr, flush=True)
        _failure = _failure or sentence
    if _rendering and _before is None:
        render = scene.render
        _before = render.filepath, render.image_settings.file_format
        if render.is_movie_format:  # a film that has begun takes any picture
            if hasattr(render.image_settings, "media_type"):  # Blender 5.0
                render.image_settings.media_type = "IMAGE"
            render.image_settings.file_format = "PNG"
        render.filepath = NOWHERE


def failure() -> str:
    """Why clothes could not follow in this Blender in the background; empty where all did."""
    return _failure


def is_rendering() -> bool:
    """Whether a render goes on."""
    return _rendering


def forget() -> None:
    """The failure is being told and answered for."""
    global _failure
    _failure = ""


@persistent
def _render_begins(*_: object) -> None:
    global _rendering
    _rendering = True


@persistent
def _render_ends(scene: Scene, *_: object) -> None:
    global _rendering, _before
    _rendering = False
    if _before is not None:
        scene.render.filepath = _before[0]
        if scene.render.image_settings.file_format != _before[1]:
            if hasattr(scene.render.image_settings, "media_type"):
                scene.render.image_settings.media_type = "VIDEO"
            scene.render.image_settings.file_format = _before[1]  # type: ignore[assignment]  # as it was
        _before = None


def _leave() -> None:
    """At the end of Blender, or of the program that has imported it."""
    if _failure:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_CODE)


def _handlers() -> tuple[tuple, ...]:
    handlers = bpy.app.handlers
    return (
        (handlers.render_init, _render_begins),
        (handlers.render_complete, _render_ends),
        (handlers.render_cancel, _render_ends),
    )


def register() -> None:
    for handlers, handler in _handlers():
        handlers.append(handler)
    atexit.register(_leave)  # so it is called after the add-on's own end, which closes the backend


def unregister() -> None:
    global _rendering
    for handlers, handler in _handlers():
        if handler in handlers:
            handlers.remove(handler)
    _rendering = False
