"""Keyframes in bulk, in the actions of Blender 4.2 (flat) and of 4.4 and later (layers, strips, slots)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy
import numpy as np
from bpy.types import ActionFCurves, FCurve, Key, Object

from ..present import present

if TYPE_CHECKING:  # Blender 4.2 has none of these
    from bpy.types import ActionChannelbag, ActionChannelbagFCurves, ActionSlot, ActionStrip

OURS = "scale_clothing"  # marks the actions that were made from motions
LINEAR = 1  # value of the interpolation enum, as foreach_set wants it


def new_action(target: Object, name: str) -> ActionFCurves | ActionChannelbagFCurves:
    """Give an object a new action; returns the collection to which F-curves are added. One of the user's is kept."""
    action = bpy.data.actions.new(name)
    action[OURS] = True
    data = target.animation_data or target.animation_data_create()
    if data.action is not None and not data.action.get(OURS) and data.action.library is None:
        data.action.use_fake_user = True  # the user's own: it stays in the file, to be chosen again
    if not hasattr(action, "layers"):
        data.action = action
        return action.fcurves
    slot = action.slots.new(id_type="OBJECT", name=target.name)
    strip = action.layers.new("Layer").strips.new(type="KEYFRAME")
    data.action = action
    data.action_slot = slot
    return present(_bag(strip, slot, ensure=True)).fcurves


def curves_of(target: Object | Key) -> list[FCurve]:
    """The F-curves that animate an object or shape keys."""
    data = target.animation_data
    if data is None or data.action is None:
        return []
    if not hasattr(data.action, "layers"):
        return list(data.action.fcurves)
    if data.action_slot is None:
        return []
    slot = data.action_slot
    bags = (_bag(strip, slot) for layer in data.action.layers for strip in layer.strips)
    return [curve for bag in bags if bag is not None for curve in bag.fcurves]


def _bag(strip: ActionStrip, slot: ActionSlot, ensure: bool = False) -> ActionChannelbag | None:
    """What a strip has for one object. All strips that there are are of keyframes, which the types do not know."""
    return strip.channelbag(slot, ensure=ensure)  # type: ignore[attr-defined]


def add_curves(
    fcurves: ActionFCurves | ActionChannelbagFCurves, data_path: str, frames: np.ndarray, values: np.ndarray
) -> None:
    """A linear F-curve for each component. frames [F], values [F, C]."""
    keys = np.empty((len(frames), 2), np.float32)
    keys[:, 0] = frames
    for index in range(values.shape[1]):
        keys[:, 1] = values[:, index]
        curve = fcurves.new(data_path, index=index)
        curve.keyframe_points.add(len(frames))
        curve.keyframe_points.foreach_set("co", keys.ravel())
        curve.keyframe_points.foreach_set("interpolation", np.full(len(frames), LINEAR, np.int32))
        curve.update()
