"""Bakes are exact, whole or not there, go on from where they stopped, and play without the add-on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from PIL import Image

from blender_addon.backend import process
from blender_addon.bake import baking, plan, sampling
from blender_addon.blender import meshes, pc2
from blender_addon.clothes import live, playback
from scale_backend.client.backend import BackendError
from scale_backend.formats.errors import UserError

FRAMES = 24


@pytest.fixture
def moving(dressed, character, scene) -> bpy.types.Object:
    """Clothes of a character that swings a leg and walks off."""
    scene.frame_start, scene.frame_end = 3, 3 + FRAMES - 1
    for frame, angle in ((3, -0.4), (14, 0.6), (26, -0.2)):
        leg = character.pose.bones["left_hip"]
        leg.rotation_quaternion = (np.cos(angle / 2), np.sin(angle / 2), 0, 0)
        leg.keyframe_insert("rotation_quaternion", frame=frame)
        root = character.pose.bones["pelvis"]
        root.location = (angle, 0.01 * frame, 0)
        root.keyframe_insert("location", frame=frame)
    return dressed


def live_frames(obj: bpy.types.Object, scene: bpy.types.Scene) -> np.ndarray:  # [F, M, 3]
    frames = []
    for frame in range(scene.frame_start, scene.frame_end + 1):
        scene.frame_set(frame)
        frames.append(meshes.evaluated_positions(obj, bpy.context.evaluated_depsgraph_get()))
    return np.stack(frames)


def cache(obj: bpy.types.Object, folder: Path) -> Path:
    return plan.bake_path(obj, plan.BakeSettings(str(folder), 1, 1))


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.part"))


def test_baked_frames_are_the_live_ones(moving, scene, bake_folder):
    frames = live_frames(moving, scene)
    assert bpy.ops.scale_clothing.bake() == {"FINISHED"}
    path = cache(moving, bake_folder)
    header = pc2.read_header(path)
    assert (header.points, header.frames, header.start) == (len(moving.data.vertices), FRAMES, 3.0)
    np.testing.assert_allclose(pc2.read_frames(path), frames, atol=2e-5)
    assert path.stat().st_size == header.file_bytes
    assert not parts(bake_folder)

    assert playback.is_baked(moving) and live.followers(scene) == []
    np.testing.assert_array_equal(live_frames(moving, scene), pc2.read_frames(path))


def test_a_bake_without_its_file_is_told(moving, scene, bake_folder):
    bpy.ops.scale_clothing.bake(use_range=True, first=10, last=12)
    assert not playback.is_lost(moving)
    cache(moving, bake_folder).rename(bake_folder / "elsewhere.pc2")
    assert playback.is_baked(moving) and playback.is_lost(moving)


def test_baking_restores_the_frame(moving, scene, bake_folder):
    scene.frame_set(7)
    bpy.ops.scale_clothing.bake()
    assert scene.frame_current == 7


def test_an_own_range(moving, scene, bake_folder):
    bpy.ops.scale_clothing.bake(use_range=True, first=10, last=12)
    header = pc2.read_header(cache(moving, bake_folder))
    assert (header.start, header.frames) == (10.0, 3)


def covered(scene: bpy.types.Scene, path: Path) -> np.ndarray:  # [H, W] how much of each pixel clothes cover
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    with Image.open(path) as picture:
        return np.asarray(picture.getchannel("A"), float) / 255


def test_motion_blurs_live_clothes_as_baked_ones(moving, character, scene, bake_folder, tmp_path):
    """Blender looks between the frames while it renders."""
    for part in character.children:
        part.hide_render = part != moving
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.type, camera.data.ortho_scale = "ORTHO", 2.5
    camera.location, camera.rotation_euler = (0, -5, 1), (np.pi / 2, 0, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.render.engine, scene.render.film_transparent = "CYCLES", True
    scene.cycles.samples, scene.cycles.use_denoising = 16, False
    scene.render.resolution_x = scene.render.resolution_y = 64
    scene.render.use_motion_blur, scene.render.motion_blur_shutter = True, 1.0
    scene.frame_set(9)
    alive = covered(scene, tmp_path / "live.png")
    bpy.ops.scale_clothing.bake(samples=4)
    baked = covered(scene, tmp_path / "baked.png")
    scene.render.use_motion_blur = False
    sharp = covered(scene, tmp_path / "sharp.png")
    assert np.abs(alive - baked).mean() < 0.1 * np.abs(alive - sharp).mean()
    assert alive.max() == 1 and np.abs(alive - sharp).max() > 0.3


def test_clearing_returns_to_the_pose(moving, scene, bake_folder):
    before = live_frames(moving, scene)
    bpy.ops.scale_clothing.bake()
    bpy.ops.scale_clothing.clear_bake()
    assert not playback.is_baked(moving)
    np.testing.assert_array_equal(live_frames(moving, scene), before)
    assert cache(moving, bake_folder).exists()


def test_a_bake_that_is_there_is_not_overwritten_unasked(moving, scene, bake_folder):
    bpy.ops.scale_clothing.bake()
    path = cache(moving, bake_folder)
    before = path.read_bytes()
    scene.frame_end -= 1
    with pytest.raises(RuntimeError, match="is there already; switch Overwrite on"):
        bpy.ops.scale_clothing.bake()
    assert path.read_bytes() == before
    bpy.ops.scale_clothing.bake(overwrite=True)
    assert pc2.read_header(path).frames == FRAMES - 1


def steps_of(moving, scene, bake_folder):
    return baking.bake(scene, [moving], plan.BakeSettings(str(bake_folder), scene.frame_start, scene.frame_end))


def test_a_stopped_bake_goes_on(moving, scene, bake_folder):
    path = cache(moving, bake_folder)
    todo = steps_of(moving, scene, bake_folder)
    while next(todo).done < FRAMES + 2 * sampling.BATCH:
        pass
    todo.close()
    assert scene.frame_current == 1 and not playback.is_baked(moving)
    assert not path.exists()
    (part,) = parts(bake_folder)
    there = part.stat().st_size
    with open(part, "r+b") as file:
        file.truncate(there - 100)  # a frame cut in two

    written = [step.done - FRAMES for step in steps_of(moving, scene, bake_folder) if step.done > FRAMES]
    assert written == [21, 24]  # went on after the whole batches, which end at multiples of 8 frames
    assert not parts(bake_folder)
    resumed = path.read_bytes()

    bpy.ops.scale_clothing.bake(overwrite=True)
    assert path.read_bytes() == resumed


def test_other_poses_begin_anew(moving, character, scene, bake_folder):
    todo = steps_of(moving, scene, bake_folder)
    while next(todo).done < FRAMES + sampling.BATCH:
        pass
    todo.close()
    character.pose.bones["right_hip"].rotation_quaternion = (0.9, 0.3, 0.1, 0)
    frames = live_frames(moving, scene)
    bpy.ops.scale_clothing.bake()
    np.testing.assert_allclose(pc2.read_frames(cache(moving, bake_folder)), frames, atol=2e-5)
    assert not parts(bake_folder)


def test_a_backend_that_dies_for_good_leaves_the_scene_and_the_frames(moving, scene, bake_folder, monkeypatch):
    scene.frame_set(5)
    before = meshes.get_positions(moving.data)
    todo = steps_of(moving, scene, bake_folder)
    while next(todo).done <= FRAMES:
        pass
    with monkeypatch.context() as patch:  # no other can be started
        patch.setattr(process.Launch, "start", lambda *_: (_ for _ in ()).throw(BackendError("There is no other.")))
        os.kill(process.get().pid, signal.SIGKILL)
        with pytest.raises(BackendError, match="There is no other"):
            for _ in todo:
                pass
    assert scene.frame_current == 5
    assert not playback.is_baked(moving)
    assert not cache(moving, bake_folder).exists()
    np.testing.assert_array_equal(meshes.get_positions(moving.data), before)
    assert bpy.ops.scale_clothing.bake() == {"FINISHED"}  # a new backend, the frames that are there are kept
    assert not parts(bake_folder)


def test_a_folder_that_cannot_be_written(moving, scene, tmp_path):
    (tmp_path / "file").write_text("no folder")
    scene.scale_clothing.bake_folder = str(tmp_path / "file" / "clothes")
    with pytest.raises(RuntimeError, match=r"cannot be written .*; choose another folder"):
        bpy.ops.scale_clothing.bake()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
    assert not playback.is_baked(moving)


def test_a_full_disk_is_seen_before(moving, scene, bake_folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    with pytest.raises(RuntimeError, match="make room or choose another folder"):
        bpy.ops.scale_clothing.bake()
    assert list(bake_folder.iterdir()) == []


def test_beside_a_file_that_is_not_saved(moving, scene):
    scene.scale_clothing.bake_folder = "//clothes"
    with pytest.raises(RuntimeError, match=r"Save the \.blend file first"):
        bpy.ops.scale_clothing.bake()


def test_an_empty_range(moving, bake_folder):
    with pytest.raises(RuntimeError, match=r"last frame \(2\) is before the first \(9\)"):
        bpy.ops.scale_clothing.bake(use_range=True, first=9, last=2)


PLAYS = """
import os, sys, bpy, numpy as np
name, frames = sys.argv[1], []
bpy.ops.wm.open_mainfile(filepath=os.path.abspath("scene.blend"))
assert not hasattr(bpy.types.Scene, "scale_clothing") and "scale_backend" not in sys.modules
scene, obj = bpy.context.scene, bpy.data.objects[name]
for frame in range(scene.frame_start, scene.frame_end + 1):
    scene.frame_set(frame)
    mesh = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    points = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", points.ravel())
    frames.append(points)
np.save("played.npy", np.stack(frames))
"""


def test_a_baked_file_plays_without_the_add_on_and_in_another_place(moving, scene, tmp_path):
    frames = live_frames(moving, scene)
    made = tmp_path / "made"
    made.mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(made / "scene.blend"))
    scene.scale_clothing.bake_folder = "//clothes"
    bpy.ops.scale_clothing.bake()
    bpy.ops.wm.save_mainfile()
    moved = tmp_path / "moved"
    made.rename(moved)
    empty = tmp_path / "user"
    empty.mkdir()
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(empty)}
    subprocess.run([sys.executable, "-c", PLAYS, moving.name], cwd=moved, env=environment, check=True, timeout=60)
    np.testing.assert_allclose(np.load(moved / "played.npy"), frames, atol=2e-5)


def test_live_clothes_export_every_frame(moving, scene, tmp_path):
    """A mesh that only a handler moves would be exported as its first frame."""
    frames = live_frames(moving, scene)
    for obj in scene.objects:
        obj.select_set(obj == moving)
    bpy.ops.wm.alembic_export(filepath=str(tmp_path / "x.abc"), start=3, end=3 + FRAMES - 1, selected=True,
                              as_background_job=False)  # fmt: skip
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.ops.wm.alembic_import(filepath=str(tmp_path / "x.abc"), as_background_job=False)
    played = next(obj for obj in bpy.data.objects if obj.type == "MESH")
    graph = bpy.context.evaluated_depsgraph_get
    for index in (0, 11, FRAMES - 1):
        bpy.context.scene.frame_set(3 + index)
        read = meshes.evaluated_positions(played, graph())
        assert np.abs(np.ptp(read, 0) - np.ptp(frames[index], 0)).max() < 1e-4


def test_pc2_is_read_as_it_was_written(tmp_path):
    points = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
    path = tmp_path / "some.pc2"
    with open(path, "wb") as file:
        file.write(pc2.Header(7, 2.0, 5).pack())
        pc2.write_frames(file, points)
    np.testing.assert_array_equal(pc2.read_frames(path), points)
    assert path.read_bytes()[:12] == b"POINTCACHE2\0" and path.stat().st_size == 32 + points.nbytes
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="cut short"):
        pc2.read_frames(path)
    path.write_bytes(b"something else that is long enough to hold a header")
    with pytest.raises(UserError, match="no PC2 file"):
        pc2.read_frames(path)
