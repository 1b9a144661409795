"""The library of garments: added, shown with pictures, described, removed; and rigs they were not made for."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from PIL import Image

from blender_addon import messages
from blender_addon import settings as addon_settings
from blender_addon.clothes import proportions
from blender_addon.garments import library, previews
from blender_addon.ui import garment_operators, garment_panel, properties
from scale_backend.model.garment import save_garment
from tests.making import make_garment, write_garment


@pytest.fixture
def folder(registered):
    """The user's garment folder; what a test adds is gone after it."""
    folder = addon_settings.garment_folder()
    before = set(folder.iterdir())
    yield folder
    for path in set(folder.iterdir()) - before:
        path.unlink()


def png(color: tuple[int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(file, "PNG")
    return file.getvalue()


def test_files_are_copied_into_the_library(scene, folder, tmp_path):
    for name in ("one", "two"):
        write_garment(tmp_path / f"{name}.safetensors")
    files = [{"name": "one.safetensors"}, {"name": "two.safetensors"}]
    assert bpy.ops.scale_clothing.add_garment("INVOKE_DEFAULT", directory=str(tmp_path), files=files) == {"FINISHED"}
    assert scene.scale_clothing.garment == str(folder / "two.safetensors")
    assert {str(folder / "one.safetensors"), str(folder / "two.safetensors")} <= {e.key for e in library.library()}
    bpy.ops.scale_clothing.add_garment(filepath=str(tmp_path / "one.safetensors"))  # the same once more
    assert scene.scale_clothing.garment == str(folder / "one.safetensors")
    assert not list(folder.glob("*.part"))


def test_a_drop_reaches_the_operator():
    handler = garment_operators.SCALE_CLOTHING_FH_garment
    assert handler.bl_import_operator == "scale_clothing.add_garment"
    assert handler.bl_file_extensions == ".safetensors"
    assert handler.is_registered


@pytest.mark.parametrize("damage", ["cut", "text", "title", "body", "json"])
def test_what_is_no_garment_stays_out(scene, folder, tmp_path, damage):
    path = write_garment(tmp_path / "broken.safetensors")
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[:-100])
    elif damage == "text":
        path.write_text("no garment")
    else:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        inner = json.loads(header["__metadata__"]["scale_clothing"])
        inner |= {"title": {"title": [3]}, "body": {"body": "neutral"}, "json": {}}[damage]
        header["__metadata__"]["scale_clothing"] = json.dumps(inner) if damage != "json" else "{"
        written = json.dumps(header).encode()
        path.write_bytes(len(written).to_bytes(8, "little") + written + data[8 + length :])
    with pytest.raises(RuntimeError, match=r"broken\.safetensors"):
        bpy.ops.scale_clothing.add_garment(filepath=str(path))
    assert not (folder / path.name).exists()
    assert "broken.safetensors" in messages.last_error()


def test_another_garment_of_the_same_name_is_not_overwritten(scene, folder, tmp_path):
    (tmp_path / "other").mkdir()
    path = write_garment(tmp_path / "same.safetensors", seed=1)
    bpy.ops.scale_clothing.add_garment(filepath=str(path))
    other = write_garment(tmp_path / "other" / "same.safetensors", seed=2)
    with pytest.raises(RuntimeError, match="rename"):
        bpy.ops.scale_clothing.add_garment(filepath=str(other))
    assert (folder / "same.safetensors").read_bytes() == path.read_bytes()


def test_own_garments_can_be_removed_and_shipped_ones_not(scene, folder, tmp_path):
    bpy.ops.scale_clothing.add_garment(filepath=str(write_garment(tmp_path / "mine.safetensors")))
    assert bpy.ops.scale_clothing.remove_garment() == {"FINISHED"}
    assert not (folder / "mine.safetensors").exists()
    scene.scale_clothing.garment = "dress"
    assert not bpy.ops.scale_clothing.remove_garment.poll()
    assert library.entry("dress").summary


def test_a_missing_body_is_told_when_a_garment_is_added(folder, tmp_path):
    ours = library.add_to_library(write_garment(tmp_path / "ours.safetensors"))
    assert library.body_problem(ours) == ""
    for name, expected in (("nobody", "'nobody' is not there"), ("neutral", "another body")):
        path = tmp_path / f"for-{name}.safetensors"
        save_garment(path, replace(make_garment(), body_name=name, body_digest="0" * 64))
        assert expected in library.body_problem(library.add_to_library(path))


@pytest.mark.parametrize("key", ["dress", "dress-body"])
def test_garments_without_a_picture_are_drawn(key):
    """A surface of its own alone; cloth on a body together with the skin."""
    pixels = previews.draw(library.entry(key))
    assert pixels.shape == (previews.SIZE, previews.SIZE, 4)
    alpha = pixels[..., 3]
    assert 0.1 < alpha.mean() < 0.8
    assert alpha[: previews.SIZE // 8, : previews.SIZE // 8].max() == 0  # nothing in the corner
    inside = pixels[alpha == 1][:, :3]
    assert inside.std(0).min() > 0.02  # shaded
    blue, grey = inside[:, 2] > 1.3 * inside[:, 0], inside[:, 2] < inside[:, 0]
    assert blue.mean() > 0.1 and (grey.mean() > 0.02) == (key == "dress-body")


def test_a_drawing_has_its_outline_and_no_holes():
    """A wedge of small triangles, wider below."""
    count = 24
    row, column = np.tril_indices(count + 1)
    points = np.stack([(column - row / 2) / count, 1 - row / count, 0 * row], 1)
    number = {pair: index for index, pair in enumerate(zip(row, column, strict=True))}
    up = [[number[r, c], number[r + 1, c], number[r + 1, c + 1]] for r in range(count) for c in range(r + 1)]
    down = [[number[r, c], number[r + 1, c + 1], number[r, c + 1]] for r in range(1, count) for c in range(r)]
    triangles = np.array(up + down)
    alpha = previews.picture(points, triangles, np.tile((1.0, 0.0, 0.0), (len(triangles), 1)))[..., 3]
    width = (alpha > 0.5).sum(1)
    assert width[10] > width[60] > width[110] > 0
    for line in alpha[8:-8]:
        seen = np.flatnonzero(line > 0.5)
        assert len(seen) == seen[-1] - seen[0] + 1


def test_a_picture_in_the_file_is_shown(folder, garment_files):
    path = folder / "pictured.safetensors"
    save_garment(path, replace(make_garment(), preview=png((255, 0, 0))))
    entry = library.entry(str(path))
    shown = previews.preview(entry)
    assert previews.preview(entry) == shown != previews.preview(library.entry(garment_files["skirt"]))
    assert tuple(shown.image_size) == (64, 64)
    red = np.array(shown.image_pixels_float[:4])
    assert red[0] > 0.9 and red[1] < 0.1


def test_all_garments_have_pictures(garment_files):
    for entry in library.library():
        shown = previews.preview(entry)
        assert shown is not None and min(shown.image_size) >= 64, entry.key
        assert np.array(shown.image_pixels_float[:]).std() > 0.05, entry.key
    assert previews.preview(library.entry("missing")) is None


def test_a_rig_of_the_bodys_proportions_is_not_warned_of(character):
    assert proportions.warning(character, library.entry("dress")) == ""


def test_other_proportions_are_told(character):
    bpy.ops.object.mode_set(mode="EDIT")
    bones = character.data.edit_bones
    for name in ("left_ankle", "right_ankle"):
        shin = bones[name].head - bones[name.replace("ankle", "knee")].head
        bones[name].head += 0.5 * shin
        bones[name].tail += 0.5 * shin
    bpy.ops.object.mode_set(mode="OBJECT")
    assert "shins measure 50 % more" in proportions.warning(character, library.entry("dress"))


def test_an_unusual_shape_is_told(character):
    block = bpy.data.objects["SCALE Body"].data.shape_keys.key_blocks["Shape003"]
    block.value = 1.0
    assert proportions.warning(character, library.entry("dress")) == ""
    block.value = 3.8
    assert "body shape is far" in proportions.warning(character, library.entry("dress"))


def test_no_warning_without_a_rig_or_a_garment(scene, character):
    assert proportions.warning(None, library.entry("dress")) == ""
    assert proportions.warning(character, library.entry("missing")) == ""


def test_shipped_names_and_own_files_do_not_collide(folder, scene):
    shutil.copy(library.entry("dress").path, folder / "dress.safetensors")
    keys = [entry.key for entry in library.library()]
    assert "dress" in keys and str(folder / "dress.safetensors") in keys
    assert len({library.number(key) for key in keys}) == len(keys)
    scene.scale_clothing.garment = str(Path(folder) / "dress.safetensors")
    assert scene.scale_clothing.garment == str(folder / "dress.safetensors")


def test_menus_can_hold_the_numbers_of_their_entries(scene, folder, tmp_path):
    bpy.ops.scale_clothing.add_garment(filepath=str(write_garment(tmp_path / "mine.safetensors")))
    for items in (properties.garment_items(None, None), properties.motion_items(None, None)):
        assert len(items) > 2
        for _key, _name, _description, _icon, number in items:
            assert int(np.float32(number)) == number  # a drop-down's entry is a float32


def test_a_chosen_garment_that_is_gone_is_told(scene, folder, tmp_path):
    bpy.ops.scale_clothing.add_garment(filepath=str(write_garment(tmp_path / "mine.safetensors")))
    (folder / "mine.safetensors").unlink()
    assert "is gone; choose another garment" in library.entry(scene.scale_clothing.garment).problem


def test_a_garment_tells_of_itself():
    summary = library.entry("dress").summary
    facts = dict(garment_panel.facts(summary))
    assert facts["Licence"] == "CC0-1.0" and facts["Body"] == "neutral"
    assert " mm" in facts["Mean error"] and "poses" in facts["Trained on"]
    strange = replace(summary, licence="", author="", patches=None, training={"held_out": {"all": 3}})
    told = {"Licence": "not stated", "Author": "not stated", "Body": "neutral"}
    assert dict(garment_panel.facts(strange)) == told


def test_one_bad_file_harms_no_other(scene, garment_files):
    """The seeds of the fuzz tests, in the user's folder: each is listed with its problem, the menu has the others."""

    seeds = Path(__file__).parent.parent / "fuzz" / "seeds"
    bad = [addon_settings.garment_folder() / f"bad-{path.name}" for path in seeds.glob("*.safetensors")]
    try:
        for path, seed in zip(bad, seeds.glob("*.safetensors"), strict=True):
            path.write_bytes(seed.read_bytes())
        entries = {entry.path: entry for entry in library.library()}
        assert len(bad) >= 4 and set(bad) < entries.keys()
        for path in bad:
            assert entries[path].summary is None and path.name in entries[path].problem
            assert entries[path].title.encode() and previews.preview(entries[path]) is None
        shown = {item[0] for item in properties.garment_items(None, None)}
        assert {garment_files["skirt"], "dress", *map(str, bad)} <= shown
    finally:
        for path in bad:
            path.unlink(missing_ok=True)
