"""The seams of the body's UV layout: borders of its parts, and cuts that open legs, arms and head to disks."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from scale_backend.formats.errors import UserError
from training.body_builder.makehuman import Index
from training.body_builder.parts import BodySurface, Parts
from training.body_builder.topology import edge_faces

Edge = tuple[int, int]  # lower vertex first
FLIP_ROUNDS = 8


@dataclass(frozen=True)
class Seams:
    """Which edges are cut, and the first and last vertex of the cut inside a part."""

    edges: frozenset[Edge]
    cuts: dict[str, tuple[int, int]]


def edge(a: int, b: int) -> Edge:
    return (int(a), int(b)) if a < b else (int(b), int(a))


def part_borders(triangles: Index, parts: Parts) -> dict[frozenset[str], set[int]]:
    """The vertices on the border of each two parts that meet."""
    found: dict[frozenset[str], set[int]] = {}
    for pair, (p, q) in edge_faces(triangles).items():
        if parts[p] != parts[q]:
            found.setdefault(frozenset((str(parts[p]), str(parts[q]))), set()).update(pair)
    return found


def find_seams(surface: BodySurface, parts: Parts) -> Seams:
    """Cut the legs along the inseam, the arms below, the head from the nape over the crown to the hair line."""
    faces = edge_faces(surface.triangles)
    links = _Links(surface, parts, faces)
    borders = {pair for pair, (p, q) in faces.items() if parts[p] != parts[q]}
    touching = {part: links.vertices_of(part) for part in set(parts.tolist())}
    on_border = {vertex for pair in borders for vertex in pair}
    torso = touching["torso front"] | touching["torso back"]
    foot = touching["left foot inner"] | touching["left foot outer"]
    hand = touching["left hand back"] | touching["left hand palm"]
    x = surface.vertices

    leg = touching["left leg"] & on_border
    crotch = min(links.with_inner_edge(leg & torso, "left leg"), key=lambda v: abs(x[v, 0]) + 0.3 * abs(x[v, 2] - 0.03))
    inseam = links.path("left leg", crotch, leg & foot, _inseam_penalty(surface))
    arm = touching["left arm"] & on_border
    armpit = min(links.with_inner_edge(arm & torso, "left arm"), key=lambda v: x[v, 1])
    below = links.path("left arm", armpit, arm & hand, _underarm_penalty(surface))

    head_joint = surface.joint("head")
    profile = [v for v in sorted(touching["head"]) if surface.mirror[v] == v]
    nape = min((v for v in profile if v in on_border and x[v, 2] < head_joint[2]), key=lambda v: x[v, 2])
    crown = max(profile, key=lambda v: x[v, 1])
    face = [v for v in profile if x[v, 2] > head_joint[2] and x[v, 1] > head_joint[1]]
    hair_line = min(face, key=lambda v: abs(x[v, 1] - (x[crown, 1] - 0.035)))

    def off_middle(vertex: int) -> float:
        return 0.0 if surface.mirror[vertex] == vertex else 50.0

    parting = links.path("head", nape, {crown}, off_middle), links.path("head", crown, {hair_line}, off_middle)
    cut = set(borders)
    for path in (inseam, below, *parting):
        for a, b in pairwise(path):
            cut |= {edge(a, b), edge(*surface.mirror[[a, b]])}
    cuts = {"left leg": (crotch, inseam[-1]), "left arm": (armpit, below[-1]), "head": (nape, hair_line)}
    return Seams(frozenset(cut), cuts)


def _inseam_penalty(surface: BodySurface) -> Callable[[int], float]:
    """The angle between a vertex and the inner side of the left leg, seen along the leg."""
    hip, knee_end = surface.joint("left_hip"), surface.joint("left_ankle")

    def penalty(vertex: int) -> float:
        point = surface.vertices[vertex]
        t = (point[1] - knee_end[1]) / (hip[1] - knee_end[1])
        offset = point - (knee_end * (1 - t) + hip * t)
        return 3 * abs(float(np.arctan2(offset[2] + 0.01, -offset[0])))

    return penalty


def _underarm_penalty(surface: BodySurface) -> Callable[[int], float]:
    """The angle between a vertex and the lower side of the left arm, seen along the arm."""
    shoulder, wrist = surface.joint("left_shoulder"), surface.joint("left_wrist")

    def penalty(vertex: int) -> float:
        point = surface.vertices[vertex]
        t = np.clip((point[0] - shoulder[0]) / (wrist[0] - shoulder[0]), 0, 1)
        offset = point - (shoulder * (1 - t) + wrist * t)
        return 3 * abs(float(np.arctan2(offset[2], -offset[1])))

    return penalty


class _Links:
    """The surface's edges as a graph."""

    def __init__(self, surface: BodySurface, parts: Parts, faces: dict[Edge, list[int]]):
        self.surface, self.parts = surface, parts
        self.of: dict[int, list[tuple[int, bool, str]]] = {}  # vertex: neighbour, inside one part, that part
        for (a, b), (p, q) in faces.items():
            inner = parts[p] == parts[q]
            self.of.setdefault(a, []).append((b, inner, parts[p]))
            self.of.setdefault(b, []).append((a, inner, parts[p]))

    def vertices_of(self, part: str) -> set[int]:
        return set(np.unique(self.surface.triangles[self.parts == part]).tolist())

    def with_inner_edge(self, vertices: Collection[int], part: str) -> list[int]:
        """Those from which an edge leads into the part, in ascending order."""
        return [v for v in sorted(vertices) if any(inner and name == part for _, inner, name in self.of[v])]

    def path(self, part: str, start: int, ends: set[int], penalty: Callable[[int], float]) -> list[int]:
        """The cheapest way inside a part from a vertex to any of others (Dijkstra): length times a penalty."""
        points = self.surface.vertices
        heap, came_from = [(0.0, start, -1)], {}
        while heap:
            distance, here, before = heapq.heappop(heap)
            if here in came_from:
                continue
            came_from[here] = before
            if here in ends:
                way = [here]
                while came_from[way[-1]] >= 0:
                    way.append(came_from[way[-1]])
                return way[::-1]
            for there, inner, name in self.of[here]:
                if inner and name == part and there not in came_from:
                    step = float(np.linalg.norm(points[here] - points[there])) * (0.05 + penalty(there))
                    heapq.heappush(heap, (distance + step, there, here))
        raise UserError(f"The part '{part}' of the body cannot be cut open: its ends are not connected.")


def flip_chords(surface: BodySurface, seams: Seams) -> Index:  # [T, 3]
    """The triangles, with edges flipped that join two seam vertices inside a part, alike on both sides.

    On the straight side of a rectangle such a triangle would have no area.
    """
    triangles, mirror = surface.triangles.copy(), surface.mirror
    on_seam = {vertex for pair in seams.edges for vertex in pair}

    def is_ear(pair: Edge, tip: int) -> bool:  # its two other edges are seams: it lies in a corner
        return edge(pair[0], tip) in seams.edges and edge(pair[1], tip) in seams.edges

    for _ in range(FLIP_ROUNDS):
        faces = edge_faces(triangles)
        number = {frozenset(triangle): i for i, triangle in enumerate(triangles.tolist())}
        done: set[int] = set()
        for (a, b), (p, q) in faces.items():
            if (a, b) in seams.edges or a not in on_seam or b not in on_seam or p in done or q in done:
                continue
            tips = [next(v for v in triangles[face].tolist() if v not in (a, b)) for face in (p, q)]
            if all(tip in on_seam for tip in tips) and not any(is_ear((a, b), tip) for tip in tips):
                continue
            if edge(*tips) in faces:
                continue
            twin_a, twin_b, *twin_tips = mirror[[a, b, *tips]].tolist()
            found = [number.get(frozenset((twin_a, twin_b, tip))) for tip in twin_tips]
            twins = [twin for twin in found if twin is not None]
            if {twin_a, twin_b} == {a, b} or len(twins) < len(found) or done & set(twins) or {p, q} & set(twins):
                continue
            _flip(triangles, (p, q), (a, b), tips)
            _flip(triangles, twins, (twin_a, twin_b), twin_tips)
            done |= {p, q, *twins}
        if not done:
            break
    return triangles


def _flip(triangles: Index, faces: Collection[int], pair: Edge, tips: Collection[int]) -> None:
    (p, q), (a, b), (tip_p, tip_q) = faces, pair, tips
    corners = triangles[p].tolist()
    if corners[(corners.index(a) + 1) % 3] == b:
        triangles[p], triangles[q] = (a, tip_q, tip_p), (b, tip_p, tip_q)
    else:
        triangles[p], triangles[q] = (b, tip_q, tip_p), (a, tip_p, tip_q)
