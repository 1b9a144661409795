"""The fabrics in Blender's Asset Browser: a .blend of materials among the user's files, with rendered pictures."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
from bpy.types import Material, Mesh, Scene

from .. import paths
from ..blender import meshes
from ..messages import AddonError
from ..present import present
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
            card = present(material.asset_data)
            card.description, card.author, card.license = fabric.description, "The SCALE clothing project", "CC0-1.0"
            card.tags.new("cloth")
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
    preferences = present(bpy.context.preferences)
    libraries = preferences.filepaths.asset_libraries
    if not any(Path(library.path) == folder for library in libraries):
        libraries.new(name=LIBRARY, directory=str(folder))
        preferences.is_dirty = True


def _picture(material: Material) -> None:
    """The preview: cloth with folds, rendered. Without Cycles there is none."""
    if "cycles" not in present(bpy.context.preferences).addons:
        return
    with _stage(material) as scene, tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "preview.png")
        bpy.ops.render.render(write_still=True, scene=scene.name)
        image = bpy.data.images.load(scene.render.filepath)
        try:
            preview = material.preview_ensure()
            preview.image_size = (SIZE, SIZE)
            preview.image_pixels_float = image.pixels[:]  # type: ignore[index]  # the types take them for one number
        finally:
            bpy.data.images.remove(image)


@contextlib.contextmanager
def _stage(material: Material) -> Iterator[Scene]:
    """A scene with a piece of cloth, a light and a camera; gone again afterwards."""
    scene = bpy.data.scenes.new("SCALE Fabric Preview")
    sun, view, cloth = bpy.data.lights.new("Light", "SUN"), bpy.data.cameras.new("Camera"), _cloth(material)
    light, camera = bpy.data.objects.new("Light", sun), bpy.data.objects.new("Camera", view)
    sun.energy = 4.0  # type: ignore[attr-defined]  # each kind of light has it, in the types no light as such
    light.rotation_euler = (0.2, 0.8, 0.0)
    view.type, view.ortho_scale = "ORTHO", 0.9 * WIDTH
    camera.location.z = 1.0
    parts = [bpy.data.objects.new("Cloth", cloth), light, camera]
    try:
        for part in parts:
            scene.collection.objects.link(part)
        scene.camera = camera
        render = scene.render
        render.engine = "CYCLES"  # type: ignore[assignment]  # the types know Blender's own engine alone
        cycles = present(scene.cycles)
        cycles.samples, cycles.device = SAMPLES, "CPU"
        render.resolution_x = render.resolution_y = SIZE
        render.resolution_percentage = 100
        render.image_settings.file_format = "PNG"
        yield scene
    finally:
        for part in parts:
            bpy.data.objects.remove(part)
        bpy.data.meshes.remove(cloth)
        bpy.data.lights.remove(sun)
        bpy.data.cameras.remove(view)
        bpy.data.scenes.remove(scene)


def _cloth(material: Material, count: int = 64) -> Mesh:
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
    return mesh
