"""Blender in this process, with a user folder of its own and the add-on registered from the checkout."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

USER_FOLDER = tempfile.TemporaryDirectory(prefix="scale-addon-tests-")
os.environ["BLENDER_USER_RESOURCES"] = USER_FOLDER.name  # read when bpy is imported
os.environ.setdefault("SCALE_BACKEND_PYTHON", sys.executable)
os.environ.setdefault("OMP_NUM_THREADS", "1")

import bpy  # noqa: E402

import blender_addon  # noqa: E402
from tests.making import write_garment  # noqa: E402

_status = 1  # of a run that never came to its end


def pytest_sessionfinish(exitstatus: int) -> None:
    global _status
    _status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """End without the bpy module's own end: in 4.5 it waits for ever for its thread that closes sound devices where
    anything keeps the module alive."""
    USER_FOLDER.cleanup()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_status)


@pytest.fixture(scope="session", autouse=True)
def registered():
    blender_addon.register()
    yield
    blender_addon.unregister()


@pytest.fixture(scope="session")
def garment_files(registered) -> dict[str, str]:
    """Garments with random weights in the user's library: their keys. "skirt" is a mesh, "body" points alone."""
    from blender_addon import settings as addon_settings

    folder = addon_settings.garment_folder()
    return {
        "skirt": str(write_garment(folder / "skirt.safetensors", "garment")),
        "body": str(write_garment(folder / "body.safetensors", "body")),
    }


@pytest.fixture
def scene() -> bpy.types.Scene:
    """A new file."""
    from blender_addon import messages
    from blender_addon.clothes import unattended

    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    messages.clear()
    unattended.forget()  # what failed for another test is that test's
    return bpy.context.scene


@pytest.fixture
def character(scene) -> bpy.types.Object:
    """The sample character's armature."""
    bpy.ops.scale_clothing.add_character()
    return scene.scale_clothing.rig


@pytest.fixture
def dressed(character, scene, garment_files) -> bpy.types.Object:
    """The sample character in a skirt: the clothes object."""
    from blender_addon.clothes import selection

    scene.scale_clothing.garment = garment_files["skirt"]
    bpy.ops.scale_clothing.generate()
    return selection.clothes_of(character)[0]


@pytest.fixture
def bake_folder(tmp_path: Path, scene) -> Path:
    scene.scale_clothing.bake_folder = str(tmp_path / "clothes")
    return tmp_path / "clothes"
