"""Fewer triangles where they are dense (face, hands, feet), by collapsing edges on one half of a symmetric skin.

Half-edge collapses ordered by quadric error (Garland and Heckbert 1997): a vertex moves into a neighbour, so that every
vertex that is left is one of the base mesh. The body itself keeps all its vertices.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from math import sqrt

import numpy as np

from scale_backend.formats.errors import UserError
from training.body_builder.makehuman import Index
from training.body_builder.topology import Skin, is_closed_sphere

HALF_TRIANGLES = 6888  # twice that many triangles have SMPL's 6,890 vertices
LONGEST_EDGE = {"body": 0.030, "head": 0.022, "hand": 0.013, "foot": 0.020}  # metres, after a collapse
LEAST_TURN = 0.35  # cosine between a triangle's normals before and after
LEAST_QUALITY = 0.22  # 1: equilateral
MOST_NEIGHBOURS = 9
FLIP_ROUNDS = 6
FLIP_GAIN = 0.03  # in quality, for which an edge is flipped

Point = tuple[float, float, float]


def decimate(skin: Skin, kept: Collection[int], half_triangles: int = HALF_TRIANGLES) -> Index:
    """The skin's triangles with its left half brought down to a count, and that half's mirror image; `kept` stay."""
    half = _HalfMesh(skin, kept)
    half.collapse_to(half_triangles)
    triangles = flip_edges(skin, list(half.triangles.values()))
    if len(triangles) != half_triangles:
        raise UserError(f"The skin could not be brought down to {2 * half_triangles} triangles.")
    whole = np.concatenate([triangles, skin.mirror[triangles][:, [0, 2, 1]]])
    if not is_closed_sphere(whole):
        raise UserError("The skin did not stay closed when triangles were taken out.")
    return whole


def subtract(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def dot(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def normal(a: Point, b: Point, c: Point) -> Point:
    """Twice the triangle's area long."""
    p, q = subtract(b, a), subtract(c, a)
    return p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]


def cosine(a: Point, b: Point) -> float:
    return dot(a, b) / (sqrt(dot(a, a)) * sqrt(dot(b, b)) + 1e-30)


def quality(a: Point, b: Point, c: Point) -> float:
    """1 for an equilateral triangle, 0 for one without area."""
    n, sides = normal(a, b, c), [subtract(b, a), subtract(c, b), subtract(a, c)]
    squares = sum(dot(side, side) for side in sides)
    return 2 * sqrt(3) * sqrt(dot(n, n)) / squares if squares > 0 else 0.0


class _HalfMesh:
    """A mesh that changes: triangles by number, the triangles of each vertex, and its error quadric."""

    def __init__(self, skin: Skin, kept: Collection[int]):
        self.points: list[Point] = [tuple(point) for point in skin.shape.tolist()]
        self.middle, self.region = skin.middle.tolist(), skin.region.tolist()
        self.fixed = {*kept, skin.left_eye}
        self.triangles: dict[int, tuple[int, ...]] = dict(enumerate(map(tuple, skin.half.tolist())))
        self.around: dict[int, set[int]] = {}
        self.quadric: dict[int, np.ndarray] = {}
        for number, triangle in self.triangles.items():
            plane = self._plane(triangle)
            for vertex in triangle:
                self.around.setdefault(vertex, set()).add(number)
                self.quadric[vertex] = self.quadric.get(vertex, 0.0) + plane

    def _plane(self, triangle: tuple[int, ...]) -> np.ndarray:  # [4, 4]
        corners = [self.points[vertex] for vertex in triangle]
        n = np.array(normal(*corners))
        length = np.linalg.norm(n)
        if length < 1e-14:
            return np.zeros((4, 4))
        n = n / length
        plane = np.append(n, -n @ np.array(corners[0]))
        return np.outer(plane, plane) * length

    def neighbours(self, vertex: int) -> set[int]:
        return {other for number in self.around[vertex] for other in self.triangles[number]} - {vertex}

    def cost(self, vertex: int, into: int) -> float | None:
        """What moving a vertex into its neighbour costs; None where that is not allowed."""
        if self.middle[vertex] and not self.middle[into]:
            return None
        ours, theirs = self.neighbours(vertex), self.neighbours(into)
        shared = sum(into in self.triangles[number] for number in self.around[vertex])
        common = len(ours & theirs)
        if common != shared or shared != (1 if self.middle[vertex] else 2):  # a middle edge has one triangle
            return None
        worst = self._worst_after(vertex, into)
        if worst is None or len(ours) + len(theirs) - 2 - common > MOST_NEIGHBOURS:
            return None
        place = np.append(self.points[into], 1.0)
        error = place @ (self.quadric[vertex] + self.quadric[into]) @ place
        edge = subtract(self.points[vertex], self.points[into])
        short = dot(edge, edge) ** 2 / 0.01**4 * 6e-6  # prefers short edges where the skin is flat
        return error * 1e3 * (1 + 0.8 * (1 - worst)) + short + 1e-12

    def _worst_after(self, vertex: int, into: int) -> float | None:
        """The least quality among the triangles that a collapse leaves; None where it folds or stretches one."""
        worst, longest, target = 1.0, LONGEST_EDGE[self.region[vertex]] ** 2, self.points[into]
        for number in self.around[vertex]:
            triangle = self.triangles[number]
            if into in triangle:
                continue
            before = [self.points[v] for v in triangle]
            after = [target if v == vertex else self.points[v] for v in triangle]
            if cosine(normal(*before), normal(*after)) < LEAST_TURN:
                return None
            worst = min(worst, quality(*after))
            if worst < LEAST_QUALITY:
                return None
            edges = (subtract(target, point) for point in after)
            if max(dot(edge, edge) for edge in edges) > longest:
                return None
        return worst

    def best(self, vertex: int) -> tuple[float, int] | None:
        """The cheapest neighbour to move into."""
        if vertex in self.fixed or self.region[vertex] == "body":
            return None
        costs = ((self.cost(vertex, into), into) for into in self.neighbours(vertex))
        return min(((cost, into) for cost, into in costs if cost is not None), default=None)

    def collapse(self, vertex: int, into: int) -> Iterable[int]:
        """Move a vertex into its neighbour; returns the vertices whose surroundings changed."""
        changed = self.neighbours(vertex)
        for number in self.around.pop(vertex):
            triangle = self.triangles[number]
            if into in triangle:
                del self.triangles[number]
                for other in triangle:
                    if other != vertex:
                        self.around[other].discard(number)
            else:
                self.triangles[number] = tuple(into if v == vertex else v for v in triangle)
                self.around[into].add(number)
        self.quadric[into] = self.quadric[into] + self.quadric.pop(vertex)
        return changed

    def collapse_to(self, count: int) -> None:
        """Collapse the cheapest first, until so many triangles are left."""
        heap: list[tuple[float, int, int, int]] = []
        version = dict.fromkeys(self.around, 0)

        def push(vertex: int) -> None:
            if (best := self.best(vertex)) is not None:
                heapq.heappush(heap, (best[0], vertex, best[1], version[vertex]))

        for vertex in list(self.around):
            push(vertex)
        while len(self.triangles) > count and heap:
            cost, vertex, into, seen = heapq.heappop(heap)
            if vertex not in self.around or into not in self.around or version[vertex] != seen:
                continue
            now = self.cost(vertex, into)
            if now is None or now > cost * 1.0001 + 1e-15:
                version[vertex] += 1
                push(vertex)
            elif len(self.triangles) - (1 if self.middle[vertex] else 2) >= count:
                for changed in self.collapse(vertex, into):
                    version[changed] += 1
                    push(changed)


def flip_edges(skin: Skin, triangles: list[tuple[int, ...]]) -> Index:  # [T, 3]
    """Flip inner edges where both triangles get better shaped and the surface stays as it is."""
    points, body = [tuple(point) for point in skin.shape.tolist()], (skin.region == "body").tolist()
    faces = list(triangles)
    for _ in range(FLIP_ROUNDS):
        edges = {(t[k], t[(k + 1) % 3]): (i, t[(k + 2) % 3]) for i, t in enumerate(faces) for k in range(3)}
        taken, touched, flips = set(edges), set(), 0
        for (a, b), (i, c) in edges.items():
            if a > b or (b, a) not in edges:
                continue
            j, d = edges[b, a]
            if i in touched or j in touched or (c, d) in taken or (d, c) in taken or all(body[v] for v in (a, b, c, d)):
                continue
            if _worth_flipping(*(points[v] for v in (a, b, c, d))):
                faces[i], faces[j] = (c, a, d), (d, b, c)
                touched |= {i, j}
                taken.add((c, d))
                flips += 1
        if flips < 5:
            break
    return np.array(faces)


def _worth_flipping(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether c-d is the better diagonal of the two triangles a b c and b a d."""
    before = normal(a, b, c), normal(b, a, d)
    after = normal(c, d, b), normal(d, c, a)
    if cosine(*after) < 0.8 or cosine(*before) < 0.8 or cosine(before[0], after[0]) < 0.7:
        return False
    return min(quality(c, d, b), quality(d, c, a)) > min(quality(a, b, c), quality(b, a, d)) + FLIP_GAIN
