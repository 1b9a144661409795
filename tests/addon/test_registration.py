"""Registering and unregistering leave Blender as it was; everything that is shown has words."""

from __future__ import annotations

import subprocess
import sys

import bpy
import pytest

import blender_addon
from blender_addon import settings
from blender_addon.ui import preferences, properties

OPERATORS = [cls for cls in blender_addon.CLASSES if issubclass(cls, bpy.types.Operator)]


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
        assert blender_addon.process.status().kind == blender_addon.process.NOT_STARTED
    finally:
        blender_addon.register()
    again = traces()
    blender_addon.unregister()
    blender_addon.register()
    assert traces() == again


@pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.bl_idname)
def test_operators_say_what_they_do(kind):
    assert kind.bl_idname.startswith("scale_clothing.")
    assert kind.bl_label[0].isupper()
    assert len(kind.bl_description) > 10 and not kind.bl_description.endswith(".")
    for prop in getattr(bpy.ops.scale_clothing, kind.bl_idname.split(".")[1]).get_rna_type().properties:
        assert prop.identifier == "rna_type" or prop.is_hidden or prop.description, prop.identifier


@pytest.mark.parametrize("kind", properties.CLASSES, ids=lambda kind: kind.__name__)
def test_properties_say_what_they_are(kind):
    for name, prop in kind.bl_rna.properties.items():
        if name in {"name", "rna_type", "is_clothes", "is_sample_body", "surface", "part"}:
            continue
        assert prop.description, name
        assert not prop.description.endswith("."), name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("update", "Generate clothes first"),
        ("remove", "Generate clothes first"),
        ("bake", "Generate clothes first"),
        ("clear_bake", "Generate clothes first"),
        ("apply_motion", "Select a character's armature"),
        ("use_selected", "Select another character"),
        ("fit_bones", "Choose a sample character"),
        ("remove_garment", "choose one of your own"),
    ],
)
def test_operators_are_greyed_out_with_a_reason(scene, name, reason):
    operator = getattr(bpy.ops.scale_clothing, name)
    assert not operator.poll()
    with pytest.raises(RuntimeError, match=reason):
        operator()


REGISTERED = [
    (settings.Preferences, preferences.ScaleClothingPreferences),
    (settings.SceneSettings, properties.SceneSettings),
    (settings.PieceSettings, properties.PieceSettings),
    (settings.ClothesSettings, properties.ClothesSettings),
]
TYPES = {"BOOLEAN": "bool", "INT": "int", "FLOAT": "float", "STRING": "str", "ENUM": "str", "COLLECTION": "Pieces"}


@pytest.mark.parametrize(("typed", "registered"), REGISTERED, ids=lambda kind: kind.__name__)
def test_settings_are_registered_as_their_types_say(typed, registered):
    names = {name: kind for each in typed.__mro__ for name, kind in vars(each).get("__annotations__", {}).items()}
    known = {prop.identifier: prop for prop in registered.bl_rna.properties}
    assert set(names) - {"name"} == set(known) - {"name", "rna_type", "bl_idname"}
    for name, kind in names.items():
        prop = known[name]
        expected = f"{prop.fixed_type.identifier} | None" if prop.type == "POINTER" else TYPES[prop.type]
        assert kind == ("Sequence[float]" if getattr(prop, "is_array", False) else expected), name


def test_panels_are_in_the_tab():
    assert {kind.bl_category for kind in blender_addon.CLASSES if issubclass(kind, bpy.types.Panel)} == {"SCALE"}


def test_a_process_with_the_add_on_ends(tmp_path):
    """The bpy module hangs at its end on handlers that are left."""
    code = "import bpy, blender_addon; blender_addon.register(); bpy.ops.wm.read_homefile(); print('end')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.rstrip().endswith("end"), done.stderr
