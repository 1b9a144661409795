"""A blouse with short sleeves, tucked into a wide skirt: one mesh, sewn together at the waistband."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .dress import MIDDLE
from .garment_parts import GarmentMesh, Pieces, body_part, finish
from .mesh_tools import Array, Mesh, border_loops, smoothstep
from .skinning import SkinnedBody
from .tee_trousers import ARMHOLE, sleeve_field, tee_front

WAIST = -0.045  # height in the rest pose, metres
SLEEVE_END = 0.29  # |x|
SKIRT = 0.58  # from the waistband to the hem along the cloth
OPENING = np.radians(50)  # from the vertical: three quarters of a circle when it lies flat
ROWS = 20
PANELS = (
    "blouse front",
    "blouse back",
    "left sleeve front",
    "left sleeve back",
    "right sleeve front",
    "right sleeve back",
    "skirt front",
    "skirt back",
)
REGIONS = ("blouse", "sleeves", "upper skirt", "lower skirt")


def blouse_field(points: Array) -> Array:
    """Positive where the blouse is: above the waist, inside the sleeve ends, below a round neckline."""
    x, y, z = points.T
    depth = 0.045 + 0.050 * smoothstep(z, 0.03, 0.10)
    neckline = (np.hypot(x / 0.090, (y - 0.305) / depth) - 1) * 0.07
    neckline = np.where(y > 0.305, np.minimum(neckline, np.abs(x) - 0.090), neckline)
    return np.minimum(np.minimum(SLEEVE_END - np.abs(x), neckline), y - WAIST)


def looseness(points: Array) -> Array:
    """How far off the body the blouse is cut [V]: close at the waistband, wide at the sleeve ends."""
    return 0.009 + 0.008 * smoothstep(points[:, 1], WAIST, 0.10) + 0.006 * smoothstep(np.abs(points[:, 0]), 0.18, 0.28)


def make_skirt_blouse(body: SkinnedBody, edge_length: float) -> GarmentMesh:
    """Cut the blouse from the body and sew the skirt to its waist; about 7,500 vertices at 16 mm."""
    blouse = body_part(body, blouse_field, (0.0, 0.1, 0.17), looseness)
    loop = min(border_loops(blouse.triangles), key=lambda loop: blouse.vertices[loop][:, 1].mean())
    skirt = _skirt(blouse, loop)
    mesh = Mesh(np.concatenate([blouse.vertices, skirt.vertices]), np.concatenate([blouse.triangles, skirt.triangles]))
    in_skirt = np.arange(len(mesh.triangles)) >= len(blouse.triangles)
    pieces = Pieces(mesh, np.where(in_skirt, 6, 0))
    for side, number in ((1, 2), (-1, 4)):
        pieces = _divided_above(pieces, side, number)
    pieces = pieces.divided(_front(pieces.mesh.vertices), 1)
    mesh, panel, weights = finish(
        body,
        pieces,
        edge_length,
        clearance=lambda points: np.full(len(points), 0.008),
        rounds=4,
        diffusion=lambda points: smoothstep(points[:, 1], WAIST, WAIST - 0.15),
    )
    height = mesh.vertices[:, 1]
    sleeve = sleeve_field(mesh.vertices * np.where(mesh.vertices[:, :1] < 0, [-1, 1, 1], 1), 1) > 0
    hem = WAIST - SKIRT * np.cos(OPENING)
    region = np.where(height > WAIST, np.where(sleeve, 1, 0), np.where(height > (WAIST + hem) / 2, 2, 3))
    return GarmentMesh(
        "skirt-blouse", mesh, panel, PANELS, region, REGIONS, (np.abs(height - WAIST) < 0.02).astype(float), weights
    )


def _divided_above(pieces: Pieces, side: int, panel: int) -> Pieces:
    """Cut a sleeve off the blouse; the skirt, as wide and far below, stays whole."""
    points = pieces.mesh.vertices
    return pieces.divided(np.maximum(ARMHOLE - side * points[:, 0], 0.05 - points[:, 1]), panel)


def _front(points: Array) -> Array:
    """Positive in front of the side seams: the blouse's own above the waist, the skirt's middle below."""
    below = smoothstep(points[:, 1], WAIST + 0.05, WAIST)
    return tee_front(points) * (1 - below) + (points[:, 2] - MIDDLE[1]) * below


def _skirt(blouse: Mesh, loop: np.ndarray) -> Mesh:
    """Rings from the waist loop to the hem: a wide cone. Its first ring is the loop's vertices."""
    waist = blouse.vertices[loop]
    x, z = waist[:, 0] - MIDDLE[0], waist[:, 2] - MIDDLE[1]
    angle, radius = np.unwrap(np.arctan2(x, z)), np.hypot(x, z)
    turn = np.sign(angle[-1] - angle[0])
    even = np.linspace(angle[0], angle[0] + turn * 2 * np.pi, len(angle), endpoint=False)
    even += (angle - even).mean()
    rings = []
    for share in np.arange(1, ROWS + 1) / ROWS:
        around = angle + (even - angle) * min(1, 4 * share)
        ring = radius + (radius.mean() - radius) * min(1, 2 * share) + share * SKIRT * np.sin(OPENING)
        height = np.full(len(ring), waist[:, 1].mean() - share * SKIRT * np.cos(OPENING))
        rings.append(np.stack([MIDDLE[0] + ring * np.sin(around), height, MIDDLE[1] + ring * np.cos(around)], 1))
    index = [loop, *(np.arange(len(loop)) + len(blouse.vertices) + row * len(loop) for row in range(ROWS))]
    triangles = []
    for upper, lower in pairwise(index):
        upper_next, lower_next = np.roll(upper, -1), np.roll(lower, -1)
        triangles += [np.stack([upper_next, upper, lower], 1), np.stack([upper_next, lower, lower_next], 1)]
    return Mesh(np.concatenate(rings), np.concatenate(triangles))
