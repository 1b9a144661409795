"""Bones told by hand: what is guessed, corrections, families of the user's own."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
import numpy as np
import pytest
from hypothesis import given, settings

from blender_addon.blender import meshes
from blender_addon.clothes import live
from blender_addon.rig import bone_tables, recognition
from tests.addon.humanoids import FAMILIES, build
from tests.fuzz.damage import blows, damaged

ODD = ("Left_Thigh_Bone", "Right_Thigh_Bone")


@pytest.fixture
def own_folder(scene):
    folder = bone_tables.own_folder()
    yield folder
    for path in folder.glob("*"):
        path.unlink()


@pytest.fixture
def odd(scene) -> bpy.types.Object:
    """A Mixamo rig of which the thighs were renamed, chosen in the panel."""
    rig = build(FAMILIES["Mixamo"])
    for name, other in zip(("LeftUpLeg", "RightUpLeg"), ODD, strict=True):
        rig.data.bones[name].name = other
    scene.scale_clothing.rig = rig
    return rig


def correct(rig: bpy.types.Object) -> None:
    rig.data.scale_clothing.left_hip, rig.data.scale_clothing.right_hip = ODD


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_the_fields_show_the_guess(odd):
    fields = odd.data.scale_clothing
    assert fields.left_knee == "LeftLeg" and fields.left_hip == "" and fields.right_index3 == "RightHandIndex3"
    assert recognition.problem(odd).endswith(
        "looks like Mixamo, but has no LeftUpLeg, RightUpLeg: choose them in Bone Mapping."
    )


def test_a_rig_can_be_corrected(odd):
    correct(odd)
    found = recognition.recognise(odd)
    assert found.bone("left_hip") == ODD[0] and found.bone("right_hip") == ODD[1] and found.family == "Mixamo"
    assert found.bone("left_knee") == "LeftLeg"
    odd.data.scale_clothing.spine2 = ""  # none
    assert recognition.recognise(odd).bone("spine2") is None
    odd.data.scale_clothing.spine2 = "Spine1"  # as it was guessed
    assert "spine2" not in dict(recognition.said_of(odd.data))


def test_corrections_are_kept_in_the_file(odd, tmp_path):
    correct(odd)
    name = odd.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "kept.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "kept.blend"))
    assert recognition.is_rig(bpy.data.objects[name])


def test_a_bone_that_is_gone_is_named(odd):
    correct(odd)
    odd.data.bones[ODD[0]].name = "thigh"
    assert f"has no bone '{ODD[0]}', which its Bone Mapping names" in recognition.problem(odd)


def test_corrections_can_be_forgotten(odd):
    assert not bpy.ops.scale_clothing.reset_bones.poll()
    correct(odd)
    bpy.ops.scale_clothing.reset_bones()
    assert not recognition.is_rig(odd) and recognition.MAPPING not in odd.data


def test_clothes_follow_the_bones_as_they_are_told(dressed, character):
    character.pose.bones["left_hip"].rotation_quaternion = (0.8, 0.6, 0.0, 0.0)
    bpy.context.view_layer.update()
    live.update(bpy.context.scene, bpy.context.evaluated_depsgraph_get())
    before = meshes.get_positions(dressed.data)
    bpy.context.scene.scale_clothing.rig = character
    character.data.scale_clothing.right_hip = "left_hip"
    told = meshes.get_positions(dressed.data)
    assert np.abs(told - before).max() > 0.02
    bpy.ops.scale_clothing.reset_bones()
    np.testing.assert_allclose(meshes.get_positions(dressed.data), before, atol=1e-5)


def test_corrected_bones_are_saved_as_a_family(odd, own_folder):
    with pytest.raises(RuntimeError, match="There is no bone yet for LeftUpLeg, RightUpLeg"):
        bpy.ops.scale_clothing.save_bones(name="Odd Ones")
    correct(odd)
    bpy.ops.scale_clothing.save_bones(name="Odd Ones")
    assert (own_folder / "odd_ones.toml").is_file()
    other = build(FAMILIES["Mixamo"], prefix="Anna:")
    for name, new in zip(("LeftUpLeg", "RightUpLeg"), ODD, strict=True):
        other.data.bones[f"Anna:{name}"].name = f"Anna:{new}"
    found = recognition.recognise(other)
    assert found.family == "Odd Ones" and found.bone("left_hip") == f"Anna:{ODD[0]}"
    assert found.bone("left_thumb3") == "Anna:LeftHandThumb3"


def test_the_users_own_family_comes_first(scene, own_folder):
    rig = build(FAMILIES["Mixamo"])
    text = (bone_tables.SHIPPED / "mixamo.toml").read_text().replace('"Mixamo"', '"Ours"')
    path = write(own_folder, text)
    assert recognition.recognise(rig).family == "Ours"
    path.unlink()
    assert recognition.recognise(rig).family == "Mixamo"


@pytest.mark.parametrize(("text", "told"), [
    ("name = ", "cannot be read as a table of bones"),
    ("[bones]\npelvis = 'Hips'", "needs a line name"),
    ("name = 'A'\n[bones]\nhipp = 'B'", "'hipp' is no joint; do you mean 'hip'?"),
    ("name = 'A'\n[bones]\nhip = '{side}B'", "'hip' is for left and right, but there are no sides"),
    ("name = 'A'\nsides = ['L']\n[bones]", "sides must be two words"),
    ("name = 'A'\n[bones]\npelvis = 3", "must be a name or a list of names"),
    ("name = 'A'\ncontrols = 3\n[bones]", "controls must be a part of its own"),
    ("name = 'A'\n[bones]\n[controls]\ntorso = 'hips'", "the control 'torso' is of 'hips', which is no joint"),
    ("name = 'A'\n[bones]\n[switches]\ntorso = 1", "the switches of 'torso' must be numbers"),
    ("name = 'A'\nbone = 1\n[bones]", "has 'bone'"),
    ("name = 'A'\nsides = 5\n[bones]", "sides must be two words"),
    ("name = 'A'\nsides = true\n[bones]", "sides must be two words"),
    ("name = 'A'\nknown = 5\n[bones]", "known a list of names"),
    ("name = 'A'\nbones = 5", "a part [bones]"),
    (f"name = '{'A' * 1000}'\n[bones]", "needs a line name"),
    (f"name = 'A'\n[bones]\n{'h' * 100_000} = 'B'", "is no joint"),
    (f"name = 'A'\n[bones]\npelvis = '{'B' * 1000}'", "must be a name or a list of names"),
    (f"name = {'[' * 100_000}", "cannot be read as a table of bones"),
    (f"name = {'9' * 10_000}", "cannot be read as a table of bones"),
    ("#" * (2 << 20), "choose the right file"),
])  # fmt: skip
def test_a_table_that_cannot_be_used_is_told_and_harms_nobody(scene, own_folder, text, told):
    write(own_folder, text)
    (problem,) = bone_tables.families().problems
    assert problem.startswith("mine.toml") and told in problem and len(problem) < 400
    assert recognition.is_rig(build(FAMILIES["Mixamo"]))


def test_damaged_tables_are_told(tmp_path):
    whole, path = (bone_tables.SHIPPED / "mixamo.toml").read_bytes(), tmp_path / "mine.toml"

    @settings(max_examples=100, derandomize=True, deadline=None, database=None)
    @given(blows)
    def damage(done) -> None:
        path.write_bytes(damaged(whole, done))
        try:
            bone_tables.read_table(path)
        except bone_tables.TableError as error:
            assert "mine.toml" in str(error) and len(str(error)) < 400

    damage()


def test_what_is_no_table_in_the_folder_harms_nobody(scene, own_folder):
    (own_folder / "lost.toml").symlink_to(own_folder / "nowhere")
    os.mkfifo(own_folder / "pipe.toml")  # nobody may wait for what never comes
    assert bone_tables.families().problems == () and recognition.is_rig(build(FAMILIES["Mixamo"]))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_table_is_read_as_it_was_written(tmp_path, family):
    bones = {joint: names[0] for joint, names in family.bones.items()}
    bone_tables.write_table(tmp_path / "some.toml", family.name, bones, family.is_smpl)
    read = bone_tables.read_table(tmp_path / "some.toml")
    assert (read.name, read.is_smpl) == (family.name, family.is_smpl)
    assert read.bones == {joint: (name,) for joint, name in bones.items()}
    assert len(set(bones.values())) == len(bones)  # no bone is two joints


def test_names_are_told_apart_but_for_case_and_separators():
    assert bone_tables.plain("upper_arm.L") == bone_tables.plain("Upper Arm-l")
    assert bone_tables.plain("Spine1") != bone_tables.plain("Spine")
