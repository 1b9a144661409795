"""Bad input gets one clear sentence, in the report and in the panel, and nothing in the scene changes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import venv
from pathlib import Path

import blf
import bpy
import pytest

from blender_addon import messages
from blender_addon import settings as addon_settings
from blender_addon.backend import process
from blender_addon.clothes import selection
from blender_addon.garments import library
from tests.making import make_garment


@pytest.fixture
def no_backend():
    """Close the shared backend, so that the test's own settings are used for the next start."""
    process.stop()
    yield
    process.stop()


def fails(sentence: str, operator=bpy.ops.scale_clothing.generate, **settings) -> None:
    """The operator reports the sentence, keeps it in the panel, and the scene stays as it was."""
    objects, meshes = set(bpy.data.objects), set(bpy.data.meshes)
    with pytest.raises(RuntimeError, match=sentence):
        operator(**settings)
    assert re.search(sentence, messages.last_error())
    assert "Traceback" not in messages.last_error()
    assert set(bpy.data.objects) == objects and set(bpy.data.meshes) == meshes


def test_no_armature(scene, garment_files):
    scene.scale_clothing.garment = garment_files["skirt"]
    fails(r"No armature is chosen: select a character's armature, or add the sample character")


def test_no_humanoid_rig(scene, garment_files):
    bpy.ops.object.armature_add()
    scene.scale_clothing.garment = garment_files["skirt"]
    fails(r"'Armature' is no humanoid rig that is known: choose its bones in Bone Mapping, or choose another")


def test_a_garment_file_cut_short(character, scene, garment_files):
    path = addon_settings.garment_folder() / "short.safetensors"
    path.write_bytes(Path(garment_files["skirt"]).read_bytes()[:-1000])
    try:
        scene.scale_clothing.garment = str(path)
        fails(r"short\.safetensors is cut short .*; copy it again or choose another")
        fails(r"short\.safetensors is cut short", bpy.ops.scale_clothing.add_garment, filepath=str(path))
    finally:
        path.unlink()


def test_a_garment_for_another_body(character, scene, garment_files):
    from dataclasses import replace

    from scale_backend.model.garment import save_garment

    path = addon_settings.garment_folder() / "other.safetensors"
    try:
        save_garment(path, replace(make_garment(), body_digest="0" * 64))
        scene.scale_clothing.garment = str(path)
        fails(r"is made for the body 'neutral'.*choose that body or another garment")
        save_garment(path, replace(make_garment(), body_name="another"))
        fails(r"The body 'another' is not there: put another\.npz into .*, or choose another garment")
    finally:
        path.unlink()


def test_a_garment_that_went(character, scene, garment_files, dressed):
    dressed.scale_clothing.garment = "/nowhere/gone.safetensors"
    fails(r"There is no garment file .*gone\.safetensors; choose another garment", bpy.ops.scale_clothing.update)


def test_no_python_is_set(character, scene, garment_files, no_backend, monkeypatch):
    monkeypatch.delenv("SCALE_BACKEND_PYTHON")
    scene.scale_clothing.garment = garment_files["skirt"]
    fails(r"No backend is set up: open Edit > Preferences")
    assert process.status().kind == process.FAILED
    why = messages.last_error()
    bpy.ops.scale_clothing.dismiss_error()
    assert messages.last_error() == "" and process.failure() == why  # as long as it is so the panel says why


def test_a_python_that_is_not_there(character, scene, garment_files, no_backend, monkeypatch):
    monkeypatch.setenv("SCALE_BACKEND_PYTHON", "/nowhere/python")
    scene.scale_clothing.garment = garment_files["skirt"]
    fails(r"There is no Python at /nowhere/python: choose the backend's Python")


def test_a_python_without_torch(character, scene, garment_files, no_backend, monkeypatch, tmp_path):
    mended = os.environ["SCALE_BACKEND_PYTHON"]
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    monkeypatch.setenv("SCALE_BACKEND_PYTHON", str(tmp_path / "bare" / "bin" / "python"))
    scene.scale_clothing.garment = garment_files["skirt"]
    fails(r"has no torch.*install with: .*pip install torch")
    monkeypatch.setenv("SCALE_BACKEND_PYTHON", mended)
    assert bpy.ops.scale_clothing.generate() == {"FINISHED"}  # mended: it works without a restart of Blender
    assert messages.last_error() == ""


def test_a_program_that_is_no_python(character, scene, garment_files, no_backend, monkeypatch):
    monkeypatch.setenv("SCALE_BACKEND_PYTHON", "/bin/false")
    scene.scale_clothing.garment = garment_files["skirt"]
    fails(r"The backend stopped before it was ready \(exit code 1\)")


def test_a_backend_that_died_is_started_again(dressed):
    process.get()._process.child.kill()
    process.get()._process.child.wait()
    assert process.status().kind != process.READY
    assert bpy.ops.scale_clothing.update() == {"FINISHED"}
    assert process.status().kind == process.READY


OUTLIVING = """
import os, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as Blender leaves it, and Python on its own does not
import bpy, blender_addon
from blender_addon.backend import process
blender_addon.register()
bpy.ops.scale_clothing.add_character()
bpy.context.scene.scale_clothing.garment = sys.argv[1]
python, os.environ["SCALE_BACKEND_PYTHON"] = os.environ["SCALE_BACKEND_PYTHON"], "/bin/false"
try:
    bpy.ops.scale_clothing.generate()
except RuntimeError as error:
    assert "stopped before it was ready" in str(error), error
os.environ["SCALE_BACKEND_PYTHON"] = python
bpy.ops.scale_clothing.generate()
running = process.get()
running._process.child.kill()
running._process.child.wait()
try:
    running.doctor()
except process.BackendError as error:
    assert "start it again" in str(error), error
blender_addon.unregister()
print("outlived them")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="Windows has no such signal")
def test_blender_outlives_backends_that_go(garment_files):
    """What is written to a process that has gone must not end Blender."""
    run = [sys.executable, "-c", OUTLIVING, garment_files["skirt"]]
    done = subprocess.run(run, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0 and done.stdout.endswith("outlived them\n"), (done.returncode, done.stderr)


def test_live_update_stops_with_a_sentence(dressed, scene):
    dressed.scale_clothing.garment = "/nowhere/gone.safetensors"
    scene.frame_set(9)
    assert not dressed.scale_clothing.live
    told = messages.last_error()
    assert re.search(r"gone\.safetensors; .* Live update of '.*' is off until you switch it on again", told)


def test_edited_clothes(dressed):
    import bmesh

    mesh = bmesh.new()
    mesh.from_mesh(dressed.data)
    mesh.verts.new((0, 0, 0))
    mesh.to_mesh(dressed.data)
    mesh.free()
    fails(r"was edited or its garment has changed; generate it again", bpy.ops.scale_clothing.update)


def test_clothes_of_a_deleted_character(dressed, character):
    skin = bpy.data.objects["SCALE Body"]
    for obj in (character, skin):
        bpy.data.objects.remove(obj)
    bpy.context.view_layer.objects.active = dressed
    fails(r"The character that wore '.*' is gone", bpy.ops.scale_clothing.update)
    bpy.ops.scale_clothing.remove()
    assert selection.all_clothes() == []


def test_success_clears_the_message(character, scene, garment_files):
    messages.show_error("Something.")
    scene.scale_clothing.garment = garment_files["skirt"]
    bpy.ops.scale_clothing.generate()
    assert messages.last_error() == ""


def test_long_sentences_wrap():
    """By what the words measure on the screen; in this width the sidebar cut the sentence's second line by a letter."""
    sentence = "'Armature' is no SMPL rig; choose an SMPL, SMPL-H or SMPL-X armature or add the sample character."
    lines = messages.wrapped(sentence, 165)
    assert " ".join(lines) == sentence and len(lines) > 3
    assert max(blf.dimensions(0, line)[0] for line in lines) <= 165
    assert len(messages.wrapped(sentence, 500)) == 2 and messages.wrapped("", 100) == [""]
    assert messages.wrapped("python    3.13  " + "/very" * 40, 165) == ["python    3.13", "/very" * 40]


def test_broken_garments_are_listed_with_their_problem(scene, garment_files):
    path = addon_settings.garment_folder() / "broken.safetensors"
    path.write_bytes(b"nothing")
    try:
        entry = next(e for e in library.library() if e.path == path)
        assert entry.summary is None and "broken.safetensors" in entry.problem
    finally:
        path.unlink()


def test_adding_a_garment(scene, garment_files, tmp_path):
    from scale_backend.model.garment import save_garment

    save_garment(tmp_path / "new.safetensors", make_garment())
    bpy.ops.scale_clothing.add_garment(filepath=str(tmp_path / "new.safetensors"))
    kept = addon_settings.garment_folder() / "new.safetensors"
    try:
        assert kept.read_bytes() == (tmp_path / "new.safetensors").read_bytes()
        assert scene.scale_clothing.garment == str(kept)
    finally:
        kept.unlink()
