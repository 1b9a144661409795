"""Front, side and back of a surface, its frames one below the other, by Blender's Workbench: FRAMES.npz PICTURE.png.

The file holds points, normals and triangles of each frame, numbered: points0, normals0, triangles0, points1 and so on.
Without triangles each point is drawn as a small disc.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np
from bpy.types import Object, Scene
from PIL import Image

VIEWS = {"front": 0, "side": 90, "back": 180}  # degrees about the vertical
PICTURE = 480  # pixels
BACKGROUND = (226, 228, 231)
DISC = 0.005  # metres, radius
BLENDER = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # from SMPL's axes


def discs(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [V, 3] -> [6 V, 3], [V, 6]
    """A hexagon across the normal of each point."""
    across = np.cross(normals, np.eye(3)[np.abs(normals).argmin(1)])
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    angle = np.arange(6)[:, None] * np.pi / 3
    rim = np.cos(angle) * across[:, None] + np.sin(angle) * np.cross(normals, across)[:, None]
    return (points[:, None] + DISC * rim).reshape(-1, 3), np.arange(6 * len(points)).reshape(-1, 6)


def surface_object(scene: Scene, points: np.ndarray, normals: np.ndarray, triangles: np.ndarray) -> Object:
    faces = triangles
    if not len(triangles):
        points, faces = discs(points, normals)
    mesh = bpy.data.meshes.new("surface")
    mesh.from_pydata((points @ BLENDER.T).tolist(), [], faces.tolist())
    mesh.shade_smooth()
    obj = bpy.data.objects.new("surface", mesh)
    scene.collection.objects.link(obj)
    return obj


def studio(scene: Scene, scale: float) -> None:
    """A camera that sees `scale` metres of what stands at the origin, and Workbench in even light."""
    scene.render.engine, scene.display.render_aa = "BLENDER_WORKBENCH", "16"
    shading = scene.display.shading
    shading.light, shading.studio_light, shading.show_cavity = "MATCAP", "basic_side.exr", True
    shading.color_type, shading.single_color = "SINGLE", (0.62, 0.72, 0.82)
    scene.view_settings.view_transform = "Standard"
    scene.render.film_transparent, scene.render.image_settings.color_mode = True, "RGBA"
    scene.render.resolution_x = scene.render.resolution_y = PICTURE
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.type, camera.data.ortho_scale = "ORTHO", scale
    camera.location, camera.rotation_euler = (0, -5, 0), (np.pi / 2, 0, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera


def views(scene: Scene, obj: Object, folder: Path) -> Image.Image:
    """Front, side and back, beside one another."""
    row = Image.new("RGB", (PICTURE * len(VIEWS), PICTURE), BACKGROUND)
    for number, (view, degrees) in enumerate(VIEWS.items()):
        obj.rotation_euler[2] = np.radians(-degrees)
        scene.render.filepath = str(folder / f"{view}.png")
        bpy.ops.render.render(write_still=True)
        with Image.open(scene.render.filepath) as picture:
            row.paste(picture, (PICTURE * number, 0), picture)
    return row


def render(frames: list[tuple[np.ndarray, np.ndarray, np.ndarray]], path: Path) -> None:
    """One row of views for each frame: points [V, 3], normals [V, 3], triangles [T, 3]; T may be 0."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    studio(scene, 1.06 * max(float(np.ptp(points, axis=0).max()) for points, _, _ in frames))
    sheet = Image.new("RGB", (PICTURE * len(VIEWS), PICTURE * len(frames)))
    with tempfile.TemporaryDirectory() as folder:
        for number, (points, normals, triangles) in enumerate(frames):
            obj = surface_object(scene, points - (points.max(0) + points.min(0)) / 2, normals, triangles)
            sheet.paste(views(scene, obj, Path(folder)), (0, PICTURE * number))
            bpy.data.objects.remove(obj)
    sheet.save(path)


if __name__ == "__main__":
    with np.load(sys.argv[1]) as content:
        count = sum(name.startswith("points") for name in content)
        parts = [[content[f"{part}{i}"] for part in ("points", "normals", "triangles")] for i in range(count)]
    render(parts, Path(sys.argv[2]))
