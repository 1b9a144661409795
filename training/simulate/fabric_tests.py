"""The laboratory's tests of cloth, simulated: the cantilever (ASTM D1388) and Cusick's drape (BS EN ISO 9073-9).

Both say how cloth bends under its own weight, so neither knows about kilograms: the bending length is the cube root of
bending rigidity over weight, the drape coefficient follows from it. Lengths in metres, angles in radians.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from .fabrics import Fabric
from .mesh_tools import Array, Index, Mesh, border_vertices
from .moving_cloth import Contact, Forces, simulate

STRIP_WIDTH = 0.10  # wider than the standard's 25 mm, or the two borders would be most of it at a garment's edge length
GOLDEN = 0.618  # of a turn, from ring to ring
LEAST_EDGES = 4  # that hang over, however limp the cloth
DISC, SUPPORT = 0.15, 0.09  # radii: 30 cm of cloth on a support of 18 cm
SETTLE = 100  # frames until cloth rests
CALMING = 10.0  # air damping, Blender's most: what is measured is at rest, where it does nothing
DIRECTIONS = 360  # in which the shadow is measured


@dataclass(frozen=True)
class Drape:
    """What Cusick's test says."""

    coefficient: float  # (shadow - support) / (cloth - support)
    folds: int


def flat(points: Array) -> Mesh:
    """Points [V, 2] in the horizontal plane, joined to a mesh without slivers at its border."""
    triangles = Delaunay(points).simplices.astype(np.int64)
    corners = points[triangles]
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = 0.5 * np.abs(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0])
    x, z = points.T
    return Mesh(np.stack([x, np.zeros_like(x), z], 1), triangles[area > 0.1 * np.median(area)])


def strip(length: float, edge_length: float) -> Mesh:
    """A strip from x = -2 edges to the length, in rows of even triangles; it is clamped up to x = 0."""
    columns = round(length / edge_length)
    across = max(2, round(STRIP_WIDTH / (edge_length * np.sqrt(0.75))))
    step = length / columns
    along = np.arange(-2, columns + 1) * step
    points = []
    for row in range(across + 1):
        shifted = along + 0.5 * step * ((row % 2) & (along > 0) & (along < length))
        points += [(x, STRIP_WIDTH * row / across) for x in shifted]
    kept = [(x, z) for x, z in points if x <= length]
    return flat(np.array(kept))


def disc(edge_length: float) -> Mesh:
    """A disc in rings that are turned against each other, so that no direction is better to fold along."""
    count = round(DISC / edge_length)
    rings = [np.zeros((1, 2))]
    for ring in range(1, count + 1):
        around = round(2 * np.pi * ring)
        angle = 2 * np.pi * (np.arange(around) / around + ring * GOLDEN)
        rings.append(DISC * ring / count * np.stack([np.cos(angle), np.sin(angle)], 1))
    return flat(np.concatenate(rings))


def at_rest(mesh: Mesh, pinned: NDArray[np.bool_], fabric: Fabric, substeps: int = 1) -> Array:
    """Where flat cloth [V, 3] that is held at some vertices comes to hang."""
    still = np.broadcast_to(mesh.vertices, (SETTLE, *mesh.vertices.shape))
    calm = replace(fabric, air_damping=CALMING)
    *_, last = simulate(mesh, pinned, still, calm, None, Contact(itself=False), Forces(substeps=substeps))
    return last


def bending_length(fabric: Fabric, edge_length: float, overhang: float) -> float:
    """The bending length from a strip that hangs over an edge, by Peirce's formula (1930).

    The standard slides the strip on until its tip has sunk by 41.5 degrees; the formula takes any angle, and is at its
    best when the overhang is about twice what it returns.
    """
    mesh = strip(overhang, edge_length)
    tip = mesh.vertices[:, 0] > mesh.vertices[:, 0].max() - 0.1 * edge_length
    end = at_rest(mesh, mesh.vertices[:, 0] < 1e-6, fabric)[tip].mean(0)
    sunk = np.clip(np.arctan2(-end[1], end[0]), 1e-3, 0.5 * np.pi - 1e-3)
    return float(overhang * (np.cos(0.5 * sunk) / (8 * np.tan(sunk))) ** (1 / 3))


def cantilever(fabric: Fabric, edge_length: float) -> float:
    """The bending length, with an overhang that suits it."""
    length = 0.02
    for _ in range(3):
        length = bending_length(fabric, edge_length, max(2 * length, LEAST_EDGES * edge_length))
    return length


def cusick(fabric: Fabric, edge_length: float) -> Drape:
    """The drape of a disc whose middle is clamped between two plates."""
    mesh = disc(edge_length)
    held = np.linalg.norm(mesh.vertices, axis=1) < SUPPORT + 1e-6
    hanging = at_rest(mesh, held, fabric)
    radius = shadow_radius(hanging, mesh.triangles)
    shadow = 0.5 * (radius**2).sum() * 2 * np.pi / DIRECTIONS
    support, cloth = np.pi * SUPPORT**2, np.pi * DISC**2
    return Drape(float((shadow - support) / (cloth - support)), count_folds(hanging, mesh.triangles))


def shadow_radius(vertices: Array, triangles: Index) -> Array:
    """How far the shadow reaches [DIRECTIONS] when light falls from above, from the middle."""
    shares = np.linspace(0, 1, 40)
    along = [
        vertices[triangles[:, i]][:, None] * (1 - shares[:, None])
        + vertices[triangles[:, (i + 1) % 3]][:, None] * shares[:, None]
        for i in range(3)
    ]
    points = np.concatenate([part.reshape(-1, 3) for part in along])
    place = np.round(np.arctan2(points[:, 2], points[:, 0]) / (2 * np.pi) * DIRECTIONS).astype(int) % DIRECTIONS
    radius = np.full(DIRECTIONS, SUPPORT)
    np.maximum.at(radius, place, np.hypot(points[:, 0], points[:, 2]))
    return radius


def count_folds(vertices: Array, triangles: Index) -> int:
    """How many waves the hem makes: the strongest frequency of its height round the disc."""
    hem = vertices[border_vertices(triangles, len(vertices))]
    angle = np.arctan2(hem[:, 2], hem[:, 0])
    order = np.argsort(angle)
    around = np.linspace(-np.pi, np.pi, 256, endpoint=False)
    height = np.interp(around, angle[order], hem[order, 1], period=2 * np.pi)
    return int(np.abs(np.fft.rfft(height - height.mean()))[1:20].argmax()) + 1
