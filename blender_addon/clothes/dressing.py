"""Clothes in the scene: a mesh object that belongs to a rig and a garment, and follows the rig's pose."""

from __future__ import annotations

import bpy
from bpy.types import Collection, Context, Object

from ..appearance import looks, modifiers
from ..blender import meshes
from ..blender.objects import mesh_of
from ..garments import kinds, library, opened
from ..present import present
from ..rig.rest import rest_of
from ..rig.shape import is_sample
from ..rig.wearer import look_again
from ..settings import clothes_settings
from . import proportions, skin_mask
from .memory import Arrival
from .mesh import _build
from .playback import clear_bake
from .request import Options, options_of, request_now
from .selection import clothes_of


def dress(context: Context, target: Object | None, key: str, surface: str, part: str) -> Object:
    """Put a garment on a rig: new clothes, or another garment in the place of those it wears.

    Nothing in the scene changes before the backend has decoded the pose. Raises AddonError and BackendError.
    """
    rest = rest_of(target)
    assert target is not None  # or it would have no rest pose
    look_again(target)
    entry = library.entry(key)
    surface, part = entry.choose(surface, part)
    topology = None
    wire = Options().on_wire(surface, part)
    if surface not in kinds.CHANGING:
        topology = opened.with_garment(entry, lambda garment: garment.topology(wire))
    depsgraph = context.evaluated_depsgraph_get()
    worn = clothes_of(target)
    options = options_of(worn[0]) if worn else Options()
    decoded = request_now(target, depsgraph, entry, surface, part, options, Arrival.STAYED).decode()

    obj = worn[0] if worn else _new_object(context, target)
    settings = clothes_settings(obj)
    clear_bake(obj)
    is_new = (settings.garment, settings.surface, settings.part) != (key, surface, part)
    settings.garment, settings.surface, settings.part = key, surface, part
    obj.name = f"{target.name} {entry.title}"
    mesh_of(obj).name = obj.name
    _build(obj, present(topology or decoded.topology), decoded)
    modifiers.ensure_modifier(obj, surface)
    if is_new and surface == "POINTS":
        settings.radius = modifiers.closing_radius(meshes.get_positions(mesh_of(obj)))
    modifiers.set_radius(obj, settings.radius)
    looks.renew(obj)
    if not worn and proportions.fits_well(obj):
        settings["hide_skin"] = True  # its update would look for the skin twice
    skin_mask.update(context, obj, entry, rest)
    return obj


def _new_object(context: Context, target: Object) -> Object:
    """An empty clothes object that moves with the armature object: its space is the armature's."""
    obj = bpy.data.objects.new("Clothes", bpy.data.meshes.new("Clothes"))
    _collection_beside(context, target).objects.link(obj)
    obj.parent = target
    settings = clothes_settings(obj)
    settings.is_clothes = True
    settings.rig = target
    settings.hide_skin = is_sample(target)
    for axis in range(3):
        obj.lock_location[axis] = obj.lock_rotation[axis] = obj.lock_scale[axis] = True
    return obj


def _collection_beside(context: Context, target: Object) -> Collection:
    """Where a rig is, unless that is linked from another file."""
    for collection in (*target.users_collection, present(context.collection)):
        if collection.library is None and collection.override_library is None:
            return collection
    return present(context.scene).collection


def remove(obj: Object) -> None:
    """Take clothes off: object, mesh, and the mask on the skin."""
    skin_mask.remove(obj)
    clear_bake(obj)
    mesh = mesh_of(obj)
    bpy.data.objects.remove(obj)
    if not mesh.users:
        bpy.data.meshes.remove(mesh)
