"""A sleeveless dress: fitted bodice, seam at the waist, knee-length flared skirt."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .garment_parts import GarmentMesh, Pieces, body_part, finish, nearest_side
from .mesh_tools import Array, Mesh, border_loops, border_vertices, smooth, smoothstep
from .skinning import SkinnedBody

WAIST, HEM = -0.04, -0.64  # heights in the rest pose, metres
HEM_RADIUS = 0.26
MIDDLE = (0.0, 0.065)  # x, z of the axis of the skirt at the waist
ROWS = 14
SKIRT_PIN = 0.1  # soft: of two folds that would do, the cloth takes the same one every time
PANELS = ("bodice front", "bodice back", "skirt front", "skirt back")
REGIONS = ("bodice", "waist", "upper skirt", "lower skirt")


def bodice_field(points: Array) -> Array:
    """Positive where the bodice is: above the waist, between the armholes, below the neckline."""
    x, y, z = points.T
    across = np.abs(x)
    armhole = 0.166 + 0.016 * smoothstep(y, 0.26, 0.12) - across
    depth = 0.055 + 0.060 * smoothstep(z, 0.03, 0.10)  # the neckline is lower in front
    neckline = (np.hypot(x / 0.092, (y - 0.315) / depth) - 1) * 0.07
    neckline = np.where(y > 0.315, np.minimum(neckline, across - 0.092), neckline)
    return np.minimum(np.minimum(armhole, neckline), y - WAIST)


def front_field(points: Array) -> Array:
    """Positive in front of the side seams."""
    middle = 0.068 - 0.026 * smoothstep(points[:, 1], 0.08, 0.22)
    return points[:, 2] - middle


def make_dress(body: SkinnedBody, edge_length: float) -> GarmentMesh:
    """Cut the bodice from the body, hang the skirt on its waist; about 3,000 vertices at 20 mm."""
    bodice = body_part(body, bodice_field, (0.0, 0.1, 0.17), lambda points: np.full(len(points), 0.010))
    loop = min(border_loops(bodice.triangles), key=lambda loop: bodice.vertices[loop][:, 1].mean())
    skirt = _skirt(bodice, loop, body)
    mesh = Mesh(np.concatenate([bodice.vertices, skirt.vertices]), np.concatenate([bodice.triangles, skirt.triangles]))
    in_skirt = np.arange(len(mesh.triangles)) >= len(bodice.triangles)
    blend = smoothstep(mesh.vertices[:, 1], WAIST - 0.22, WAIST) * smoothstep(mesh.vertices[:, 1], WAIST + 0.08, WAIST)
    blend = np.where(border_vertices(mesh.triangles, len(mesh.vertices)), 0, blend)
    mesh = Mesh(smooth(mesh.vertices, mesh.triangles, 4, 0.5 * blend), mesh.triangles)
    pieces = Pieces(mesh, np.where(in_skirt, 2, 0)).divided(front_field(mesh.vertices), 1)
    mesh, panel, weights = finish(
        body,
        pieces,
        edge_length,
        clearance=lambda points: np.full(len(points), 0.008),
        diffusion=lambda points: smoothstep(points[:, 1], WAIST, WAIST - 0.25),
    )
    height = mesh.vertices[:, 1]
    region = np.digitize(-height, [-0.04, -WAIST, -(WAIST + HEM) / 2])
    pin = np.maximum(smoothstep(height, 0.0, 0.10), SKIRT_PIN)
    return GarmentMesh("dress", mesh, panel, PANELS, region, REGIONS, pin, weights)


def _skirt(bodice: Mesh, loop: np.ndarray, body: SkinnedBody) -> Mesh:
    """Rings from the waist loop to the hem: a cone, wide enough for the hips. Its first ring is the loop's vertices."""
    waist = bodice.vertices[loop]
    angle = np.unwrap(np.arctan2(waist[:, 0] - MIDDLE[0], waist[:, 2] - MIDDLE[1]))
    turn = np.sign(angle[-1] - angle[0])
    even = np.linspace(angle[0], angle[0] + turn * 2 * np.pi, len(angle), endpoint=False)
    even += (angle - even).mean()
    radius = np.hypot(waist[:, 0] - MIDDLE[0], waist[:, 2] - MIDDLE[1])
    hips = body.vertices[nearest_side(body, ("pelvis", "spine1", "spine2", "left_hip", "right_hip"))]
    rings = []
    for share in np.arange(1, ROWS + 1) / ROWS:
        height = WAIST + (HEM - WAIST) * share
        around = angle + (even - angle) * min(1, 3 * share)
        outward = np.stack([np.sin(around), np.cos(around)], 1)
        level = hips[np.abs(hips[:, 1] - height) < 0.03][:, [0, 2]] - MIDDLE
        support = (outward @ level.T).max(1) if len(level) else np.zeros(len(around))
        cone = radius + (radius.mean() - radius) * min(1, 2 * share)
        ring = np.maximum(cone * (1 - share) + HEM_RADIUS * share, support + 0.012)
        depth = MIDDLE[1] * (1 - 0.5 * share)
        rings.append(
            np.stack([MIDDLE[0] + ring * outward[:, 0], np.full(len(ring), height), depth + ring * outward[:, 1]], 1)
        )
    start = len(bodice.vertices)
    index = [loop, *(np.arange(len(loop)) + start + ring * len(loop) for ring in range(ROWS))]
    triangles = []
    for upper, lower in pairwise(index):
        upper_next, lower_next = np.roll(upper, -1), np.roll(lower, -1)
        triangles += [np.stack([upper_next, upper, lower], 1), np.stack([upper_next, lower, lower_next], 1)]
    return Mesh(np.concatenate(rings), np.concatenate(triangles))
