"""Densities of a mesh beside one another, a part of it and near, by Blender's Workbench: MESHES.npz PICTURE.

The file holds points and triangles of each, numbered: points0, triangles0, points1 and so on.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np
from PIL import Image

from tests.benchmarks.surface_views import BACKGROUND, PICTURE, studio, surface_object

PART = 0.36  # metres across
TURN = np.radians(25)  # about the vertical
HEIGHT = 0.42  # of the part's middle, in the garment's own: the skirt


def render(meshes: list[tuple[np.ndarray, np.ndarray]], path: Path) -> None:  # points [V, 3], triangles [T, 3]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    studio(scene, PART)
    low, high = meshes[-1][0].min(0), meshes[-1][0].max(0)
    middle = (low + high) / 2
    middle[1] = low[1] + HEIGHT * (high[1] - low[1])  # in SMPL's axes, y is up
    sheet = Image.new("RGB", (PICTURE * len(meshes), PICTURE), BACKGROUND)
    with tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "part.png")
        for number, (points, triangles) in enumerate(meshes):
            obj = surface_object(scene, points - middle, np.empty((0, 3)), triangles)
            obj.rotation_euler[2] = TURN
            bpy.ops.render.render(write_still=True)
            with Image.open(scene.render.filepath) as picture:
                sheet.paste(picture, (PICTURE * number, 0), picture)
            bpy.data.objects.remove(obj)
    sheet.save(path)


if __name__ == "__main__":
    with np.load(sys.argv[1]) as content:
        count = sum(name.startswith("points") for name in content)
        render([(content[f"points{i}"], content[f"triangles{i}"]) for i in range(count)], Path(sys.argv[2]))
