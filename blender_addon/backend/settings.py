"""What the preferences say about the backend: which Python, which folder, which device."""

from __future__ import annotations

import os
from pathlib import Path

import bpy

from .. import messages, paths
from ..present import present
from ..settings import current
from . import environment

PYTHON_VARIABLE = "SCALE_BACKEND_PYTHON"
FOLDER_VARIABLE = "SCALE_BACKEND_FOLDER"  # where the backend's own environment is


def backend_python() -> Path:
    """The backend's Python: as set, else from the environment, else the add-on's own. Raises AddonError."""
    named = _named_python()
    if not named:
        own = environment_folder()
        if environment.is_set_up(own):
            return environment.python_in(own)
        raise messages.AddonError(
            "No backend is set up: open Edit > Preferences > Add-ons > SCALE Clothing and press Set Up Backend, or let "
            f"the environment variable {PYTHON_VARIABLE} name a Python that has torch."
        )
    path = Path(bpy.path.abspath(named))
    if not path.is_file():
        raise messages.AddonError(
            f"There is no Python at {path}: choose the backend's Python in "
            "Edit > Preferences > Add-ons > SCALE Clothing."
        )
    return path


def _named_python() -> str:
    preferences = current()
    return (preferences.backend_python if preferences else "") or os.environ.get(PYTHON_VARIABLE, "")


def is_set_up() -> bool:
    """Whether a Python is named, or the add-on's own environment is there."""
    return bool(_named_python()) or environment.is_set_up(environment_folder())


def is_outdated() -> bool:
    """Whether the add-on's own environment was set up by another version of it. It serves; the user may update it."""
    folder = environment_folder()
    return not _named_python() and environment.is_set_up(folder) and not environment.is_current(environment_plan())


def default_folder() -> Path:
    """A short path that needs no rights: Windows allows 260 characters, of which torch takes some 150."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".scale-clothing")


def environment_folder() -> Path:
    """Where the add-on's own environment is, or will be."""
    preferences = current()
    named = preferences.environment_folder if preferences else ""
    return Path(bpy.path.abspath(named)) if named else default_folder()


def environment_plan(folder: str = "", wheels: str = "") -> environment.Plan:
    """What a set-up installs; folders as given, else as in the preferences."""
    preferences = current()
    wheels = wheels or (preferences.wheels if preferences else "")
    return environment.Plan(
        Path(bpy.path.abspath(folder)) if folder else environment_folder(),
        paths.backend_modules(),
        paths.backend_wheel(),
        paths.backend_wheel_sha256(),
        Path(bpy.path.abspath(wheels)) if wheels else None,
    )


def use_environment(folder: Path) -> None:
    """From now on compute in this environment of the add-on's own."""
    preferences = current()
    if preferences is None:
        return
    preferences.backend_python = ""
    if folder != default_folder():
        preferences.environment_folder = str(folder)
    present(bpy.context.preferences).is_dirty = True


def device() -> str:
    preferences = current()
    return preferences.device if preferences else "auto"


def threads() -> int:
    preferences = current()
    return preferences.threads if preferences else 0
