"""Which clothes and which character the panel is about."""

from __future__ import annotations

import bpy
from bpy.types import Context, Object

from ..messages import AddonError
from ..present import present
from ..rig import recognition
from ..rig.shape import rig_of
from ..settings import clothes_settings, scene_settings


def all_clothes() -> list[Object]:
    """All clothes in use: Blender keeps deleted objects that a property still points at, in no scene."""
    return [o for o in bpy.data.objects if o.type == "MESH" and clothes_settings(o).is_clothes and o.users_scene]


def clothes_of(target: Object | None) -> list[Object]:
    """What a rig wears."""
    return [obj for obj in all_clothes() if target is not None and clothes_settings(obj).rig == target]


def in_context(context: Context) -> Object | None:
    """The clothes that the panel is about: the active object, or what the chosen character wears."""
    active = context.active_object
    if active is not None and active.type == "MESH" and clothes_settings(active).is_clothes:
        return active
    worn = clothes_of(rig_in_context(context))
    return worn[0] if worn else None


def rig_in_context(context: Context) -> Object | None:
    """The character that the panel is about: the chosen one, else the active object's."""
    chosen = scene_settings(context.scene).rig
    if chosen is not None and chosen.name in present(context.scene).objects:
        return chosen
    return _selected_rig(context)


def _selected_rig(context: Context) -> Object | None:
    active = context.active_object
    if active is not None and active.type == "MESH" and clothes_settings(active).is_clothes:
        return clothes_settings(active).rig
    return rig_of(active)


def other_selected(context: Context) -> Object | None:
    """The character that is selected while another one is chosen in the panel."""
    chosen, selected = rig_in_context(context), _selected_rig(context)
    return selected if selected is not None and selected != chosen and recognition.is_rig(selected) else None


def wearer(obj: Object) -> Object:
    """The rig that wears the clothes. Raises AddonError."""
    target = clothes_settings(obj).rig
    if target is None or not target.users_scene:
        raise AddonError(f"The character that wore '{obj.name}' is gone; generate clothes for another one.")
    return target
