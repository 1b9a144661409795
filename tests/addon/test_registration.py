"""Registering and unregistering leave Blender as it was; everything that is shown has words."""

from __future__ import annotations

import subprocess
import sys

import bpy
import pytest
from bpy_extras.io_utils import ImportHelper

import blender_addon
from blender_addon import (
    bake_operators,
    environment_operators,
    fabric_assets,
    garment_operators,
    motion_operators,
    operators,
    panel,
    properties,
    thickness,
)


def traces() -> dict[str, object]:
    handlers = bpy.app.handlers
    return {
        "types": {name for name in dir(bpy.types) if "scale_clothing" in name.lower()},
        "properties": [hasattr(kind, "scale_clothing") for kind in (bpy.types.Scene, bpy.types.Object)],
        "operators": dir(bpy.ops.scale_clothing),
        "handlers": {
            name: [h.__module__ for h in getattr(handlers, name) if "blender_addon" in getattr(h, "__module__", "")]
            for name in dir(handlers)
            if isinstance(getattr(handlers, name), list)
        },
        "menus": [
            entry.__name__
            for menu in (bpy.types.TOPBAR_MT_file_import, bpy.types.VIEW3D_MT_add)
            for entry in getattr(menu.draw, "_draw_funcs", [])
            if entry.__module__.startswith("blender_addon")
        ],
    }


def test_nothing_is_left_behind(dressed):
    blender_addon.unregister()
    try:
        left = traces()
        assert left["types"] == set() and left["properties"] == [False, False] and left["operators"] == []
        assert not any(left["handlers"].values())
        assert left["menus"] == []
        assert blender_addon.backend.status().kind == blender_addon.backend.NOT_STARTED
    finally:
        blender_addon.register()
    again = traces()
    blender_addon.unregister()
    blender_addon.register()
    assert traces() == again


OPERATORS = (
    *operators.CLASSES,
    *garment_operators.CLASSES[:-1],
    *motion_operators.CLASSES[:-1],
    *fabric_assets.CLASSES,
    *thickness.CLASSES,
    *environment_operators.CLASSES,
    *bake_operators.CLASSES,
)


@pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.bl_idname)
def test_operators_say_what_they_do(kind):
    assert kind.bl_idname.startswith("scale_clothing.")
    assert kind.bl_label.istitle() or kind.bl_label[0].isupper()
    assert len(kind.bl_description) > 10 and not kind.bl_description.endswith(".")
    if not {"INTERNAL"} & kind.bl_options and not issubclass(kind, ImportHelper):
        assert callable(kind.execute)


@pytest.mark.parametrize("kind", properties.CLASSES, ids=lambda kind: kind.__name__)
def test_properties_say_what_they_are(kind):
    for name, prop in kind.bl_rna.properties.items():
        if name in {"name", "rna_type", "is_clothes", "is_sample_body", "surface", "part"}:
            continue
        assert prop.description, name
        assert not prop.description.endswith("."), name


def test_operators_are_greyed_out_with_a_reason(scene):
    for name in ("update", "remove", "bake", "clear_bake", "apply_motion"):
        assert not getattr(bpy.ops.scale_clothing, name).poll()


def test_panels_are_in_the_tab():
    assert {kind.bl_category for kind in panel.CLASSES if issubclass(kind, bpy.types.Panel)} == {"SCALE"}


def test_a_process_with_the_add_on_ends(tmp_path):
    """The bpy module hangs at its end on handlers that are left."""
    code = "import bpy, blender_addon; blender_addon.register(); bpy.ops.wm.read_homefile(); print('end')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.rstrip().endswith("end"), done.stderr
