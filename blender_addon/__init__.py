"""SCALE Clothing: trained clothes that follow the poses of SMPL-family characters."""

from __future__ import annotations

import atexit
import sys

import bpy

if __package__.startswith("bl_ext.") and f"{__package__}.backend" not in sys.modules:
    # installed over an older one in the same session: what that one has imported of its wheel goes with it
    for name in [name for name in sys.modules if name.partition(".")[0] == "scale_backend"]:
        del sys.modules[name]

from .backend import process
from .clothes import live, unattended
from .garments import previews
from .headless import command_line
from .ui import (
    bake_operators,
    bake_panel,
    bone_mapping,
    environment_operators,
    garment_operators,
    look_operators,
    motion_operators,
    operators,
    panel,
    preferences,
    properties,
)

CLASSES = tuple(
    cls
    for module in (
        preferences,
        properties,
        operators,
        motion_operators,
        garment_operators,
        look_operators,
        environment_operators,
        bake_operators,
        panel,
        bone_mapping,
        bake_panel,
    )
    for cls in module.CLASSES
)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    for module in (unattended, process, properties, bone_mapping, operators, motion_operators, live, command_line):
        module.register()
    # Blender disables its add-ons before it ends; the bpy module does not, and hangs on handlers that are left
    atexit.register(unregister)


def unregister() -> None:
    atexit.unregister(unregister)
    if not hasattr(bpy.types.Object, "scale_clothing"):  # installed as an extension, the module's end disables it too
        return
    for module in (command_line, live, bake_operators, environment_operators, motion_operators, operators):
        module.unregister()
    for module in (process, bone_mapping, properties, previews, unattended):
        module.unregister()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
