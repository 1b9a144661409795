"""Settings of the add-on that belong to the machine, not to a .blend file."""

from __future__ import annotations

import os

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty
from bpy.types import AddonPreferences

from .. import paths
from ..backend.settings import PYTHON_VARIABLE, default_folder
from ..present import present

DEVICES = (
    ("auto", "Automatic", "CUDA where there is an NVIDIA GPU, Metal on a Mac, else the CPU"),
    ("cuda", "CUDA", "An NVIDIA GPU"),
    ("mps", "Metal", "The GPU of a Mac"),
    ("cpu", "CPU", "Works everywhere"),
)


def _backend_changed(_self: ScaleClothingPreferences, _context: bpy.types.Context) -> None:
    """The next use starts the backend anew, as it is set now."""
    from ..backend import process
    from ..clothes import live

    live.forget()
    process.stop()


class ScaleClothingPreferences(AddonPreferences):
    bl_idname = paths.PACKAGE

    backend_python: StringProperty(
        name="Existing Python",
        description=(
            "A Python of your own that has torch, to compute the clothes with. "
            f"Empty: the environment variable {PYTHON_VARIABLE}, else the environment that the add-on sets up"
        ),
        subtype="FILE_PATH",
        update=_backend_changed,
    )
    environment_folder: StringProperty(
        name="Folder",
        description="Where the add-on installs the backend. Choose a short path on Windows",
        subtype="DIR_PATH",
    )
    wheels: StringProperty(
        name="Wheels",
        description="A folder of wheels of torch and the other packages, for computers without a network. Empty: "
        "they are downloaded",
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
        from . import drawing

        layout = present(self.layout)
        layout.use_property_split = True
        layout.use_property_decorate = False
        drawing.draw_status(layout)
        drawing.draw_error(layout, context)
        box = layout.box()
        drawing.draw_set_up(box)
        box.prop(self, "environment_folder", placeholder=str(default_folder()))
        box.prop(self, "wheels", placeholder="from the network")
        layout.prop(self, "backend_python", placeholder="the one that is set up above")
        if not self.backend_python and os.environ.get(PYTHON_VARIABLE):
            layout.label(text=f"From {PYTHON_VARIABLE}: {os.environ[PYTHON_VARIABLE]}")
        layout.prop(self, "device")
        layout.prop(self, "threads")
        layout.prop(self, "garments", placeholder=str(paths.user_folder("garments")))
        drawing.draw_report(
            layout, present(context.region).width / present(context.preferences).system.ui_scale - drawing.MARGIN
        )


CLASSES = (ScaleClothingPreferences,)
