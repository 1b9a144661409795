"""Baked clothes: play their file, tell whether it is lost, take it off."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.types import MeshCacheModifier, Object

from ..blender import pc2
from ..blender.objects import mesh_of, modifier_of, new_modifier
from ..present import present
from . import baked_normals, request

CACHE_MODIFIER = "SCALE Bake"


def normals_use(obj: Object) -> baked_normals.Use | None:
    """How clothes play the normals that are baked beside their positions; None where those of their faces will do."""
    if not len(mesh_of(obj).polygons):
        return baked_normals.POINTS
    return baked_normals.SURFACE if request.shown_normals(obj) == "DECODED" else None


def play_cache(obj: Object, path: Path, first: float, scale: float) -> None:
    """Have clothes play a point cache, before their other modifiers: `first` is the sample at frame 0, `scale` the
    samples in a frame."""
    modifier = modifier_of(obj, CACHE_MODIFIER, MeshCacheModifier)
    modifier = modifier or new_modifier(obj, CACHE_MODIFIER, MeshCacheModifier)
    pc2.play(modifier, _shown(path), first, scale)
    modifier.show_expanded = False
    baked_normals.clear(obj)
    use = normals_use(obj)
    if use is not None:
        normals = baked_normals.play(obj, _shown(baked_normals.path_beside(path)), first, scale, use)
        obj.modifiers.move(obj.modifiers.find(normals.name), 0)
    obj.modifiers.move(obj.modifiers.find(modifier.name), 0)


def _shown(path: Path) -> str:
    return bpy.path.relpath(str(path)) if bpy.data.filepath else str(path)


def is_lost(baked: Object) -> bool:
    """Whether the file of a bake is not there. Blender tells nobody: the clothes stand still."""
    named = present(modifier_of(baked, CACHE_MODIFIER, MeshCacheModifier)).filepath
    return not Path(bpy.path.abspath(named, library=baked.library)).is_file()


def is_baked(obj: Object) -> bool:
    modifier = obj.modifiers.get(CACHE_MODIFIER)
    return modifier is not None and modifier.show_viewport


def clear_bake(obj: Object) -> None:
    """Take the baked motion off; the file stays on disk."""
    baked_normals.clear(obj)
    modifier = obj.modifiers.get(CACHE_MODIFIER)
    if modifier is not None:
        obj.modifiers.remove(modifier)
