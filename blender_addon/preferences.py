"""Settings of the add-on that belong to the machine, not to a .blend file."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty
from bpy.types import AddonPreferences

from . import environment, messages, paths

PYTHON_VARIABLE = "SCALE_BACKEND_PYTHON"
FOLDER_VARIABLE = "SCALE_BACKEND_FOLDER"  # where the backend's own environment is
DEVICES = (
    ("auto", "Automatic", "CUDA where there is an NVIDIA GPU, Metal on a Mac, else the CPU"),
    ("cuda", "CUDA", "An NVIDIA GPU"),
    ("mps", "Metal", "The GPU of a Mac"),
    ("cpu", "CPU", "Works everywhere"),
)


def _backend_changed(_self: ScaleClothingPreferences, _context: bpy.types.Context) -> None:
    """The next use starts the backend anew, as it is set now."""
    from . import backend, live

    live.forget()
    backend.stop()


class ScaleClothingPreferences(AddonPreferences):
    bl_idname = __package__

    backend_python: StringProperty(
        name="Existing Python",
        description=(
            "Python of an environment of yours that has torch, in which the clothes are computed. "
            f"Empty: the environment variable {PYTHON_VARIABLE}, else the environment that the add-on sets up"
        ),
        subtype="FILE_PATH",
        update=_backend_changed,
    )
    environment_folder: StringProperty(
        name="Folder",
        description="Where the add-on makes the backend's own environment. Choose a short path on Windows",
        subtype="DIR_PATH",
    )
    wheels: StringProperty(
        name="Wheels",
        description="A folder of wheels of torch and the other packages, for computers without network. Empty: "
        "they are fetched",
        subtype="DIR_PATH",
    )
    device: EnumProperty(
        name="Device",
        description="Where clothes are computed",
        items=DEVICES,
        default="auto",
        update=_backend_changed,
    )
    threads: IntProperty(
        name="CPU Threads",
        description="Threads the backend may use on the CPU; 0 leaves the choice to it",
        min=0,
        max=256,
        default=0,
        update=_backend_changed,
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
        panel.draw_error(layout, context)
        box = layout.box()
        panel.draw_set_up(box)
        box.prop(self, "environment_folder", placeholder=str(default_folder()))
        box.prop(self, "wheels", placeholder="from the network")
        layout.prop(self, "backend_python", placeholder="the one that is set up above")
        if not self.backend_python and os.environ.get(PYTHON_VARIABLE):
            layout.label(text=f"From {PYTHON_VARIABLE}: {os.environ[PYTHON_VARIABLE]}")
        layout.prop(self, "device")
        layout.prop(self, "threads")
        layout.prop(self, "garments", placeholder=str(paths.user_folder("garments")))
        panel.draw_report(layout, context.region.width / context.preferences.system.ui_scale - panel.MARGIN)


def current() -> ScaleClothingPreferences | None:
    """The preferences; None where the modules are used without being enabled as an add-on."""
    addon = bpy.context.preferences.addons.get(__package__)
    return addon.preferences if addon else None


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
    found = current()
    return (found.backend_python if found else "") or os.environ.get(PYTHON_VARIABLE, "")


def is_set_up() -> bool:
    """Whether a Python is named, or the add-on's own environment is there."""
    return bool(_named_python()) or environment.is_set_up(environment_folder())


def default_folder() -> Path:
    """A short path that needs no rights: Windows allows 260 characters, of which torch takes some 150."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".scale-clothing")


def environment_folder() -> Path:
    """Where the add-on's own environment is, or will be."""
    found = current()
    named = found.environment_folder if found else ""
    return Path(bpy.path.abspath(named)) if named else default_folder()


def environment_plan(folder: str = "", wheels: str = "") -> environment.Plan:
    """What a set-up installs; folders as given, else as in the preferences."""
    found = current()
    wheels = wheels or (found.wheels if found else "")
    return environment.Plan(
        Path(bpy.path.abspath(folder)) if folder else environment_folder(),
        paths.backend_modules(),
        paths.backend_wheel(),
        Path(bpy.path.abspath(wheels)) if wheels else None,
    )


def use_environment(folder: Path) -> None:
    """From now on compute in this environment of the add-on's own."""
    found = current()
    if found is None:
        return
    found.backend_python = ""
    if folder != default_folder():
        found.environment_folder = str(folder)
    bpy.context.preferences.is_dirty = True


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
