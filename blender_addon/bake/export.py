"""A point cache into Alembic or USD, by Blender's own exporters."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.types import MeshCacheModifier, Object, Scene

from ..blender import meshes, pc2
from ..blender.objects import mesh_of, new_modifier
from ..clothes import baked_normals
from .sampling import Sampling


def export(scene: Scene, obj: Object, cache: Path, normals: Path | None, sampling: Sampling, path: Path) -> None:
    """Write clothes whose points, in world space, are in a cache, and normals other than those of the faces in another.
    The suffix tells the format: .abc or .usdc.

    They are exported alone, from a scene of their own that is gone again afterwards: neither what else is in the
    user's scene nor its selection matters. Subframes become whole frames there, at a higher frame rate, so that the
    seconds in the file are right; frames that a step left out are filled by what lies between. Raises RuntimeError.
    """
    stage = bpy.data.scenes.new("SCALE Export")
    mesh = mesh_of(obj).copy()
    copy = bpy.data.objects.new(bpy.path.clean_name(f"{obj.name}_baked"), mesh)
    mesh.name = copy.name
    try:
        stage.collection.objects.link(copy)
        stage.unit_settings.scale_length = scene.unit_settings.scale_length
        stage.render.fps, stage.render.fps_base = scene.render.fps * sampling.per_frame, scene.render.fps_base
        stage.frame_start = sampling.first * sampling.per_frame
        stage.frame_end = int(sampling.time(sampling.count - 1) * sampling.per_frame)
        if "normal" in mesh.attributes:  # of the frame in which they were generated
            mesh.attributes.remove(mesh.attributes["normal"])
        meshes.drop_normals(mesh)
        modifier = new_modifier(copy, "Cache", MeshCacheModifier)
        times = float(sampling.first / sampling.interval), 1.0 / sampling.step
        pc2.play(modifier, cache, *times)
        if normals is not None:
            baked_normals.play(copy, str(normals), *times, baked_normals.EXPORT)
        with bpy.context.temp_override(scene=stage, view_layer=stage.view_layers[0]):
            _write(stage, path, normals is not None)
    finally:
        baked_normals.clear(copy)
        bpy.data.objects.remove(copy)
        bpy.data.meshes.remove(mesh)
        bpy.data.scenes.remove(stage)


def _write(stage: Scene, path: Path, with_normals: bool) -> None:
    if path.suffix == ".abc":
        done = bpy.ops.wm.alembic_export(
            filepath=str(path),
            start=stage.frame_start,
            end=stage.frame_end,
            flatten=True,
            uvs=True,
            normals=with_normals,  # those of faces other programs make; in the file they are six times the points
            as_background_job=False,
        )
    elif path.suffix == ".usdc":
        done = bpy.ops.wm.usd_export(filepath=str(path), export_animation=True, export_materials=False)
    else:
        raise ValueError(f"no exporter of Blender is called for {path.suffix}")
    if done != {"FINISHED"} or not path.exists():
        raise RuntimeError("Blender's exporter wrote nothing")
