"""UV charts of a garment: each panel fills a rectangle, and the rectangles tile the whole square."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scale_backend.formats.errors import UserError
from training.carriers.rectangle_map import Array, Distortion, Index, border_loop, map_to_rectangle
from training.carriers.square_tiling import tile_square

UP = np.array([0.0, 1.0, 0.0])
DENT = 0.2  # of a pixel: less than half, so that no pixel centre on the border is lost
TURN_SCORE = 0.6  # what a right angle in the border counts, against half of the panel's width or height
TURN_REACH = 0.04  # of the border's length: turns nearer than this add up to one corner
DISTORTION = Distortion(shape=0.25, area=6.0)


@dataclass(frozen=True)
class Panel:
    """A topological disk with the four border vertices that become the corners of its rectangle."""

    origin: Index  # [V] the garment's vertices
    vertices: Array  # [V, 3]
    triangles: Index  # [T, 3] into `vertices`
    corners: list[int]  # counter-clockwise from the lower left
    area: float
    aspect: float  # width / height


def pack_panels(
    vertices: NDArray,  # [V, 3]
    triangles: NDArray,  # [T, 3]
    panel: NDArray,  # [T]
    size: int = 32,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:  # uv [U, 2], uv_triangles [T, 3]
    """Chart every panel and tile the unit square with the charts, their edges on the 1/size grid.

    The garment's up is +v, and u runs to the right as seen from outside. Raises UserError for a panel that is not
    a disk.
    """
    vertices, triangles = np.asarray(vertices, np.float64), np.asarray(triangles, np.int64)
    numbers = np.unique(panel)
    pieces = [cut_panel(vertices, triangles[panel == number]) for number in numbers]
    rectangles = tile_square([piece.area for piece in pieces], [piece.aspect for piece in pieces], size)
    uv, uv_triangles, used = [], np.zeros_like(triangles), 0
    for number, piece, (left, low, width, height) in zip(numbers, pieces, rectangles, strict=True):
        flat = map_to_rectangle(piece.vertices, piece.triangles, piece.corners, width, height, DISTORTION, DENT)
        uv.append((flat + np.array([left, low])) / size)
        uv_triangles[panel == number] = piece.triangles + used
        used += len(flat)
    return np.concatenate(uv).astype(np.float32), uv_triangles.astype(np.int32)


def cut_panel(vertices: Array, triangles: Index) -> Panel:
    """One panel with its own vertices and corners."""
    origin, local = np.unique(triangles, return_inverse=True)
    local, positions = local.reshape(-1, 3), vertices[origin]
    a, b, c = (positions[local[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a) / 2
    loop = border_loop(local)
    corners = choose_corners(positions[loop], normals.sum(0), turning(positions, local, loop))
    around = np.linalg.norm(np.diff(positions[loop + loop[:1]], axis=0), axis=1)
    lengths = [np.roll(around, -start)[: (end - start) % len(loop)].sum()
               for start, end in zip(corners, corners[1:] + corners[:1], strict=True)]  # fmt: skip
    aspect = (lengths[0] + lengths[2]) / (lengths[1] + lengths[3])
    area = float(np.linalg.norm(normals, axis=1).sum())
    return Panel(origin, positions, local, [loop[corner] for corner in corners], area, float(aspect))


def choose_corners(border: Array, outward: Array, turn: Array) -> list[int]:  # [B, 3], [3], [B] -> 4 places
    """The places of a closed border that look most like a rectangle's corners: far out to a side and up or down,
    where the border turns. Counter-clockwise from the lower left, as seen from outside.

    Raises UserError if four such places do not follow each other.
    """
    outward = outward / np.linalg.norm(outward)
    right = np.cross(UP, outward)
    if np.linalg.norm(right) < 0.1:  # a panel that lies flat
        right = np.array([1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    flat = border @ np.stack([right, np.cross(outward, right)], 1)
    low, high = flat.min(0), flat.max(0)
    flat = 2 * (flat - low) / (high - low) - 1  # [-1, 1] both ways
    scores = [flat @ (x, y) + TURN_SCORE * turn for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    corners = [int(score.argmax()) for score in scores]
    steps = np.diff([*corners, corners[0]]) % len(border)
    if steps.min() == 0 or steps.sum() != len(border):
        raise UserError("A panel has no four corners: its outline is too far from a rectangle. Cut it in two.")
    return corners


def turning(vertices: Array, triangles: Index, loop: list[int]) -> Array:  # [B] 1: a right angle
    """How far the border turns around each of its places, measured in the surface (its geodesic curvature)."""
    angles = np.zeros(len(vertices))
    for k in range(3):
        here, one, two = (vertices[triangles[:, (k + i) % 3]] for i in range(3))
        one, two = one - here, two - here
        cosine = (one * two).sum(1) / np.maximum(np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1), 1e-20)
        np.add.at(angles, triangles[:, k], np.arccos(np.clip(cosine, -1, 1)))
    turn = (np.pi - angles[loop]) / (np.pi / 2)
    points = vertices[loop]
    places = np.cumsum(np.linalg.norm(points - np.roll(points, 1, 0), axis=1))
    apart = np.abs(places[:, None] - places)
    apart = np.minimum(apart, places[-1] - apart)
    reach = TURN_REACH * places[-1]
    return np.clip(1 - apart / reach, 0, None) @ turn
