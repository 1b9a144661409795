"""A character as the backend fits clothes to it. Read when it has changed, and kept meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import bpy
import numpy as np
from bpy.types import Object

from scale_backend.formats.wearer import JOINT_COUNT, Wearer, WearerError

from ..blender.objects import mesh_of
from ..messages import AddonError
from ..present import present
from ..settings import clothes_settings
from .body_data import BodyData
from .body_mesh import Skin, find_skin, key_values, moving_keys
from .pose import untwisted
from .rest import Rest

SAME = 2e-3  # metres on average at the best fit: a mesh that is nearer to a body than this is that body
STILL = 1e-4  # of a shape key's value
MOST_KEPT = 32


@dataclass(eq=False)
class _Kept:
    """What was read of a character, and what it was read of. Which of its shape keys move with time shows later."""

    rest: Rest
    untwisted: tuple[int, ...]  # joints whose skin does not twist as they do
    chosen: str | None  # the mesh that its user has said
    counts: tuple[int, ...]  # vertices of the meshes
    values: np.ndarray  # [K] of its shape keys
    steady: np.ndarray  # [K] bool, those that make its shape
    skin: Skin | None
    wearer: Wearer | None
    frame: float  # of the scene when the shape keys were last looked at


_kept: dict[int, _Kept] = {}  # by the session_uid of the armature object


def wearer_of(target: Object, rest: Rest, body: BodyData) -> Wearer | None:
    """A character with its body's mesh; None where it has none, or where its mesh is that very body.

    Asked for in every live frame. Raises AddonError for a mesh that cannot be used.
    """
    kept = _up_to_date(target, rest)
    if kept.wearer is None or _is_body(kept.skin, body):
        return None
    return kept.wearer


def skin_taken(target: Object, rest: Rest) -> Skin | None:
    """What is taken for a character's body."""
    return _up_to_date(target, rest).skin


def look_again(target: Object | None) -> None:
    """A character may have been changed in a way that is not noticed: its mesh edited, its weights painted."""
    if target is not None:
        _kept.pop(target.session_uid, None)


def forget() -> None:
    """Another file is loaded."""
    _kept.clear()


def _up_to_date(target: Object, rest: Rest) -> _Kept:
    kept = _kept.get(target.session_uid)
    if kept is None or not _still_holds(kept, target, rest):
        kept = _read(target, rest)
        while len(_kept) >= MOST_KEPT:
            del _kept[next(iter(_kept))]
        _kept[target.session_uid] = kept
    return kept


def _still_holds(kept: _Kept, target: Object, rest: Rest) -> bool:
    chosen = clothes_settings(target).body
    if kept.rest is not rest or kept.untwisted != untwisted(target, rest.rig_joints):
        return False
    if kept.chosen != (None if chosen is None else chosen.name):
        return False
    if kept.skin is None:
        return True
    meshes = [bpy.data.objects[name] for name in kept.skin.meshes if name in bpy.data.objects]
    if tuple(len(mesh_of(mesh).vertices) for mesh in meshes) != kept.counts:
        return False
    values, frame = _values(meshes), present(bpy.context.scene).frame_current_final
    if len(values) != len(kept.values):
        return False
    changed = kept.steady & (np.abs(values - kept.values) > STILL)
    if frame != kept.frame:  # what has changed on the way to another frame is moved by something, and no body's shape
        kept.steady = kept.steady & ~changed
    elif changed.any():
        return False
    kept.frame = frame
    return True


def _values(meshes: list[Object]) -> np.ndarray:  # [K]
    keys = [mesh_of(mesh).shape_keys for mesh in meshes]
    return np.concatenate([np.zeros(0, np.float32), *(key_values(each) for each in keys if each is not None)])


def _read(target: Object, rest: Rest) -> _Kept:
    chosen, plain = clothes_settings(target).body, untwisted(target, rest.rig_joints)
    skin = find_skin(target, rest)
    said = None if chosen is None else chosen.name
    if skin is None:
        return _Kept(rest, plain, said, (), np.zeros(0), np.zeros(0, bool), None, None, 0.0)
    meshes = [bpy.data.objects[name] for name in skin.meshes]
    try:
        wearer = Wearer.of_arrays(
            {
                "joints": rest.places,
                "turns": rest.turns[:JOINT_COUNT],
                "vertices": rest.frame.from_armature(skin.vertices),
                "triangles": skin.triangles,
                "weights": skin.weights,
                "untwisted": np.isin(np.arange(JOINT_COUNT), plain).astype(np.uint8),
            }
        )
    except WearerError as error:
        raise AddonError(f"{skin.names} cannot be used as the body of '{target.name}': {error}") from error
    keys = [mesh_of(mesh).shape_keys for mesh in meshes]
    steady = np.concatenate([np.zeros(0, bool), *(~moving_keys(each) for each in keys if each is not None)])
    frame, counts = (
        present(bpy.context.scene).frame_current_final,
        tuple(len(mesh_of(mesh).vertices) for mesh in meshes),
    )
    return _Kept(rest, plain, said, counts, _values(meshes), steady, skin, wearer, frame)


@lru_cache(maxsize=64)
def _is_body(skin: Skin, body: BodyData) -> bool:
    """Whether a mesh was modelled as the body that a garment is made for, in whatever axes, size and place."""
    if len(skin.basis) != len(body.template):
        return False
    here, there = (points - points.mean(0) for points in (skin.basis.astype(np.float64), body.template))
    left, stretch, right = np.linalg.svd(here.T @ there)
    size = stretch.sum() / (there**2).sum()
    return float(np.linalg.norm(here - size * there @ (left @ right).T, axis=1).mean()) < SAME * size
