"""Looks: fabrics that are each clothes' own, and the colours that explain the model."""

from __future__ import annotations

import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path

import bpy
import numpy as np
import pytest

from blender_addon import settings as addon_settings
from blender_addon.appearance import fabrics, looks, materials
from blender_addon.blender import meshes
from blender_addon.clothes import dressing, selection, thickness
from tests.making import write_garment


def shown(obj: bpy.types.Object) -> bpy.types.Material:
    return obj.data.materials[0]


def inputs(obj: bpy.types.Object) -> dict:
    return {socket.name: socket.default_value for socket in fabrics.node(shown(obj)).inputs}


def test_looks(dressed):
    settings = dressed.scale_clothing
    cloth = shown(dressed)
    for look in ("NORMALS", "PATCHES"):
        settings.look = look
        assert shown(dressed).name == f"SCALE {look.title()}"
        assert shown(dressed) == materials.look(look, points=False)
    settings.look = "CLOTH"
    assert shown(dressed) == cloth


@pytest.mark.parametrize("fabric", fabrics.FABRICS, ids=lambda fabric: fabric.key)
def test_a_fabric_sets_the_materials_inputs(dressed, fabric):
    dressed.scale_clothing.fabric = fabric.key
    found = inputs(dressed)
    for name, value in fabric.inputs.items():
        assert found[name] == pytest.approx(value), name
    assert set(fabric.inputs) == {name for name, *_ in fabrics.INPUTS} - {fabrics.UV_SIZE}
    np.testing.assert_allclose(found[fabrics.COLOR], fabric.color, atol=1e-6)
    np.testing.assert_allclose(shown(dressed).diffuse_color, fabric.color, atol=1e-6)


def test_pieces_can_be_of_different_fabrics(character, scene):
    """Tee and trousers hang on nothing but the body."""
    obj = dressing.dress(bpy.context, character, "tee-trousers", "MESH", "CLOTHES")
    settings = obj.scale_clothing
    assert [piece.name for piece in settings.pieces] == ["Hips, legs"]
    index, region = np.empty(len(obj.data.polygons), np.int32), np.empty(len(obj.data.vertices), np.int32)
    obj.data.polygons.foreach_get("material_index", index)
    obj.data.attributes["region"].data.foreach_get("value", region)
    corners = np.array([list(face.vertices) for face in obj.data.polygons])
    np.testing.assert_array_equal(region[corners] >= 2, np.repeat(index[:, None] == 1, 3, 1))
    assert obj.data.materials[:] == [settings.cloth_material] * 2
    (trousers,) = settings.pieces
    trousers.is_apart, trousers.fabric = True, "DENIM"
    assert obj.data.materials[:] == [settings.cloth_material, trousers.cloth_material]
    assert inputs(obj)["Twill"] == 0.0 and fabrics.node(trousers.cloth_material).inputs["Twill"].default_value == 1.0
    settings.look = "PATCHES"
    assert obj.data.materials[:] == [materials.look("PATCHES", points=False)] * 2
    settings.look = "CLOTH"
    dressing.dress(bpy.context, character, "tee-trousers", "MESH_X4", "CLOTHES")
    assert obj.data.materials[:] == [settings.cloth_material, settings.pieces[0].cloth_material]
    assert settings.pieces[0].fabric == "DENIM"
    copy = obj.copy()
    copy.data = obj.data.copy()
    scene.collection.objects.link(copy)
    copy.scale_clothing.pieces[0].color = (1.0, 0.0, 0.0, 1.0)
    assert copy.data.materials[1] != obj.data.materials[1] and copy.data.materials[0] == obj.data.materials[0]
    dressing.dress(bpy.context, character, "dress", "MESH", "CLOTHES")
    assert not settings.pieces and len(obj.data.materials) == 1


def test_a_picked_colour_outlives_another_fabric(dressed):
    settings = dressed.scale_clothing
    settings.color = (0.5, 0.1, 0.1, 1.0)
    settings.fabric = "SILK"
    for color in (settings.color, inputs(dressed)[fabrics.COLOR], dressed.color):
        np.testing.assert_allclose(color, (0.5, 0.1, 0.1, 1.0))


def test_each_character_has_its_own_material(dressed, scene):
    bpy.ops.scale_clothing.add_character()
    bpy.ops.scale_clothing.generate()
    other = selection.clothes_of(scene.scale_clothing.rig)[0]
    other.scale_clothing.fabric = "DENIM"
    assert shown(other) != shown(dressed)
    np.testing.assert_allclose(inputs(dressed)[fabrics.COLOR], fabrics.BY_KEY["COTTON"].color, atol=1e-6)


def test_duplicated_clothes_are_dyed_alone(dressed):
    copy = dressed.copy()
    copy.data = dressed.data.copy()
    bpy.context.collection.objects.link(copy)
    copy.scale_clothing.color = (0.9, 0.1, 0.1, 1.0)
    assert shown(copy) == copy.scale_clothing.cloth_material != shown(dressed)
    np.testing.assert_allclose(inputs(copy)[fabrics.COLOR], (0.9, 0.1, 0.1, 1.0))
    assert inputs(dressed)[fabrics.COLOR][0] < 0.5


def test_a_material_of_the_users_own_stays(dressed):
    own = bpy.data.materials.new("Own")
    dressed.data.materials[0] = own
    dressed.scale_clothing.color = (0.1, 0.1, 0.1, 1.0)
    assert shown(dressed) == own
    bpy.ops.scale_clothing.generate()
    assert shown(dressed) == own
    dressed.scale_clothing.look = "PATCHES"
    assert shown(dressed) != own


def test_the_weave_has_its_true_size(dressed):
    """The skirt of the tests is a ring of 20 to 30 cm radius, half of it across half the UV square, and 42 cm long."""
    size = looks.uv_size(dressed)
    assert size == pytest.approx(np.sqrt(2 * np.pi * 0.25 * 0.43), rel=0.1)
    assert inputs(dressed)[fabrics.UV_SIZE] == pytest.approx(size, rel=1e-4)


def test_points_are_cloth_too(dressed, scene):
    scene.scale_clothing.surface = "POINTS"
    bpy.ops.scale_clothing.generate()
    assert fabrics.node(shown(dressed)) is not None
    dressed.scale_clothing.look = "NORMALS"
    assert shown(dressed).name == "SCALE Point Normals"


@pytest.mark.parametrize("fabric", ["COTTON", "SILK"])
def test_folds_show(dressed, scene, fabric):
    """Rendered from the side of the light, the cloth has light and dark parts and the colour that was asked for."""
    dressed.scale_clothing.fabric = fabric
    dressed.scale_clothing.color = (0.6, 0.05, 0.05, 1.0)
    light_cloth(dressed, scene)
    has_folds(rendered(scene))


@pytest.mark.skipif(sys.platform == "linux" and find_library("EGL") is None, reason="EEVEE needs libEGL")
def test_folds_show_in_eevee(dressed, scene, tmp_path):
    """In a process of its own, as EEVEE keeps much of the graphics library in one."""
    dressed.scale_clothing.color = (0.6, 0.05, 0.05, 1.0)
    light_cloth(dressed, scene)
    picture_settings(scene)
    scene.render.filepath = str(tmp_path / "eevee.exr")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"), copy=True)
    script = (
        "import bpy, sys; bpy.ops.wm.open_mainfile(filepath=sys.argv[1]); render = bpy.context.scene.render; "
        "names = render.bl_rna.properties['engine'].enum_items.keys(); "
        "render.engine = next(name for name in ('BLENDER_EEVEE_NEXT', 'BLENDER_EEVEE') if name in names); "
        "bpy.ops.render.render(write_still=True)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "scene.blend")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (tmp_path / "eevee.exr").is_file(), done.stderr
    has_folds(read_picture(tmp_path / "eevee.exr"))


def light_cloth(dressed: bpy.types.Object, scene: bpy.types.Scene) -> None:
    """The clothes alone, lit from the side."""
    for obj in list(scene.objects):
        obj.hide_render = obj != dressed
    light = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    light.data.energy, light.rotation_euler = 3.0, (1.2, 0.0, 1.0)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location, camera.rotation_euler = (0.0, -2.5, 0.85), (np.pi / 2, 0.0, 0.0)
    for obj in (light, camera):
        scene.collection.objects.link(obj)
    scene.camera = camera


def has_folds(pixels: np.ndarray) -> None:
    seen = pixels[..., 3] > 0.9
    red, green = pixels[seen][:, 0], pixels[seen][:, 1]
    assert seen.mean() > 0.02
    assert red.max() > 3 * red.min()
    assert np.median(red) > 2 * np.median(green)


def rendered(scene: bpy.types.Scene) -> np.ndarray:  # [H, W, 4] linear
    picture_settings(scene)
    scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 4, "CPU"
    scene.render.filepath = bpy.app.tempdir + "looks.exr"
    bpy.ops.render.render(write_still=True)
    return read_picture(scene.render.filepath)


def picture_settings(scene: bpy.types.Scene) -> None:
    render = scene.render
    render.resolution_x = render.resolution_y = 64
    render.film_transparent = True
    render.image_settings.file_format, render.image_settings.color_mode = "OPEN_EXR", "RGBA"


def read_picture(path: str | Path) -> np.ndarray:  # [H, W, 4] linear
    image = bpy.data.images.load(str(path))
    pixels = np.array(image.pixels[:], np.float32).reshape(64, 64, 4)
    bpy.data.images.remove(image)
    return pixels


def test_thickness_is_a_modifier_that_goes_outwards(dressed):
    """Twice the faces and a rim; the inside stays where the cloth was."""
    thin = meshes.evaluated_positions(dressed, bpy.context.evaluated_depsgraph_get())
    assert bpy.ops.scale_clothing.add_thickness() == {"FINISHED"}
    modifier = thickness.modifier_of(dressed)
    modifier.thickness = 0.01
    thick = meshes.evaluated_positions(dressed, bpy.context.evaluated_depsgraph_get())
    assert len(thick) == 2 * len(thin)
    np.testing.assert_allclose(thick[len(thin) :], thin, atol=1e-5)
    middle = thin[:, :2].mean(0)
    radius = np.linalg.norm(thin[:, :2] - middle, axis=1)
    outer = np.linalg.norm(thick[: len(thin), :2] - middle, axis=1)
    assert (outer > radius).mean() > 0.95
    bpy.context.scene.frame_set(3)  # it follows the rig with its thickness on
    assert not dressed.data.validate()
    assert bpy.ops.scale_clothing.remove_thickness() == {"FINISHED"}
    assert thickness.modifier_of(dressed) is None


def test_colours_of_scans_are_a_look_where_there_are_any(dressed, scene, garment_files):
    assert "COLORS" not in looks.offered(dressed)
    path = write_garment(addon_settings.garment_folder() / "colored.safetensors", "body", colors=True)
    scene.scale_clothing.garment = str(path)
    bpy.ops.scale_clothing.generate()
    assert "COLORS" in looks.offered(dressed)
    dressed.scale_clothing.look = "COLORS"
    assert shown(dressed).name == "SCALE Colors"
    assert "color" in {getattr(node, "attribute_name", "") for node in shown(dressed).node_tree.nodes}
    scene.scale_clothing.garment = garment_files["skirt"]
    bpy.ops.scale_clothing.generate()
    assert dressed.scale_clothing.look == "CLOTH" and fabrics.node(shown(dressed)) is not None


def test_patch_colours_are_stable_and_differ():
    colours = materials.patch_colors(np.arange(1024))
    np.testing.assert_array_equal(colours, materials.patch_colors(np.arange(1024)))
    assert colours.min() >= 0 and colours.max() <= 1
    steps = np.linalg.norm(np.diff(colours[:, :3], axis=0), axis=1)
    assert np.quantile(steps, 0.05) > 0.15
