"""A cloth simulation in Blender: one garment on one body, built once and run along many pose paths.

Both meshes follow PC2 files through Mesh Cache modifiers, so the skinning is ours. Axes are turned at this border.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scale_backend.formats.joints import FACE, FINGERS
from scale_backend.formats.whole_files import write_whole

from .garment_parts import Field, GarmentMesh, nearest_side
from .mesh_tools import Array, Mesh, carry_weights, compact, vertex_normals
from .remesh import remesh
from .skinning import SkinnedBody, correctives, skin

BARE = ("head", *FACE, "left_hand", "right_hand", "left_wrist", "right_wrist", *FINGERS, "left_foot", "right_foot")
COLLIDER_EDGE = 0.027  # metres; half the triangles of the body, twice as fast
CHORD_LOSS = 0.001  # what a coarse collider lies inside of the body
LAST_FRAME = 300
HURRY_FRAMES = 8  # after the last motion time stays as it is for so long, then speeds up for so long
HELD_FRAMES = 3  # rest shape, jump to the start, stand still


@dataclass(frozen=True)
class ClothSettings:
    """Blender's cloth settings, settled by the path test."""

    quality: int = 5
    mass: float = 0.2
    tension: float = 5.0
    compression: float = 0.2  # cloth that is in the way gives instead of buckling here or there: no path dependence
    shear: float = 3.0
    bending: float = 40.0
    damping: float = 5.0
    bending_damping: float = 1.0
    air_damping: float = 5.0
    pin_stiffness: float = 20.0  # of the springs that hold vertices pinned by less than 1
    friction: float = 0.0
    thickness: float = 0.004
    distance: float = 0.004
    collision_quality: int = 3
    late_speed: float = 1.5  # time runs faster once the cloth no longer falls, and rests in fewer frames


def to_blender(points: Array) -> Array:
    """SMPL's axes (Y up) to Blender's (Z up)."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


def from_blender(points: Array) -> Array:
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def write_pc2(path: Path, frames: Array) -> None:
    """Write frames [F, V, 3] as a PC2 point cache."""
    content = np.ascontiguousarray(to_blender(frames), "<f4")
    header = b"POINTCACHE2\0" + struct.pack("<iiffi", 1, content.shape[1], 0.0, 1.0, content.shape[0])
    write_whole(path, header + content.tobytes())


def make_collider(body: SkinnedBody, padding: Field | None = None) -> tuple[Mesh, Array]:
    """What the cloth collides with: the body in fewer triangles, without head, hands and feet, which touch no garment.

    Returns the rest mesh and its blend weights [V, J]; `padding` makes it thicker in places (metres).
    """
    far = nearest_side(body, BARE)
    whole = Mesh(body.vertices, body.triangles)
    part, _ = compact(Mesh(whole.vertices, whole.triangles[~far[whole.triangles].all(1)]))
    coarse, _ = remesh(part, np.zeros(len(part.triangles), np.int64), COLLIDER_EDGE)
    thicker = CHORD_LOSS + (padding(coarse.vertices) if padding else np.zeros(len(coarse.vertices)))
    weights = carry_weights(whole, body.blend_weights, coarse.vertices)
    return Mesh(coarse.vertices + thicker[:, None] * vertex_normals(coarse), coarse.triangles), weights


def load_blender(user_folder: str) -> Any:
    """The module bpy, apart from the user's settings and with one thread.

    Blender starts as many threads as it may use cores; of several processes that many would be in each other's way.
    """
    os.environ.setdefault("BLENDER_USER_RESOURCES", user_folder)
    pins = hasattr(os, "sched_setaffinity")  # Linux
    cores = os.sched_getaffinity(0) if pins else set()
    if pins:
        os.sched_setaffinity(0, {min(cores)})
    import bpy

    if pins:
        os.sched_setaffinity(0, cores)
    return bpy


class ClothScene:
    """Blender's scene with the collider and the garment. One a process: it replaces what is open in Blender."""

    def __init__(self, body: SkinnedBody, garment: GarmentMesh, settings: ClothSettings, padding: Field | None = None):
        self.folder = tempfile.TemporaryDirectory(prefix="scale-cloth-")
        bpy = load_blender(self.folder.name)
        self.bpy, self.body, self.garment, self.settings = bpy, body, garment, settings
        self.collider, self.collider_weights = make_collider(body, padding)
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self.scene.render.threads_mode, self.scene.render.threads = "FIXED", 1
        self.scene.frame_start, self.scene.frame_end = 1, LAST_FRAME
        self.collider_object = self._mesh_object("collider", self.collider)
        self.garment_object = self._mesh_object("garment", garment.mesh)
        self._speed_keys: tuple[int, ...] = ()
        self._add_collision()
        self._add_cloth()

    def close(self) -> None:
        self.folder.cleanup()

    def _mesh_object(self, name: str, mesh: Mesh) -> Any:
        data = self.bpy.data.meshes.new(name)
        data.from_pydata(to_blender(mesh.vertices - self.body.joints[0]).tolist(), [], mesh.triangles.tolist())
        data.update()
        item = self.bpy.data.objects.new(name, data)
        self.scene.collection.objects.link(item)
        cache = item.modifiers.new("path", "MESH_CACHE")
        cache.cache_format, cache.interpolation = "PC2", "LINEAR"
        cache.frame_start, cache.forward_axis, cache.up_axis = 1, "POS_Y", "POS_Z"
        return item

    def _add_collision(self) -> None:
        self.collider_object.modifiers.new("collision", "COLLISION")
        collision = self.collider_object.collision
        collision.thickness_outer, collision.thickness_inner = self.settings.thickness, 0.08
        collision.cloth_friction, collision.damping, collision.use_culling = self.settings.friction, 0.1, True

    def _add_cloth(self) -> None:
        item, chosen = self.garment_object, self.settings
        pins, held = item.vertex_groups.new(name="pin"), item.vertex_groups.new(name="held")
        for vertex in np.flatnonzero(self.garment.pin > 0):
            pins.add([int(vertex)], float(self.garment.pin[vertex]), "REPLACE")
        held.add(np.flatnonzero(self.garment.pin >= 0.99).tolist(), 1.0, "REPLACE")
        self._hold_at_first(item)
        self.modifier = item.modifiers.new("cloth", "CLOTH")
        cloth, collision = self.modifier.settings, self.modifier.collision_settings
        cloth.quality, cloth.mass = chosen.quality, chosen.mass
        cloth.vertex_group_mass, cloth.pin_stiffness = "pin", chosen.pin_stiffness
        cloth.air_damping = chosen.air_damping
        cloth.tension_stiffness, cloth.compression_stiffness = chosen.tension, chosen.compression
        cloth.shear_stiffness, cloth.bending_stiffness = chosen.shear, chosen.bending
        cloth.tension_damping = cloth.compression_damping = cloth.shear_damping = chosen.damping
        cloth.bending_damping = chosen.bending_damping
        collision.collision_quality, collision.distance_min = chosen.collision_quality, chosen.distance
        collision.use_self_collision = False
        collision.vertex_group_object_collisions = "held"  # these have nowhere to go
        self.modifier.point_cache.frame_start, self.modifier.point_cache.frame_end = 1, LAST_FRAME

    def _hold_at_first(self, item: Any) -> None:
        """Pin every vertex for the first frames: the springs rest as cut, yet the cloth can start anywhere."""
        hold = item.modifiers.new("hold", "VERTEX_WEIGHT_MIX")
        hold.vertex_group_a, hold.mix_set, hold.mix_mode, hold.default_weight_b = "pin", "ALL", "SET", 1.0
        for frame, share in ((1, 1.0), (HELD_FRAMES, 1.0), (HELD_FRAMES + 1, 0.0)):
            hold.mask_constant = share
            hold.keyframe_insert("mask_constant", frame=frame)

    def _hurry_after(self, frame: int) -> None:
        """Keyframe the speed of time: as it is until the frame, then faster."""
        cloth = self.modifier.settings
        for key in self._speed_keys:
            cloth.keyframe_delete("time_scale", frame=key)
        self._speed_keys = (1, frame, frame + HURRY_FRAMES)
        for key, speed in zip(self._speed_keys, (1.0, 1.0, self.settings.late_speed), strict=True):
            cloth.time_scale = speed
            cloth.keyframe_insert("time_scale", frame=key)

    def run(self, poses: Array, start: Array | None = None) -> Iterator[Array]:
        """Simulate along poses [F, J, 3], and on with the last pose for as long as the caller goes on asking.

        The cloth starts at `start` [V, 3] or as the first pose skins it, at rest. Yields its vertices [V, 3] after
        each frame. The pelvis joint is the origin.
        """
        garment = self.garment
        driven = np.stack([self.skinned_garment(pose) for pose in poses])
        colliding = np.stack([self._skinned_collider(pose) for pose in poses])
        first = driven[0] if start is None else np.where(garment.pin[:, None] >= 1, driven[0], start)
        rest = garment.mesh.vertices - self.body.joints[0]
        driven = np.concatenate([rest[None], np.repeat(first[None], HELD_FRAMES - 1, 0), driven])
        colliding = np.concatenate([np.repeat(colliding[:1], HELD_FRAMES, 0), colliding])
        for item, frames in ((self.collider_object, colliding), (self.garment_object, driven)):
            path = Path(self.folder.name) / f"{item.name}.pc2"
            write_pc2(path, frames)
            item.modifiers["path"].filepath = str(path)
        self._hurry_after(len(driven) + HURRY_FRAMES)
        for frame in range(1, LAST_FRAME + 1):
            self.scene.frame_set(frame)
            if frame > HELD_FRAMES:
                yield self._read(len(garment.mesh.vertices))

    def skinned_garment(self, pose: Array) -> Array:
        """The garment [V, 3] as a pose [J, 3] skins it; the more it is pinned, the more of the skin's correctives."""
        garment = self.garment
        moved = garment.pin[:, None] * self._correctives(pose, garment.mesh.vertices)
        return skin(self.body, pose, garment.mesh.vertices + moved, garment.blend_weights)

    def _skinned_collider(self, pose: Array) -> Array:
        vertices = self.collider.vertices
        return skin(self.body, pose, vertices + self._correctives(pose, vertices), self.collider_weights)

    def _correctives(self, pose: Array, points: Array) -> Array:
        """How far the pose's correctives move the skin at rest points [N, 3]."""
        if self.body.pose_components is None:
            return np.zeros_like(points)
        return carry_weights(Mesh(self.body.vertices, self.body.triangles), correctives(self.body, pose), points)

    def _read(self, count: int) -> Array:
        evaluated = self.garment_object.evaluated_get(self.bpy.context.evaluated_depsgraph_get())
        mesh = evaluated.to_mesh()
        buffer = np.empty(count * 3, np.float32)
        mesh.attributes["position"].data.foreach_get("vector", buffer)
        evaluated.to_mesh_clear()
        return from_blender(buffer.reshape(count, 3).astype(np.float64))
