"""The meshes that hang on a rig, and the body shape that their shape keys give."""

from __future__ import annotations

import bpy
import numpy as np
from bpy.types import ArmatureModifier, Object

from ..blender import meshes
from ..blender.objects import mesh_of, modifiers_of
from ..present import present
from ..settings import clothes_settings
from .body_data import BodyData


def is_sample(rig: Object) -> bool:
    """Whether a rig is the armature of a sample character."""
    return any(clothes_settings(mesh).is_sample_body for mesh in meshes_of(rig))


SHAPE_KEYS = 10
ALIKE = 0.999  # cosine between the shape keys of one body model


def rig_of(candidate: Object | None) -> Object | None:
    """The armature an object is, hangs on or is deformed by."""
    while candidate is not None:
        if candidate.type == "ARMATURE":
            return candidate
        deformer = candidate.find_armature() if candidate.type == "MESH" else None
        candidate = deformer or candidate.parent
    return None


def meshes_of(rig: Object) -> list[Object]:
    """The meshes that the rig deforms: the character's body, and what else it wears."""
    return [
        other
        for other in bpy.data.objects
        if other.type == "MESH" and any(m.object == rig for m in modifiers_of(other, ArmatureModifier))
    ]


def shaped_mesh(rig: Object) -> Object | None:
    """The rig's body mesh, if it has the shape keys Shape000, Shape001, .."""
    for mesh in meshes_of(rig):
        keys = mesh_of(mesh).shape_keys
        if keys is not None and "Shape000" in keys.key_blocks:
            return mesh
    return None


def body_shape(target: Object, body: BodyData | None = None) -> np.ndarray:  # [10] float32
    """Shape coefficients from the shape keys of the rig's body mesh; zeros without.

    body: zeros too if the shape keys are those of another body model, where the same numbers mean other shapes.
    """
    shape = np.zeros(SHAPE_KEYS, np.float32)
    mesh = shaped_mesh(target)
    if mesh is not None:
        blocks = present(mesh_of(mesh).shape_keys).key_blocks
        for index in range(SHAPE_KEYS):
            block = blocks.get(f"Shape{index:03d}")
            if block is not None and not block.mute:
                shape[index] = block.value
    if body is not None and shape.any() and not has_shapes_of(target, body):
        shape[:] = 0.0
    return shape


def has_shapes_of(target: Object, body: BodyData) -> bool:
    """Whether the first shape key of the rig's body mesh moves the vertices as the body's first shape does, in whatever
    axes and units; False without shape keys."""
    mesh = shaped_mesh(target)
    if mesh is None:
        return False
    if len(mesh_of(mesh).vertices) != len(body.template):
        return clothes_settings(mesh).is_sample_body  # edited by its user
    keys = present(mesh_of(mesh).shape_keys)
    moved = meshes.key_positions(keys.key_blocks["Shape000"]) - meshes.key_positions(keys.reference_key)
    expected = body.shapes[..., 0]
    alike = np.linalg.svd(expected.T @ moved, compute_uv=False).sum()  # at the best rotation
    return alike > ALIKE * np.linalg.norm(expected) * np.linalg.norm(moved) > 0
