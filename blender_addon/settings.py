"""The add-on's preferences as they are set; their drawing is ui/preferences."""

from __future__ import annotations

from pathlib import Path

import bpy

from . import paths


def current() -> bpy.types.AddonPreferences | None:
    """The preferences; None where the modules are used without being enabled as an add-on."""
    addon = bpy.context.preferences.addons.get(paths.PACKAGE)
    return addon.preferences if addon else None


def garment_folder() -> Path:
    """Where the user's own garments are."""
    preferences = current()
    named = preferences.garments if preferences else ""
    return Path(bpy.path.abspath(named)) if named else paths.user_folder("garments")
