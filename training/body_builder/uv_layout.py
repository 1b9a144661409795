"""The body's UV layout: fifteen rectangles that tile the unit square on the 1/32 grid; left and right are mirrored."""

from __future__ import annotations

import numpy as np

from scale_backend.formats.errors import UserError
from training.body_builder.makehuman import Array, Index
from training.body_builder.parts import BodySurface, Parts
from training.body_builder.seams import Seams, part_borders
from training.body_builder.topology import edge_faces
from training.carriers.rectangle_map import border_loop, map_to_rectangle

GRID = 32
RECTANGLES = {  # left, low, right, high; the left side of the body is the right half of the square
    "torso back": (10, 0, 22, 13),
    "torso front": (10, 13, 22, 25),
    "head": (10, 25, 22, 32),
    "left leg": (22, 6, 32, 24),
    "left arm": (22, 24, 32, 32),
    "left foot inner": (22, 2, 27, 6),
    "left foot outer": (27, 2, 32, 6),
    "left hand back": (22, 0, 27, 2),
    "left hand palm": (27, 0, 32, 2),
}
HAIR_HEIGHT = 0.085  # metres over the head joint: the upper corners of the head's chart
NOT = 1e3  # a score that is out of the question


def lay_out(surface: BodySurface, parts: Parts, seams: Seams) -> tuple[Array, Index]:
    """UV vertices [U, 2] and triangles [T, 3]. Raises UserError if a part is not a disk with four corners."""
    uv_triangles, vertex_of = split_at_seams(surface.triangles, seams)
    uv, borders = np.full((len(vertex_of), 2), np.nan), part_borders(surface.triangles, parts)
    for part, (left, low, right, high) in RECTANGLES.items():
        used, triangles = np.unique(uv_triangles[parts == part], return_inverse=True)
        triangles = triangles.reshape(-1, 3)
        loop = np.array(border_loop(triangles))
        vertices = vertex_of[used[loop]]
        corners = _Corners(surface, borders, seams, part, vertices).found()
        flat = map_to_rectangle(surface.vertices[vertex_of[used]], triangles, loop[corners].tolist(),
                                right - left, high - low)  # fmt: skip
        uv[used] = (flat + np.array([left, low])) / GRID
    _mirror_right(surface, parts, uv_triangles, uv)
    return uv, uv_triangles


def split_at_seams(triangles: Index, seams: Seams) -> tuple[Index, Index]:
    """Triangles [T, 3] over vertices that seams divide, and the vertex [U] that each of those comes from."""
    leader = list(range(triangles.size))

    def find(corner: int) -> int:
        while leader[corner] != corner:
            leader[corner] = leader[leader[corner]]
            corner = leader[corner]
        return corner

    corners = triangles.tolist()
    for pair, (p, q) in edge_faces(triangles).items():
        if pair not in seams.edges:
            for vertex in pair:
                leader[find(3 * p + corners[p].index(vertex))] = find(3 * q + corners[q].index(vertex))
    leaders, numbers = np.unique([find(corner) for corner in range(triangles.size)], return_inverse=True)
    return numbers.reshape(-1, 3), triangles.ravel()[leaders]


def _mirror_right(surface: BodySurface, parts: Parts, uv_triangles: Index, uv: Array) -> None:
    """Fill in the right side's UV vertices from the left side's. In place."""
    twins, triangles = surface.mirrored_triangles(), surface.triangles.tolist()
    for number in np.flatnonzero(np.char.startswith(parts, "right")):
        twin = triangles[twins[number]]
        for k, vertex in enumerate(triangles[number]):
            place = twin.index(surface.mirror[vertex])
            uv[uv_triangles[number, k]] = uv[uv_triangles[twins[number], place]] * [-1, 1] + [1, 0]


class _Corners:
    """Which places in the border of a part's chart become its rectangle's corners, from the lower left around."""

    def __init__(self, surface: BodySurface, borders: dict[frozenset[str], set[int]], seams: Seams, part: str,
                 border: Index):  # fmt: skip
        self.cut: tuple[int, ...] = seams.cuts.get(part, ())
        self.surface, self.borders, self.part = surface, borders, part
        self.border, self.points = border.tolist(), surface.vertices[border]  # counter-clockwise from outside

    def found(self) -> list[int]:
        kind = {"torso": self._torso, "head": self._head, "leg": self._limb, "arm": self._limb,
                "hand": self._hand, "foot": self._foot}  # fmt: skip
        return next(find for name, find in kind.items() if name in self.part)()

    def _with(self, *others: str) -> set[int]:
        """Vertices on the border to any of these parts."""
        return set().union(*(self.borders.get(frozenset((self.part, other)), ()) for other in others))

    def _least(self, score: Array, among: set[int] | None = None) -> int:
        if among is not None:
            score = score + np.array([0 if vertex in among else NOT for vertex in self.border])
        return int(score.argmin())

    def _torso(self) -> list[int]:
        """Where the side seams meet arms and legs."""
        back = self.part == "torso back"
        flanks, x, y = self._with("torso front" if back else "torso back"), self.points[:, 0], self.points[:, 1]
        high = [self._least(-y, flanks & self._with(f"{side} arm")) for side in ("left", "right")]
        low = [self._least(sign * x, flanks & self._with(f"{side} leg")) for side, sign in (("right", 1), ("left", -1))]
        corners = [*low, *high]
        return [corners[k] for k in (1, 0, 3, 2)] if back else corners

    def _head(self) -> list[int]:
        """The two ends of the neck, and the places on the parting above the ears."""
        nape, neck, count = self.cut[0], self._with("torso back", "torso front"), len(self.border)
        ends = [i for i in range(count) if self.border[i] == nape]
        last = next(i for i in ends if self.border[(i + 1) % count] not in neck)  # where the loop leaves the neck
        first = next(i for i in ends if i != last)
        top = self.surface.joint("head")[1] + HAIR_HEIGHT

        def climb(place: int, step: int) -> int:
            while self.points[place, 1] < top:
                place = (place + step) % count
            return place

        return [first, last, climb(last, 1), climb(first, -1)]

    def _limb(self) -> list[int]:
        """The two ends of the cut, on either side of it."""
        start, end = self.cut
        places = [i for i, vertex in enumerate(self.border) if vertex in (start, end)]
        low = [self.border[i] == end for i in places]
        if len(places) != 4 or sum(low) != 2:
            raise UserError(f"The cut along the {self.part} does not open it.")
        while not (low[0] and low[1]):
            places, low = places[1:] + places[:1], low[1:] + low[:1]
        return places if self.part.endswith("leg") else places[1:] + places[:1]

    def _hand(self) -> list[int]:
        """Both ends of the wrist, and the tips of the little and the index finger."""
        other = "left hand palm" if self.part.endswith("back") else "left hand back"
        wrist, x, z = self._with("left arm") & self._with(other), self.points[:, 0], self.points[:, 2]
        ends = sorted((i for i, vertex in enumerate(self.border) if vertex in wrist), key=lambda i: z[i])
        return self._ordered([ends[0], self._least(-x + 1.2 * z), self._least(-x - 1.2 * z), ends[-1]])

    def _foot(self) -> list[int]:
        """Both ends of the ankle, the heel and the toes."""
        other = "left foot outer" if self.part.endswith("inner") else "left foot inner"
        ankle, y, z = self._with("left leg") & self._with(other), self.points[:, 1], self.points[:, 2]
        ends = sorted((i for i, vertex in enumerate(self.border) if vertex in ankle), key=lambda i: z[i])
        corners = [ends[0], self._least(z + 1.5 * y), self._least(-z + 0.3 * y), ends[-1]]
        ordered = self._ordered(corners)
        first = 1 if ordered == corners else 2
        return ordered[first:] + ordered[:first]

    def _ordered(self, corners: list[int]) -> list[int]:
        """The corners counter-clockwise from the first, whichever way round they are given."""
        ahead = [(corner - corners[0]) % len(self.border) for corner in corners]
        return corners if ahead == sorted(ahead) else [corners[0], *corners[:0:-1]]


def unevenness(surface: BodySurface, uv: Array, uv_triangles: Index) -> float:
    """Coefficient of variation of the surface area that a piece of the square stands for."""
    a, b, c = (uv[uv_triangles[:, k]] for k in range(3))
    one, two = b - a, c - a
    flat = np.abs(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0])
    density = np.linalg.norm(surface.normals(), axis=1) / flat
    mean = (density * flat).sum() / flat.sum()
    return float(np.sqrt((flat * (density - mean) ** 2).sum() / flat.sum()) / mean)
