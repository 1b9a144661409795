"""Clothes that feel motion where nobody looks: in renders, in parts, on characters with bodies of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import bpy
import numpy as np
import pytest

from blender_addon.blender import pc2
from blender_addon.clothes import selection
from blender_addon.clothes.memory import Arrival
from blender_addon.clothes.request import Options, request_now
from blender_addon.garments import library
from blender_addon.headless import command_line
from blender_addon.messages import AddonError
from tests.addon.bodies import makehuman_character
from tests.addon.conftest import USER_FOLDER
from tests.addon.moving import moving_garment, played, shown, swing, swinging  # noqa: F401


def rendered(scene: bpy.types.Scene, obj: bpy.types.Object, folder) -> dict[float, np.ndarray]:
    """The clothes in all that a render of the animation looks at, by frame."""
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera, scene.render.engine, scene.cycles.samples = camera, "CYCLES", 1
    scene.render.resolution_x = scene.render.resolution_y = 8
    scene.render.filepath = str(folder / "frame")
    found: dict[float, np.ndarray] = {}

    def look(scene: bpy.types.Scene, _depsgraph) -> None:
        found[scene.frame_current + scene.frame_subframe] = shown(obj)

    bpy.app.handlers.frame_change_post.append(look)
    try:
        assert bpy.ops.render.render(animation=True) == {"FINISHED"}
    finally:
        bpy.app.handlers.frame_change_post.remove(look)
    return found


def test_a_render_shows_what_playing_shows_and_blurs_what_moves(swinging, scene, tmp_path):  # noqa: F811
    one_by_one = played(scene, swinging, 1, 16)
    scene.frame_set(3)
    scene.frame_start, scene.frame_end, scene.frame_step = 10, 14, 4
    scene.render.use_motion_blur = True
    frames = rendered(scene, swinging, tmp_path)
    between = [frame for frame in frames if frame % 1]
    assert {10, 14} <= set(frames) and len(between) >= 4
    for frame in (10, 14):
        np.testing.assert_array_equal(frames[frame], one_by_one[frame])
    for frame in between:
        scene.frame_set(int(frame), subframe=frame % 1)
        np.testing.assert_array_equal(frames[frame], shown(swinging))
    assert all(scene.name != "SCALE Moments" for scene in bpy.data.scenes)


def mixamo_character(unit: float, size: float) -> bpy.types.Object:
    """A woman with Mixamo's bones and a body of her own, who swings a leg and walks as far as her size lets her."""
    target = makehuman_character("mixamo", "woman", unit)
    target.scale = [size / unit] * 3
    swing(target, "mixamorig:LeftUpLeg", size)
    return target


def test_a_giant_feels_what_anybody_feels(scene, moving_garment):  # noqa: F811
    """Whatever the armature's unit and the object's scale: the earlier poses are the same."""
    found = []
    for unit, size in ((1.0, 1.0), (100.0, 3.0)):
        target = mixamo_character(unit, size)
        scene.frame_set(11)
        depsgraph = bpy.context.evaluated_depsgraph_get()
        entry = library.entry(moving_garment)
        asked = request_now(target, depsgraph, entry, "MESH", "CLOTHES", Options(), Arrival.SET)
        found.append(asked.poses.arrays())
    assert np.abs(found[0]["past_translation"] - found[0]["translation"][:, None]).max() > 0.2  # metres
    for name in ("rotations", "translation", "past_rotations", "past_translation", "down"):
        np.testing.assert_allclose(found[0][name], found[1][name], atol=1e-4, err_msg=name)


def test_on_a_body_of_its_own_in_centimetres(scene, moving_garment, bake_folder):  # noqa: F811
    """Played, jumped to and baked alike."""
    target = mixamo_character(100.0, 2.0)
    scene.scale_clothing.rig, scene.scale_clothing.garment = target, moving_garment
    scene.frame_start, scene.frame_end = 8, 12
    assert bpy.ops.scale_clothing.generate() == {"FINISHED"}
    (obj,) = selection.clothes_of(target)
    one_by_one = played(scene, obj, 1, 12)
    scene.frame_set(2)
    scene.frame_set(11)
    np.testing.assert_array_equal(shown(obj), one_by_one[11])
    assert bpy.ops.scale_clothing.bake() == {"FINISHED"}
    (file,) = bake_folder.glob("*.pc2")
    for frame, baked in zip(range(8, 13), pc2.read_frames(file), strict=True):
        np.testing.assert_array_equal(baked, one_by_one[frame])
    bpy.ops.scale_clothing.clear_bake()
    obj.scale_clothing.motion = 0.0
    assert np.abs(shown(obj) - one_by_one[12]).max() > 0.1  # centimetres


def test_a_part_baked_by_the_command(swinging, scene, tmp_path, bake_folder):  # noqa: F811
    """In a process of its own, from the middle, with options: equal to the bit to frames that are played here."""
    file = tmp_path / "scene.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(file))
    swinging.scale_clothing.motion, swinging.scale_clothing.behaves_as = 0.5, "Denim"
    scene.scale_clothing.pre_roll = False
    one_by_one = played(scene, swinging, 8, 11)
    line = ["-m", "blender_addon.batch", "bake", file, "--out", tmp_path / "out", "--frames", "10-11"]
    line += ["--motion", "0.5", "--fabric", "denim", "--no-pre-roll"]
    environment = os.environ | {"BLENDER_USER_RESOURCES": USER_FOLDER.name, "SCALE_BACKEND_PYTHON": sys.executable}
    done = subprocess.run([sys.executable, *map(str, line)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (baked,) = (tmp_path / "out").glob("*.pc2")
    np.testing.assert_array_equal(pc2.read_frames(baked), [one_by_one[10], one_by_one[11]])
    mixed = []
    for mix in (0.0, 0.5, 1.0):
        swinging.scale_clothing.mixed_with, swinging.scale_clothing.mix = "Cotton", mix
        scene.frame_set(11)
        mixed.append(shown(swinging).copy())
    np.testing.assert_array_equal(mixed[0], one_by_one[11])
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(mixed[one] - mixed[other]).max() > 1e-3
    with pytest.raises(AddonError, match="knows cotton, denim"):
        command_line.behave(swinging, command_line.parser().parse_args(["bake", "x.blend", "--fabric", "silk"]))
