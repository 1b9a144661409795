"""The fabrics as assets: a library file whose materials Blender lists, and nothing left behind."""

from __future__ import annotations

import bpy
import numpy as np

from blender_addon import paths
from blender_addon.appearance import fabric_assets, fabrics


def counts() -> dict[str, int]:
    names = ("scenes", "objects", "meshes", "materials", "lights", "cameras")
    images = [image for image in bpy.data.images if image.type != "RENDER_RESULT"]  # Blender's own
    return {name: len(getattr(bpy.data, name)) for name in names} | {"images": len(images)}


def test_fabrics_become_assets(scene):
    before = counts()
    libraries = bpy.context.preferences.filepaths.asset_libraries
    for _ in range(2):
        assert bpy.ops.scale_clothing.add_fabric_assets() == {"FINISHED"}
    assert counts() == before and bpy.context.scene == scene
    assert [library.name for library in libraries].count(fabric_assets.LIBRARY) == 1

    path = str(paths.user_folder("assets") / fabric_assets.FILE)
    with bpy.data.libraries.load(path, assets_only=True) as (there, taken):
        assert set(there.materials) == {fabric.title for fabric in fabrics.FABRICS}
        taken.materials = ["Denim", "Silk"]
    pictures = []
    for material in taken.materials:
        assert material.asset_data.license == "CC0-1.0"
        assert fabrics.node(material) is not None
        assert tuple(material.preview.image_size) == (fabric_assets.SIZE,) * 2
        pictures.append(np.array(material.preview.image_pixels_float).reshape(-1, 4))
        assert pictures[-1][:, :3].std(0).max() > 0.03  # folds
    denim, silk = (picture.mean(0) for picture in pictures)
    assert denim[2] > denim[0] and silk[0] > 2 * silk[2]
