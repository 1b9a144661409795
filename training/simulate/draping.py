"""How a pose is reached, the same for training and test: the cloth starts skinned and falls to rest.

The body stands in the pose from the first frame. The cloth starts as the garment's smoothly spread blend weights put
it, moved clear of the body, at rest, with springs as long as it was cut; then it is held until it rests or only
trembles. So what it becomes is a function of the pose, and no limb ever sweeps through it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

import numpy as np

from .cloth import ClothScene
from .mesh_tools import Array, ClosedSurface, Index, Mesh, neighbour_average, smoothstep
from .skinning import SkinnedBody, skin_body

CLEARANCE = 0.006  # metres off the body at the start
SKIN_GAP = 0.002  # metres off the body at the end, where smoothing or a deep crease has put cloth closer
REST_SPEED = 0.5e-3  # metres a frame, mean over the free vertices: the cloth rests
AVERAGED_FRAMES = 8  # the result is the mean of the last ones: contact makes resting cloth tremble a little
LEAST_FRAMES = 14
SMOOTHING_ROUNDS = 6
FREE_BELOW = 0.5  # vertices pinned by less count as free


@dataclass(frozen=True, eq=False)
class Drape:
    """Cloth at rest in a pose."""

    vertices: Array  # [V, 3] metres, pelvis joint at the origin
    speed: float  # metres a frame, mean over the free vertices, at the end
    inside: float  # share of the vertices inside the body
    frames: int


def body_surface(body: SkinnedBody, pose: Array) -> ClosedSurface:
    return ClosedSurface(Mesh(skin_body(body, pose), body.triangles))


def skinned_clear(scene: ClothScene, pose: Array, surface: ClosedSurface) -> Array:
    return surface.keep_clear(scene.skinned_garment(pose), CLEARANCE)


def drape(scene: ClothScene, pose: Array, most_frames: int) -> Drape:
    """Let the cloth fall to rest on a pose [J, 3]."""
    surface = body_surface(scene.body, pose)
    return _rest(scene, np.stack([pose, pose]), skinned_clear(scene, pose, surface), surface, most_frames)


def drape_through(
    scene: ClothScene, first: Array, pose: Array, most_frames: int, hold: int = 12, way: int = 24
) -> Drape:
    """Reach the pose another way, for the path test: rest on a first pose, then move from there."""
    share = smoothstep(np.arange(1, way + 1) / way, 0, 1)[:, None, None]
    poses = np.concatenate([np.repeat(first[None], hold, 0), first + share * (pose - first)])
    start = skinned_clear(scene, first, body_surface(scene.body, first))
    return _rest(scene, poses, start, body_surface(scene.body, pose), len(poses) + most_frames, len(poses))


def _rest(
    scene: ClothScene, poses: Array, start: Array, surface: ClosedSurface, most_frames: int, moving: int = 0
) -> Drape:
    free = scene.garment.pin < FREE_BELOW
    last, speed = deque([start], AVERAGED_FRAMES), np.inf
    for count, vertices in enumerate(islice(scene.run(poses, start), most_frames), 1):
        speed = float(np.linalg.norm(vertices - last[-1], axis=1)[free].mean())
        last.append(vertices)
        if count >= moving + LEAST_FRAMES and speed < REST_SPEED:
            break
    if not np.isfinite(last[-1]).all():
        return Drape(last[-1], np.inf, 1.0, count)
    calm = without_crumples(np.mean(last, 0), scene.garment.mesh.triangles)
    calm = surface.keep_clear(calm, SKIN_GAP, 2)
    return Drape(calm, speed, float((surface.distance(calm)[0] < 0).mean()), count)


def without_crumples(vertices: Array, triangles: Index) -> Array:
    """Take out creases as small as the triangles, which say more about the mesh than about the cloth, without
    shrinking the rest (Taubin 1995)."""
    average = neighbour_average(triangles, len(vertices))
    for _ in range(SMOOTHING_ROUNDS):
        for amount in (0.5, -0.53):
            vertices = vertices + amount * (average @ vertices - vertices)
    return vertices
