"""Settings of the add-on that belong to the machine, not to a .blend file."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty
from bpy.types import AddonPreferences

from . import messages, paths

PYTHON_VARIABLE = "SCALE_BACKEND_PYTHON"
DEVICES = (
    ("auto", "Automatic", "CUDA where there is an NVIDIA GPU, Metal on a Mac, else the CPU"),
    ("cuda", "CUDA", "An NVIDIA GPU"),
    ("mps", "Metal", "The GPU of a Mac"),
    ("cpu", "CPU", "Works everywhere"),
)


class ScaleClothingPreferences(AddonPreferences):
    bl_idname = __package__

    backend_python: StringProperty(
        name="Backend Python",
        description=(
            "Python of the environment that has torch, in which the clothes are computed. "
            f"Empty: the environment variable {PYTHON_VARIABLE}"
        ),
        subtype="FILE_PATH",
    )
    device: EnumProperty(name="Device", description="Where clothes are computed", items=DEVICES, default="auto")
    threads: IntProperty(
        name="CPU Threads",
        description="Threads the backend may use on the CPU; 0 leaves the choice to it",
        min=0,
        max=256,
        default=0,
    )
    garments: StringProperty(
        name="My Garments",
        description="Folder with garment files of your own. Empty: a folder among Blender's user files",
        subtype="DIR_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        from . import panel

        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        panel.draw_status(layout)
        layout.prop(self, "backend_python")
        if not self.backend_python and os.environ.get(PYTHON_VARIABLE):
            layout.label(text=f"From {PYTHON_VARIABLE}: {os.environ[PYTHON_VARIABLE]}")
        layout.prop(self, "device")
        layout.prop(self, "threads")
        layout.prop(self, "garments")
        panel.draw_error(layout, context)
        panel.draw_report(layout)


def current() -> ScaleClothingPreferences | None:
    """The preferences; None where the modules are used without being enabled as an add-on."""
    addon = bpy.context.preferences.addons.get(__package__)
    return addon.preferences if addon else None


def backend_python() -> Path:
    """The backend's Python: as set, else from the environment. Raises AddonError."""
    found = current()
    named = (found.backend_python if found else "") or os.environ.get(PYTHON_VARIABLE, "")
    if not named:
        raise messages.AddonError(
            "No backend is set up: open Edit > Preferences > Add-ons > SCALE Clothing and choose the Python of an "
            "environment that has torch."
        )
    path = Path(bpy.path.abspath(named))
    if not path.is_file():
        raise messages.AddonError(
            f"There is no Python at {path}: choose the backend's Python in "
            "Edit > Preferences > Add-ons > SCALE Clothing."
        )
    return path


def device() -> str:
    found = current()
    return found.device if found else "auto"


def threads() -> int:
    found = current()
    return found.threads if found else 0


def garment_folder() -> Path:
    """Where the user's own garments are."""
    found = current()
    named = found.garments if found else ""
    return Path(bpy.path.abspath(named)) if named else paths.user_folder("garments")


CLASSES = (ScaleClothingPreferences,)
