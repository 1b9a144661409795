"""Front, side and back of a body and its clothes, pose below pose, by Blender's Workbench: ARRAYS.npz PICTURE.png.

The file holds body0, cloth0, body1 and so on, points of each pose, and body_triangles and cloth_triangles.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np
from bpy.types import Object, Scene
from PIL import Image

from tests.benchmarks.surface_views import PICTURE, VIEWS, studio, surface_object, views

SKIN, CLOTH = (0.75, 0.52, 0.4, 1.0), (0.16, 0.3, 0.6, 1.0)


def figure(scene: Scene, body: np.ndarray, cloth: np.ndarray, faces: tuple[np.ndarray, np.ndarray]) -> Object:
    """Both, hung on one object in their middle."""
    middle = (body.max(0) + body.min(0)) / 2
    whole = bpy.data.objects.new("figure", None)
    scene.collection.objects.link(whole)
    for points, triangles, color in ((body, faces[0], SKIN), (cloth, faces[1], CLOTH)):
        obj = surface_object(scene, points - middle, np.zeros((0, 3)), triangles)
        obj.color, obj.parent = color, whole
    return whole


def render(content: dict[str, np.ndarray], path: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    count = sum(name.startswith("cloth") and name != "cloth_triangles" for name in content)
    studio(scene, 1.06 * max(float(np.ptp(content[f"body{i}"], axis=0).max()) for i in range(count)))
    scene.display.shading.color_type = "OBJECT"
    scene.display.shading.light = "STUDIO"
    sheet = Image.new("RGB", (PICTURE * len(VIEWS), PICTURE * count))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            faces = content["body_triangles"], content["cloth_triangles"]
            whole = figure(scene, content[f"body{number}"], content[f"cloth{number}"], faces)
            sheet.paste(views(scene, whole, Path(folder)), (0, PICTURE * number))
            for obj in (*whole.children, whole):
                bpy.data.objects.remove(obj)
    sheet.save(path)


if __name__ == "__main__":
    with np.load(sys.argv[1]) as arrays:
        render(dict(arrays), Path(sys.argv[2]))
