"""One Blender of `make matrix`: installs the extension zip in this Python's bpy and generates clothes with it.

python tests/addon/matrix.py ZIP BACKEND_PYTHON
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def main(package: str, backend_python: str) -> None:
    with tempfile.TemporaryDirectory(prefix="scale-matrix-") as folder:
        os.environ["BLENDER_USER_RESOURCES"] = folder  # read when bpy is imported
        os.environ["SCALE_BACKEND_PYTHON"] = backend_python
        generate(package, Path(folder))


def generate(package: str, folder: Path) -> None:
    import bpy
    import numpy as np

    def positions(mesh: bpy.types.Mesh) -> np.ndarray:  # [V, 3]
        values = np.empty((len(mesh.vertices), 3), np.float32)
        mesh.attributes["position"].data.foreach_get("vector", values.ravel())
        return values

    def corner_normals(mesh: bpy.types.Mesh) -> np.ndarray:  # [C, 3]
        values = np.empty((len(mesh.loops), 3), np.float32)
        mesh.corner_normals.foreach_get("vector", values.ravel())
        return values

    def shown() -> np.ndarray:  # [C, 3]
        return corner_normals(clothes.evaluated_get(bpy.context.evaluated_depsgraph_get()).data)

    bpy.ops.extensions.package_install_files(
        filepath=str(Path(package).absolute()), repo="user_default", enable_on_install=True
    )
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    scene = bpy.context.scene
    chosen = scene.scale_clothing
    bpy.ops.scale_clothing.add_character()
    bpy.ops.scale_clothing.apply_motion(motion="dance")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "scene.blend"))

    for garment, surface in (("dress-body", "POINTS"), ("tee-trousers", "MESH"), ("dress", "MESH")):
        chosen.garment, chosen.surface = garment, surface
        scene.frame_set(1)
        bpy.ops.scale_clothing.generate()
        clothes = next(obj for obj in bpy.data.objects if obj.scale_clothing.is_clothes)
        first = positions(clothes.data)
        scene.frame_set(30)
        moved = np.abs(positions(clothes.data) - first).max()
        assert len(first) > 100 and np.isfinite(first).all(), f"{garment}: {len(first)} points"
        assert moved > 0.01, f"{garment} did not follow the pose"
        assert bool(len(clothes.data.polygons)) == (surface == "MESH")
        count = f"{len(first)} {'points' if surface == 'POINTS' else 'vertices'}"
        print(f"{garment}: {count} as {surface.lower()}, moved up to {moved:.2f} m", flush=True)

    scene.frame_end = 5
    of_faces = shown()
    clothes.scale_clothing.normals = "DECODED"
    decoded = shown()
    agreement = np.einsum("ck,ck->c", of_faces, decoded)
    assert agreement.min() < 0.99 and agreement.mean() > 0.98, "the decoded normals are not shown"
    if bpy.app.version >= (4, 5, 0):
        bpy.ops.scale_clothing.bake()
        scene.frame_set(30)
        scene.frame_set(5)
        baked = shown()
        bpy.ops.scale_clothing.clear_bake()
        assert np.abs(baked - shown()).max() < 1e-3, "the bake plays other normals than those that were decoded"
        scene.scale_clothing.bake_folder = "//again"
    else:
        try:
            bpy.ops.scale_clothing.bake()
        except RuntimeError as error:
            assert "only Blender 4.5 and later play those" in str(error)
        else:
            raise AssertionError("a bake that cannot play decoded normals was not refused")
    scene.frame_set(30)
    clothes.scale_clothing.normals = "FACES"
    assert np.abs(shown() - of_faces).max() < 1e-3, "the normals of the faces did not come back"

    bpy.ops.scale_clothing.bake()
    played = []
    for frame in (1, 5):
        scene.frame_set(frame)
        evaluated = clothes.evaluated_get(bpy.context.evaluated_depsgraph_get())
        played.append(positions(evaluated.data))
    assert clothes.modifiers[0].type == "MESH_CACHE"
    assert np.abs(played[0] - first).max() < 1e-4, "the bake plays something else than was generated"
    assert np.abs(played[1] - first).max() > 1e-3, "the bake does not move"
    print(f"Blender {bpy.app.version_string}: clothes generated, live and baked", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
