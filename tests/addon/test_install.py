"""The real zip, installed by Blender's own installer into an empty user folder, in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import build_addon
from tests.making import write_garment

SESSION = """
import os, sys, bpy
older, package, garment, folder = sys.argv[1:]
before = set(dir(bpy.types))
bpy.ops.extensions.package_install_files(filepath=older, repo="user_default", enable_on_install=True)
import scale_backend
assert scale_backend.OLDER
bpy.ops.extensions.package_install_files(filepath=package, repo="user_default", enable_on_install=True)
bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)

import scale_backend
assert folder in scale_backend.__file__, scale_backend.__file__  # the bundled wheel, not a checkout
assert not hasattr(scale_backend, "OLDER")  # nor that of the older add-on of the same version
assert "torch" not in sys.modules

scene = bpy.context.scene
bpy.ops.scale_clothing.add_character()
bpy.ops.scale_clothing.add_garment(filepath=garment)
bpy.ops.scale_clothing.generate()
clothes = next(o for o in bpy.data.objects if o.scale_clothing.is_clothes)
assert len(clothes.data.polygons) > 100
scene.frame_end = 4
scene.scale_clothing.bake_folder = os.path.join(folder, "baked")
bpy.ops.scale_clothing.bake()
assert len(os.listdir(os.path.join(folder, "baked"))) == 1
bpy.ops.wm.save_as_mainfile(filepath=os.path.join(folder, "scene.blend"))

backend = sys.modules["bl_ext.user_default.scale_clothing.backend.process"]
preferences = bpy.context.preferences.addons["bl_ext.user_default.scale_clothing"].preferences
preferences.threads = 1
assert not backend.running()  # the next use starts it as it is set now
bpy.ops.scale_clothing.check_backend()
assert backend.get().info["threads"] == 1

bpy.ops.preferences.addon_disable(module="bl_ext.user_default.scale_clothing")
assert not hasattr(bpy.types.Scene, "scale_clothing")
assert not [name for name in set(dir(bpy.types)) - before if "SCALE" in name]
bpy.ops.preferences.addon_enable(module="bl_ext.user_default.scale_clothing")
bpy.ops.wm.open_mainfile(filepath=os.path.join(folder, "scene.blend"))
clothes = next(o for o in bpy.data.objects if o.scale_clothing.is_clothes)
bpy.ops.scale_clothing.clear_bake()
scene = bpy.context.scene
scene.frame_set(3)
assert "torch" not in sys.modules
print("session ended well")
"""


def test_the_built_extension(tmp_path: Path, monkeypatch):
    package = build_addon.build(tmp_path / "dist")
    older = older_package(tmp_path / "older", monkeypatch)
    user = tmp_path / "user"
    user.mkdir()
    garment = write_garment(tmp_path / "skirt.safetensors")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"BLENDER_USER_RESOURCES": str(user)}
    # -P and another folder: nothing of the checkout may be found
    run = [sys.executable, "-P", "-c", WITHOUT_CHECKOUT + SESSION, str(older), str(package), str(garment), str(user)]
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0 and "session ended well" in done.stdout, done.stdout + done.stderr


def older_package(folder: Path, monkeypatch) -> Path:
    """The extension of the same version with another backend in it."""
    shutil.copytree(build_addon.BACKEND, folder / "scale_backend", ignore=shutil.ignore_patterns("__pycache__"))
    with open(folder / "scale_backend" / "__init__.py", "a") as module:
        module.write("\nOLDER = True\n")
    with monkeypatch.context() as patched:
        patched.setattr(build_addon, "BACKEND", folder / "scale_backend")
        return build_addon.build(folder / "dist")


WITHOUT_CHECKOUT = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", str(finder))]
"""
