"""What is baked for other programs reads back equal, by Blender's importers and by trimesh."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import pytest
import trimesh

from blender_addon.bake import baking, formats, plan
from blender_addon.blender import meshes, pc2
from blender_addon.clothes import playback, selection
from blender_addon.clothes.mesh import follow
from tests.addon.test_bake import moving  # noqa: F401

FIRST, LAST = 6, 11


@pytest.fixture
def small(moving, character, scene):  # noqa: F811
    """The moving clothes on a character that stands elsewhere, turned and larger, a few frames long."""
    character.location, character.rotation_euler, character.scale = (1, 2, 0.5), (0.1, 0.2, 1.0), (1.5, 1.5, 1.5)
    character.keyframe_insert("location", frame=FIRST)
    character.location.x = 3
    character.keyframe_insert("location", frame=LAST)
    scene.frame_start, scene.frame_end = FIRST, LAST
    return moving


def world_frames(obj, scene, times) -> np.ndarray:  # [F, M, 3]
    """The live clothes in world space. Live update does not know of subframes: the handler is called by hand."""
    frames = []
    for time in times:
        scene.frame_set(int(time), subframe=time - int(time))
        graph = bpy.context.evaluated_depsgraph_get()
        follow(obj, graph)
        graph = bpy.context.evaluated_depsgraph_get()
        matrix = np.array(obj.evaluated_get(graph).matrix_world)
        frames.append(meshes.get_positions(obj.data) @ matrix[:3, :3].T + matrix[:3, 3])
    return np.stack(frames)


def imported(path: Path, times) -> tuple[np.ndarray, bpy.types.Object]:
    """Frames of an Alembic or USD file, in a new file at the same frame rate; its mesh object."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    if path.suffix == ".abc":
        bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
    else:
        bpy.ops.wm.usd_import(filepath=str(path))
    (obj,) = (each for each in bpy.data.objects if each.type == "MESH")
    frames = []
    for time in times:
        bpy.context.scene.frame_set(int(time), subframe=time - int(time))
        graph = bpy.context.evaluated_depsgraph_get()
        matrix = np.array(obj.evaluated_get(graph).matrix_world)
        frames.append(meshes.evaluated_positions(obj, graph) @ matrix[:3, :3].T + matrix[:3, 3])
    return np.stack(frames), obj


@pytest.mark.parametrize("kind", ["ABC", "USD"])
def test_other_programs_files_read_back_equal(small, scene, bake_folder, kind):
    times = range(FIRST, LAST + 1)
    expected = world_frames(small, scene, times)
    triangles, uv_layers = len(small.data.polygons), len(small.data.uv_layers)
    scenes, objects, mesh_count = len(bpy.data.scenes), len(bpy.data.objects), len(bpy.data.meshes)
    bpy.ops.scale_clothing.bake(format=kind)
    assert (len(bpy.data.scenes), len(bpy.data.objects), len(bpy.data.meshes)) == (scenes, objects, mesh_count)
    assert not playback.is_baked(small)  # it is for other programs; here the clothes stay live
    (path,) = bake_folder.iterdir()
    frames, obj = imported(path, times)
    np.testing.assert_allclose(frames, expected, atol=1e-5)
    assert len(obj.data.polygons) == triangles and len(obj.data.uv_layers) == uv_layers
    assert kind == "USD" or not obj.data.has_custom_normals


def test_alembic_subframes_are_at_their_times(small, scene, bake_folder):
    times = np.arange(FIRST, LAST + 0.5, 0.5)
    expected = world_frames(small, scene, times)
    bpy.ops.scale_clothing.bake(format="ABC", samples=2)
    (path,) = bake_folder.iterdir()
    np.testing.assert_allclose(imported(path, times)[0], expected, atol=1e-5)


def test_point_cache_subframes_and_steps_play_at_their_times(small, scene, bake_folder):
    times = np.arange(FIRST, LAST + 0.5, 0.5)
    expected = world_frames(small, scene, times)

    def played(times) -> np.ndarray:
        frames = []
        for time in times:
            scene.frame_set(int(time), subframe=time - int(time))
            graph = bpy.context.evaluated_depsgraph_get()
            matrix = np.array(small.evaluated_get(graph).matrix_world)
            frames.append(meshes.evaluated_positions(small, graph) @ matrix[:3, :3].T + matrix[:3, 3])
        return np.stack(frames)

    bpy.ops.scale_clothing.bake(samples=2)
    (path,) = bake_folder.iterdir()
    assert pc2.read_header(path) == pc2.Header(len(small.data.vertices), FIRST, 11, 0.5)
    np.testing.assert_allclose(played(times), expected, atol=2e-5)
    bpy.ops.scale_clothing.bake(step=2, overwrite=True)
    assert pc2.read_header(path) == pc2.Header(len(small.data.vertices), FIRST, 3, 2.0)
    np.testing.assert_allclose(played([6, 8, 10]), expected[[0, 4, 8]], atol=2e-5)


@pytest.mark.parametrize("kind", ["PLY", "OBJ"])
def test_files_by_frame_read_back_equal(small, scene, bake_folder, kind):
    expected = world_frames(small, scene, range(FIRST, LAST + 1))
    mesh = small.data
    bpy.ops.scale_clothing.bake(format=kind)
    files = sorted(bake_folder.iterdir())
    suffix = f".{kind.lower()}"
    name = bpy.path.clean_name(small.name)
    assert [each.name for each in files] == [f"{name}_{frame:05d}{suffix}" for frame in range(FIRST, LAST + 1)]
    for file, points in zip(files, expected, strict=True):
        read = trimesh.load(file, process=False, maintain_order=True)
        up = (
            read.vertices
            if kind == "PLY"
            else np.stack([read.vertices[:, 0], -read.vertices[:, 2], read.vertices[:, 1]], 1)
        )
        assert len(read.faces) == len(mesh.polygons)
        corners = points[np.array([polygon.vertices for polygon in mesh.polygons])]
        np.testing.assert_allclose(up[read.faces], corners, atol=1e-5)
        surface = trimesh.Trimesh(read.vertices, read.faces, process=False).vertex_normals
        assert np.median((read.vertex_normals * surface).sum(1)) > 0.3  # random networks' normals are rough
        np.testing.assert_allclose(np.linalg.norm(read.vertex_normals, axis=1), 1, atol=1e-3)


def test_files_by_frame_in_blender(small, scene, bake_folder):
    """Blender's importers turn .obj files from Y up, and the UVs are the clothes'."""
    expected = world_frames(small, scene, [FIRST])[0]
    uv = np.array([corner.vector for corner in small.data.uv_layers.active.uv])
    scene.frame_end = FIRST
    bpy.ops.scale_clothing.bake(format="OBJ")
    bpy.ops.wm.obj_import(filepath=str(next(bake_folder.iterdir())))
    read = bpy.context.selected_objects[0]
    matrix = np.array(read.matrix_world)
    np.testing.assert_allclose(meshes.get_positions(read.data) @ matrix[:3, :3].T + matrix[:3, 3], expected, atol=1e-5)
    np.testing.assert_allclose([corner.vector for corner in read.data.uv_layers.active.uv], uv, atol=1e-6)


def test_points_go_to_every_format(character, scene, garment_files, bake_folder):
    scene.scale_clothing.garment = garment_files["body"]
    bpy.ops.scale_clothing.generate()
    (obj,) = selection.clothes_of(character)
    scene.frame_start, scene.frame_end = 1, 2
    expected = world_frames(obj, scene, [1])[0]
    for kind in ("PLY", "OBJ", "ABC", "USD"):
        bpy.ops.scale_clothing.bake(format=kind)
    name = bpy.path.clean_name(obj.name)
    cloud = trimesh.load(bake_folder / f"{name}_00001.ply")
    np.testing.assert_allclose(cloud.vertices, expected, atol=1e-5)
    for suffix in ("abc", "usdc"):
        frames, _ = imported(bake_folder / f"{name}.{suffix}", [1])
        np.testing.assert_allclose(frames[0], expected, atol=1e-5)


def test_baked_points_turn_their_normals(character, scene, garment_files, bake_folder):
    """A point cache has no normals: they are baked beside, and play as the points do."""
    scene.scale_clothing.garment = garment_files["body"]
    bpy.ops.scale_clothing.generate()
    (obj,) = selection.clothes_of(character)
    bpy.ops.scale_clothing.apply_motion(motion="walk")
    scene.frame_start, scene.frame_end = 1, 12
    objects = set(bpy.data.objects)

    def normals() -> np.ndarray:  # [M, 3] as the modifiers before the surface give them
        evaluated = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
        mesh = evaluated.to_mesh()
        values = np.empty((len(mesh.vertices), 3), np.float32)
        mesh.attributes["normal"].data.foreach_get("vector", values.ravel())
        evaluated.to_mesh_clear()
        return values

    shown = obj.modifiers["SCALE Surface"]
    shown.show_viewport = False  # native points are no mesh to be read
    expected = []
    for frame in (1, 6, 12):
        scene.frame_set(frame)
        expected.append(normals())
    assert np.abs(expected[0] - expected[1]).max() > 0.05
    bpy.ops.scale_clothing.bake()
    for frame, values in zip((1, 6, 12), expected, strict=True):
        scene.frame_set(frame)
        np.testing.assert_allclose(normals(), values, atol=2e-4)
    assert len(set(bpy.data.objects) - objects) == 1
    bpy.ops.scale_clothing.bake(overwrite=True)
    assert len(set(bpy.data.objects) - objects) == 1
    bpy.ops.scale_clothing.clear_bake()
    assert set(bpy.data.objects) == objects and obj.modifiers[:] == [shown]


def test_sizes_are_told_about_right(small, scene, bake_folder):
    scene.frame_start, scene.frame_end = 1, 40
    for form in formats.FORMATS:
        bpy.ops.scale_clothing.bake(format=form.key)
        real = sum(each.stat().st_size for each in bake_folder.iterdir())
        told = plan.size([small], plan.BakeSettings("", 1, 40, format=form.key))
        assert 0.8 * real < told < 1.8 * real, (form.key, real, told)
        playback.clear_bake(small)
        for each in bake_folder.iterdir():
            each.unlink()
    assert [plan.megabytes(size) for size in (3e3, 4.3e5, 9e6, 1.2e9)] == ["0.1 MB", "0.4 MB", "9 MB", "1,200 MB"]


def test_a_stopped_sequence_goes_on(small, scene, bake_folder):
    settings = plan.BakeSettings(str(bake_folder), 1, 20, format="PLY")
    bpy.ops.scale_clothing.bake(format="PLY", use_range=True, first=1, last=20)
    whole = {each.name: each.read_bytes() for each in bake_folder.iterdir()}
    with pytest.raises(RuntimeError, match=r"00001\.ply and 19 more is there already"):
        bpy.ops.scale_clothing.bake(format="PLY", use_range=True, first=1, last=20)
    for each in bake_folder.iterdir():
        each.unlink()
    todo = baking.bake(scene, [small], settings)
    while next(todo).done < 20 + 7:
        pass
    todo.close()
    first = sorted(bake_folder.glob("*.ply"))
    assert len(first) == 7 and len(list(bake_folder.glob("*.part"))) == 1
    stamps = [each.stat().st_mtime_ns for each in first]
    bpy.ops.scale_clothing.bake(format="PLY", use_range=True, first=1, last=20)
    assert {each.name: each.read_bytes() for each in bake_folder.iterdir()} == whole
    assert [each.stat().st_mtime_ns for each in first] == stamps


@pytest.mark.parametrize("kind", ["PC2", "PLY"])
def test_parts_baked_apart_are_the_whole(small, scene, bake_folder, kind):
    """A farm's chunks: each is baked alone, wherever it begins."""
    kept = [plan.BakeSettings(str(bake_folder), *ends, format=kind, keep=True, label=f"_{ends[0]}" * (kind == "PC2"))
            for ends in ((1, 24), (1, 5), (6, 6), (7, 24))]  # fmt: skip
    contents = []
    for settings in kept:
        list(baking.bake(scene, [small], settings))
        playback.clear_bake(small)
        files = plan.results(plan.bake_path(small, settings), settings)
        contents.append(b"".join(each.read_bytes()[32 * (kind == "PC2") :] for each in files))
        for each in files:
            each.unlink()
    assert contents[0] == b"".join(contents[1:])


def test_several_characters_at_once(small, scene, garment_files, bake_folder):
    bpy.ops.scale_clothing.add_character()
    bpy.ops.scale_clothing.generate(garment=garment_files["body"])
    both = selection.all_clothes()
    assert len(both) == 2
    assert bpy.ops.scale_clothing.bake(everyone=True) == {"FINISHED"}
    assert all(playback.is_baked(obj) for obj in both)
    names = {bpy.path.clean_name(obj.name) for obj in both}
    points = bpy.path.clean_name(next(obj.name for obj in both if not obj.data.polygons))
    assert {each.stem for each in bake_folder.iterdir()} == names | {f"{points}.normals"}
    both[0].name, both[1].name = "a b", "a_b"
    with pytest.raises(RuntimeError, match="another name"):
        bpy.ops.scale_clothing.bake(everyone=True)


def test_a_format_that_this_blender_lacks(small, scene, bake_folder, monkeypatch):
    """Debian's Blender is built without Alembic and USD."""

    class Options:
        alembic, usd = False, True

    monkeypatch.setattr(formats, "bpy", type("Blender", (), {"app": type("App", (), {"build_options": Options})}))
    assert formats.why_missing("ABC") == "this build of Blender has no Alembic"
    assert formats.why_missing("USD") == formats.why_missing("PC2") == ""
    with pytest.raises(RuntimeError, match="cannot be written as Alembic: this build of Blender has no Alembic"):
        bpy.ops.scale_clothing.bake(format="ABC")


def test_a_disk_that_fills_up_meanwhile(small, scene, bake_folder, monkeypatch):
    todo = baking.bake(scene, [small], plan.BakeSettings(str(bake_folder), 1, 24))
    while next(todo).done <= 24:
        pass
    monkeypatch.setattr(plan, "KEPT_FREE", 1 << 60)
    with pytest.raises(plan.DiskError, match="nearly full; make room and bake again: the bake resumes here"):
        list(todo)
    monkeypatch.undo()
    assert [each.suffix for each in bake_folder.iterdir()] == [".part"]
    bpy.ops.scale_clothing.bake(use_range=True, first=1, last=24)
    assert [each.suffix for each in bake_folder.iterdir()] == [".pc2"]
