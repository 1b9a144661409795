"""How the add-on behaves among others: quiet, undoable, and gone when it is switched off."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import bpy
import pytest

import blender_addon
from blender_addon import paths
from blender_addon.backend import process
from blender_addon.clothes import live, playback
from blender_addon.clothes.memory import Arrival
from blender_addon.clothes.request import present_request
from scale_backend.client.backend import BackendError

OPERATORS = [cls for cls in blender_addon.CLASSES if issubclass(cls, bpy.types.Operator)]
LEAVE_THE_SCENE = {  # and so need no undo
    "scale_clothing.set_up_backend", "scale_clothing.cancel_set_up", "scale_clothing.check_backend",
    "scale_clothing.restart_backend", "scale_clothing.show_log", "scale_clothing.show_report",
    "scale_clothing.copy_report", "scale_clothing.dismiss_error", "scale_clothing.stop_bake",
    "scale_clothing.replace_bake",
    "scale_clothing.add_garment", "scale_clothing.remove_garment", "scale_clothing.open_garments",
    "scale_clothing.save_bones", "scale_clothing.open_rigs",
}  # fmt: skip


def test_operators_differ_in_name_and_words():
    for what in ("bl_idname", "bl_label", "bl_description"):
        values = [getattr(cls, what) for cls in OPERATORS]
        assert sorted(set(values)) == sorted(values), what


@pytest.mark.parametrize("cls", OPERATORS, ids=lambda cls: cls.bl_idname)
def test_what_changes_the_scene_can_be_undone(cls):
    if cls.bl_idname not in LEAVE_THE_SCENE and "asset" not in cls.bl_idname:
        assert "UNDO" in cls.bl_options
        # without the redo panel a bake alone: a touch of its settings there would bake again
        assert ("REGISTER" in cls.bl_options) == (cls.bl_idname != "scale_clothing.bake")


def test_what_cannot_be_done_is_grey(dressed, character):
    grey = lambda name: not getattr(bpy.ops.scale_clothing, name).poll()  # noqa: E731
    assert grey("clear_bake") and grey("stop_bake") and grey("cancel_set_up")
    assert not grey("update") and not grey("remove") and not grey("generate")
    bpy.context.view_layer.objects.active = dressed
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        assert grey("generate") and grey("update") and grey("remove") and grey("add_character")
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
    bpy.context.view_layer.objects.active = character
    bpy.ops.object.mode_set(mode="POSE")
    assert not grey("generate") and not grey("update")


def test_baked_clothes_are_not_updated(dressed, scene, bake_folder):
    scene.frame_end = 2
    bpy.ops.scale_clothing.bake()
    assert playback.is_baked(dressed)
    assert not bpy.ops.scale_clothing.update.poll() and bpy.ops.scale_clothing.clear_bake.poll()


def test_nothing_runs_without_clothes(character, scene):
    assert not [h for h in bpy.app.handlers.frame_change_post if h.__module__.startswith("blender_addon")]
    assert not [h for h in bpy.app.handlers.depsgraph_update_post if h.__module__.startswith("blender_addon")]
    before = threading.active_count()
    scene.frame_set(5)
    assert threading.active_count() == before


def test_disabled_it_starts_no_backend(dressed, scene):
    bpy.ops.scale_clothing.update()
    launch = process.Launch.read()
    request = present_request(dressed, bpy.context.evaluated_depsgraph_get(), Arrival.STAYED)
    blender_addon.unregister()
    try:
        with pytest.raises(BackendError, match="disabled"):
            request.decode(launch)  # as a thread would that was under way
        assert not process.running()
    finally:
        blender_addon.register()
    live.watch()
    assert request.decode(launch).points.shape[1] == 3


def test_two_blenders_unpack_the_backend_at_once(monkeypatch, tmp_path):
    import scale_backend

    package = tmp_path / "site-packages" / "scale_backend"
    package.mkdir(parents=True)
    for name in ("__init__.py", "client.py"):
        (package / name).write_text("# a module\n")
    monkeypatch.setattr(scale_backend, "__file__", str(package / "__init__.py"))
    monkeypatch.setattr(paths, "user_folder", lambda _name: tmp_path)
    found, both = [], threading.Barrier(2)

    def unpack() -> None:
        both.wait(10)
        found.append(paths.backend_modules.__wrapped__())

    threads = [threading.Thread(target=unpack) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 2 and found[0] == found[1]
    assert sorted(os.listdir(f"{found[0]}/scale_backend")) == ["__init__.py", "client.py"]
    assert [each for each in tmp_path.iterdir() if each.name != "site-packages"] == [tmp_path / found[0]]


SESSION = """
import sys, bpy, blender_addon
blender_addon.register()
bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
scene = bpy.context.scene
bpy.ops.scale_clothing.add_character()
bpy.ops.scale_clothing.add_garment(filepath=sys.argv[1])
bpy.ops.scale_clothing.generate()
for frame in (2, 3):
    scene.frame_set(frame)
scene.frame_end = 3
bpy.ops.scale_clothing.bake(folder=sys.argv[2])
bpy.ops.scale_clothing.clear_bake()
bpy.ops.scale_clothing.remove()
blender_addon.unregister()
"""


def test_the_console_is_quiet(garment_files, tmp_path):
    """Blender prints the operators' reports in background; nothing else is to be read there."""
    (tmp_path / "user").mkdir()
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "user")}
    run = [sys.executable, "-W", "default", "-c", SESSION, garment_files["skirt"], str(tmp_path / "clothes")]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert [line for line in done.stdout.splitlines() if line and not line.startswith("Info: ")] == []
