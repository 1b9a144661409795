"""The fabrics in Blender's Asset Browser: a .blend of materials among the user's files, with rendered pictures."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
from bpy.types import Material, Object, Scene

from .. import paths
from ..blender import meshes
from ..messages import AddonError
from . import fabrics

LIBRARY = "SCALE Clothing"
FILE = "fabrics.blend"
SIZE, SAMPLES = 128, 12  # pixels, samples a pixel
WIDTH = 0.30  # metres of cloth in a picture


def write() -> Path:
    """Write the library's file. Nothing is left in the present file. Raises AddonError."""
    path = paths.user_folder("assets") / FILE
    made = []
    try:
        for fabric in fabrics.FABRICS:
            material = fabrics.make_material(fabric.title, 1.0)
            made.append(material)
            fabrics.weave(material, fabric.key)
            fabrics.dye(material, fabric.color)
            material.asset_mark()
            material.asset_data.description = fabric.description
            material.asset_data.author, material.asset_data.license = "The SCALE clothing project", "CC0-1.0"
            material.asset_data.tags.new("cloth")
            _picture(material)
            material.name = fabric.title
        path.parent.mkdir(parents=True, exist_ok=True)
        bpy.data.libraries.write(str(path), set(made), fake_user=True, compress=True)
    except (OSError, RuntimeError) as error:
        raise AddonError(f"{path} could not be written ({str(error).strip()}); make room on the disk.") from error
    finally:
        for material in made:
            bpy.data.materials.remove(material)
    return path


def register_library(folder: Path) -> None:
    """Have the Asset Browser show a folder, once."""
    libraries = bpy.context.preferences.filepaths.asset_libraries
    if not any(Path(library.path) == folder for library in libraries):
        libraries.new(name=LIBRARY, directory=str(folder))
        bpy.context.preferences.is_dirty = True


def _picture(material: Material) -> None:
    """The preview: cloth with folds, rendered. Without Cycles there is none."""
    if "cycles" not in bpy.context.preferences.addons:
        return
    with _stage(material) as scene, tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "preview.png")
        bpy.ops.render.render(write_still=True, scene=scene.name)
        image = bpy.data.images.load(scene.render.filepath)
        try:
            preview = material.preview_ensure()
            preview.image_size = (SIZE, SIZE)
            preview.image_pixels_float = image.pixels[:]
        finally:
            bpy.data.images.remove(image)


@contextlib.contextmanager
def _stage(material: Material) -> Iterator[Scene]:
    """A scene with a piece of cloth, a light and a camera; gone again afterwards."""
    scene = bpy.data.scenes.new("SCALE Fabric Preview")
    light = bpy.data.objects.new("Light", bpy.data.lights.new("Light", "SUN"))
    light.data.energy, light.rotation_euler = 4.0, (0.2, 0.8, 0.0)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.type, camera.data.ortho_scale = "ORTHO", 0.9 * WIDTH
    camera.location.z = 1.0
    parts = [_cloth(material), light, camera]
    try:
        for part in parts:
            scene.collection.objects.link(part)
        scene.camera = camera
        render = scene.render
        render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", SAMPLES, "CPU"
        render.resolution_x = render.resolution_y = SIZE
        render.resolution_percentage = 100
        render.image_settings.file_format = "PNG"
        yield scene
    finally:
        for part in parts:
            data, kind = part.data, part.type
            bpy.data.objects.remove(part)
            {"MESH": bpy.data.meshes, "LIGHT": bpy.data.lights, "CAMERA": bpy.data.cameras}[kind].remove(data)
        bpy.data.scenes.remove(scene)


def _cloth(material: Material, count: int = 64) -> Object:
    """A square with folds."""
    x, y = np.meshgrid(*[np.linspace(-0.5, 0.5, count)] * 2)
    folds = 0.034 * np.sin(9 * x + 4 * y) + 0.012 * np.sin(15 * x - 6 * y + 1)
    points = (np.stack([x, y, folds], -1).reshape(-1, 3) * WIDTH).astype(np.float32)
    corner = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).ravel()
    square = corner[:, None] + np.array([0, 1, count + 1, 0, count + 1, count])
    triangles = square.reshape(-1, 3)
    mesh = meshes.make_mesh("Cloth", points, triangles)
    meshes.set_uv(mesh, points[triangles.ravel(), :2])
    mesh.materials.append(material)
    return bpy.data.objects.new("Cloth", mesh)
