"""Which skin a scanner would see on a clothed body. numpy and a k-d tree, deterministic.

A ring of distant cameras looks at the person, as in a scan rig. A body vertex is visible if at least two of them see it
unobstructed and no cloth lies closely over it. Depth maps alone cannot tell skin from the cloth 8 mm above it, so
close cover is found exactly, by short rays; depth maps settle the rest (a leg behind a skirt).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from training.geometry.surface_distance import sample_surface, vertex_normals

AZIMUTHS, ELEVATIONS = 12, (-15.0, 15.0, 45.0)  # degrees
PIXEL = 0.015  # metres
BEHIND = 0.05  # metres behind the frontmost surface at which a point counts as obstructed
COVER = 0.06  # metres: reach of the rays that look for cloth above the skin
CANDIDATES = (32, 256)  # triangles looked at for each of those rays: at least, at most
FOOTPRINT = 2.5e-3  # square metres of cloth that those triangles should make up
SURFACE_SAMPLES = 40_000
RAY_TILT = 0.4  # of the four tilted rays, sideways per unit forwards
SEEN_BY = 2


def visible_skin(
    body: np.ndarray,  # [V, 3] posed
    body_triangles: np.ndarray,  # [T, 3]
    cloth: np.ndarray,  # [C, 3]
    cloth_triangles: np.ndarray,  # [K, 3]
) -> np.ndarray:  # [V] bool
    normals = vertex_normals(body, body_triangles)
    return seen_from_ring(body, normals, body_triangles, cloth, cloth_triangles) & ~covered(
        body, normals, cloth, cloth_triangles
    )


def camera_directions() -> np.ndarray:  # [C, 3] from the person to the camera
    azimuth = np.deg2rad(np.arange(AZIMUTHS) * 360 / AZIMUTHS)
    rows = [
        np.stack([np.cos(e) * np.sin(azimuth), np.full(AZIMUTHS, np.sin(e)), np.cos(e) * np.cos(azimuth)], 1)
        for e in np.deg2rad(ELEVATIONS)
    ]
    return np.concatenate(rows)


def seen_from_ring(
    body: np.ndarray, normals: np.ndarray, body_triangles: np.ndarray, cloth: np.ndarray, cloth_triangles: np.ndarray
) -> np.ndarray:  # [V] bool
    """By orthographic depth maps of dense samples of both surfaces."""
    half = SURFACE_SAMPLES // 2
    on_cloth = sample_surface(cloth, cloth_triangles, half)
    on_body = sample_surface(body, body_triangles, half)
    samples = np.concatenate([on_cloth.on(cloth, cloth_triangles), on_body.on(body, body_triangles)])
    seen = np.zeros(len(body), np.int64)
    for direction in camera_directions():
        right = np.cross([0.0, 1.0, 0.0], direction)
        right /= np.linalg.norm(right)
        up = np.cross(direction, right)
        axes = np.stack([right, up], 1)
        low = samples @ axes
        origin = low.min(0)
        cells = ((low - origin) / PIXEL).astype(np.int64)
        size = cells.max(0) + 1
        depth = np.full(size[0] * size[1], -np.inf)
        np.maximum.at(depth, cells[:, 0] * size[1] + cells[:, 1], samples @ direction)
        at = np.clip(((body @ axes - origin) / PIXEL).astype(np.int64), 0, size - 1)
        front = depth[at[:, 0] * size[1] + at[:, 1]]
        seen += (body @ direction > front - BEHIND) & (normals @ direction > 0.3)
    return seen >= SEEN_BY


def covered(body: np.ndarray, normals: np.ndarray, cloth: np.ndarray, cloth_triangles: np.ndarray) -> np.ndarray:
    """Vertices over which most of five short outward rays meet cloth; [V] bool."""
    corners = cloth[cloth_triangles].astype(np.float64)  # [K, 3, 3]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    count = min(len(corners), int(np.clip(FOOTPRINT / area.mean(), *CANDIDATES)))
    found_near = cKDTree(corners.mean(1)).query(body, count, distance_upper_bound=0.1)
    distance, near = (values.reshape(len(body), count) for values in found_near)
    reach = np.flatnonzero(np.isfinite(distance[:, 0]))
    result = np.zeros(len(body), bool)
    if not len(reach):
        return result
    found = np.isfinite(distance[reach])
    triangles = corners[np.minimum(near[reach], len(corners) - 1)]  # [R, C, 3, 3]
    normal = normals[reach]
    side = np.cross(normal, np.where(np.abs(normal[:, :1]) < 0.7, [[1.0, 0, 0]], [[0, 1.0, 0]]))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(normal, side)
    hits = np.zeros(len(reach), np.int64)
    for a, b in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
        ray = normal + RAY_TILT * (a * side + b * other)
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        # from a little below the skin, so that cloth that lies on it or just under it counts
        start = body[reach] - 0.01 * normal
        hits += (ray_hits(start, ray, triangles, COVER) & found).any(1)
    result[reach] = hits >= 3
    return result


def ray_hits(start: np.ndarray, ray: np.ndarray, triangles: np.ndarray, reach: float) -> np.ndarray:
    """Whether each ray [R, 3] meets each of its own triangles [R, C, 3, 3] within reach; [R, C] bool (Möller,
    Trumbore 1997)."""
    e1, e2 = triangles[:, :, 1] - triangles[:, :, 0], triangles[:, :, 2] - triangles[:, :, 0]
    ray = np.broadcast_to(ray[:, None], e1.shape)
    p = np.cross(ray, e2)
    determinant = (e1 * p).sum(-1)
    safe = np.where(np.abs(determinant) < 1e-15, np.inf, determinant)
    offset = start[:, None] - triangles[:, :, 0]
    u = (offset * p).sum(-1) / safe
    q = np.cross(offset, e1)
    v = (ray * q).sum(-1) / safe
    t = (e2 * q).sum(-1) / safe
    return (u >= 0) & (v >= 0) & (u + v <= 1) & (t >= 0) & (t <= reach) & np.isfinite(safe)
