"""Cloth on a body that moves, as Blender simulates it: real time, real gravity, held only where it is pinned.

No springs but the pins, no smoothing, no mean of frames, no changed time. A sequence begins with the garment as it was
cut, on the body at rest in its T-pose; what moves the body to the first pose of a motion is part of the motion.
There is no floor. All of Blender's cloth settings that are not named here keep their defaults.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cloth import from_blender, load_blender, to_blender, write_pc2
from .fabrics import Fabric
from .mesh_tools import Array, Mesh

FRAME_RATE = 30


@dataclass(frozen=True)
class Contact:
    """How cloth meets the body and itself. Lengths in metres."""

    thickness: float = 0.004  # of the body's skin
    distance: float = 0.004  # of the cloth from it
    quality: int = 2  # collision passes a substep
    friction: float = 5.0  # Blender's default, on the body and on the cloth
    itself: bool = True  # cloth against cloth
    itself_distance: float = 0.003


@dataclass(frozen=True)
class Forces:
    """What acts on the whole cloth."""

    gravity: tuple[float, float, float] = (0.0, -9.81, 0.0)  # m/s², SMPL's axes
    substeps: int = 1  # how many times the fabric's own


CONTACT, FORCES = Contact(), Forces()


def simulate(
    rest: Mesh,
    pinned: NDArray[np.bool_],  # [V]
    carried: Array,  # [F, V, 3] metres: where pinned vertices go; the cloth starts at the first
    fabric: Fabric,
    body: tuple[NDArray[np.int64], Array] | None = None,  # triangles [T, 3] and vertices [F, B, 3]
    contact: Contact = CONTACT,
    forces: Forces = FORCES,
    frame_rate: int = FRAME_RATE,
) -> Iterator[Array]:
    """Yields the cloth's vertices [V, 3] for every frame, the first as it is carried."""
    with tempfile.TemporaryDirectory(prefix="scale-cloth-") as folder:
        bpy = load_blender(folder)
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = bpy.context.scene
        scene.render.threads_mode, scene.render.threads, scene.render.fps = "FIXED", 1, frame_rate
        scene.gravity = to_blender(np.array(forces.gravity))
        scene.frame_start, scene.frame_end = 1, len(carried)
        if body is not None:
            _add_body(bpy, Path(folder), *body, contact)
        cloth = _mesh_object(bpy, Path(folder), "cloth", rest, carried)
        cloth.vertex_groups.new(name="pin").add(np.flatnonzero(pinned).tolist(), 1.0, "REPLACE")
        _add_cloth(cloth, fabric, contact, forces.substeps, len(carried))
        for frame in range(1, len(carried) + 1):
            scene.frame_set(frame)
            yield _vertices(bpy, cloth, len(rest.vertices))


def _mesh_object(bpy: Any, folder: Path, name: str, mesh: Mesh, frames: Array) -> Any:
    """An object that follows frames [F, V, 3] and whose own shape is the rest mesh."""
    data = bpy.data.meshes.new(name)
    data.from_pydata(to_blender(mesh.vertices).tolist(), [], mesh.triangles.tolist())
    data.update()
    item = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(item)
    path = folder / f"{name}.pc2"
    write_pc2(path, frames)
    cache = item.modifiers.new("path", "MESH_CACHE")
    cache.cache_format, cache.interpolation, cache.filepath = "PC2", "LINEAR", str(path)
    cache.frame_start, cache.forward_axis, cache.up_axis = 1, "POS_Y", "POS_Z"
    return item


def _add_body(bpy: Any, folder: Path, triangles: NDArray[np.int64], frames: Array, contact: Contact) -> None:
    item = _mesh_object(bpy, folder, "body", Mesh(frames[0], triangles), frames)
    item.modifiers.new("collision", "COLLISION")
    item.collision.thickness_outer, item.collision.use_culling = contact.thickness, True
    item.collision.cloth_friction = contact.friction


def _add_cloth(item: Any, fabric: Fabric, contact: Contact, substeps: int, last_frame: int) -> None:
    modifier = item.modifiers.new("cloth", "CLOTH")
    cloth, collision = modifier.settings, modifier.collision_settings
    cloth.quality, cloth.mass = fabric.quality * substeps, fabric.mass
    cloth.tension_stiffness, cloth.compression_stiffness = fabric.tension, fabric.compression
    cloth.shear_stiffness, cloth.bending_stiffness = fabric.shear, fabric.bending
    cloth.tension_damping, cloth.compression_damping = fabric.tension_damping, fabric.compression_damping
    cloth.shear_damping, cloth.bending_damping = fabric.shear_damping, fabric.bending_damping
    cloth.air_damping, cloth.vertex_group_mass = fabric.air_damping, "pin"
    collision.distance_min, collision.collision_quality = contact.distance, contact.quality
    collision.friction = contact.friction
    collision.use_self_collision, collision.self_distance_min = contact.itself, contact.itself_distance
    collision.self_friction = contact.friction
    modifier.point_cache.frame_start, modifier.point_cache.frame_end = 1, last_frame


def _vertices(bpy: Any, item: Any, count: int) -> Array:
    evaluated = item.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    buffer = np.empty(count * 3, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", buffer)
    evaluated.to_mesh_clear()
    return from_blender(buffer.reshape(count, 3).astype(np.float64))
