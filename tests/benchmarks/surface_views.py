"""Front, side and back of a surface in one picture, by Blender's Workbench: FRAME.npz PICTURE.png."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np
from PIL import Image

VIEWS = {"front": 0, "side": 90, "back": 180}  # degrees about the vertical
PICTURE = 480  # pixels


def render(points: np.ndarray, triangles: np.ndarray, path: Path) -> None:
    """Front, side and back in one picture."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.display.shading.light, scene.display.shading.show_cavity = "STUDIO", True
    scene.display.shading.show_backface_culling = False
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x = scene.render.resolution_y = PICTURE
    mesh = bpy.data.meshes.new("surface")
    points = points - (points.max(0) + points.min(0)) / 2
    mesh.from_pydata((points[:, [0, 2, 1]] * [1, -1, 1]).tolist(), [], triangles.tolist())
    mesh.shade_smooth()
    obj = bpy.data.objects.new("surface", mesh)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.type, camera.data.ortho_scale = "ORTHO", float(1.1 * np.ptp(points, axis=0).max())
    camera.location, camera.rotation_euler = (0, -5, 0), (np.pi / 2, 0, 0)
    scene.collection.objects.link(obj)
    scene.collection.objects.link(camera)
    scene.camera = camera
    pictures = []
    for view, degrees in VIEWS.items():
        obj.rotation_euler[2] = np.radians(-degrees)
        scene.render.filepath = str(path.with_name(f".{path.stem}-{view}.png"))
        bpy.ops.render.render(write_still=True)
        with Image.open(scene.render.filepath) as picture:
            pictures.append(np.asarray(picture.convert("RGB")))
        Path(scene.render.filepath).unlink()
    Image.fromarray(np.hstack(pictures)).save(path)


if __name__ == "__main__":
    with np.load(sys.argv[1]) as content:
        render(content["points"], content["triangles"], Path(sys.argv[2]))
