"""Isotropic remeshing (Botsch and Kobbelt 2004): even triangles, borders and seams between panels kept as lines."""

from __future__ import annotations

import numpy as np

from .mesh_tools import Array, ClosedSurface, Index, Mesh, vertex_normals

Edge = tuple[int, int]


class _Working:
    """A mesh under change: triangles by number, and which triangles each vertex has."""

    def __init__(self, mesh: Mesh, labels: Index):
        self.points = list(mesh.vertices)
        self.triangles = {i: tuple(int(v) for v in t) for i, t in enumerate(mesh.triangles)}
        self.labels = {i: int(label) for i, label in enumerate(labels)}
        self.around: list[set[int]] = [set() for _ in self.points]
        for number, triangle in self.triangles.items():
            for vertex in triangle:
                self.around[vertex].add(number)
        self.next_number = len(self.triangles)

    def add(self, triangle: tuple[int, ...], label: int) -> None:
        self.triangles[self.next_number], self.labels[self.next_number] = triangle, label
        for vertex in triangle:
            self.around[vertex].add(self.next_number)
        self.next_number += 1

    def remove(self, number: int) -> tuple[tuple[int, ...], int]:
        triangle = self.triangles.pop(number)
        for vertex in triangle:
            self.around[vertex].discard(number)
        return triangle, self.labels.pop(number)

    def sides(self, a: int, b: int) -> list[int]:
        return sorted(self.around[a] & self.around[b])

    def neighbours(self, vertex: int) -> set[int]:
        return {v for number in self.around[vertex] for v in self.triangles[number]} - {vertex}

    def edges(self) -> list[Edge]:
        return sorted(
            {
                (min(a, b), max(a, b))
                for t in self.triangles.values()
                for a, b in ((t[0], t[1]), (t[1], t[2]), (t[2], t[0]))
            }
        )

    def is_line(self, a: int, b: int) -> bool:
        """Border, or seam between two panels."""
        sides = self.sides(a, b)
        return len(sides) == 1 or (len(sides) == 2 and self.labels[sides[0]] != self.labels[sides[1]])

    def line_neighbours(self, vertex: int) -> list[int]:
        return [other for other in sorted(self.neighbours(vertex)) if self.is_line(vertex, other)]

    def length(self, a: int, b: int) -> float:
        difference = self.points[a] - self.points[b]
        return float(difference @ difference) ** 0.5

    def normal(self, triangle: tuple[int, ...]) -> Array:
        a, b, c = (self.points[v] for v in triangle)
        return np.cross(b - a, c - a)


def _split_long(work: _Working, limit: float) -> None:
    for a, b in work.edges():
        if work.length(a, b) <= limit:
            continue
        middle = len(work.points)
        work.points.append((work.points[a] + work.points[b]) / 2)
        work.around.append(set())
        for number in work.sides(a, b):
            triangle, label = work.remove(number)
            for old in (a, b):
                work.add(tuple(middle if v == old else v for v in triangle), label)


def _collapse_short(work: _Working, limit: float, longest: float) -> None:
    lines = {v: len(work.line_neighbours(v)) for v in range(len(work.points)) if work.around[v]}
    for a, b in work.edges():
        sides = work.sides(a, b)
        if not sides or work.length(a, b) >= limit:
            continue
        on_line = work.is_line(a, b)
        if lines[a] and lines[b] and not on_line:
            continue
        if lines[a] not in (0, 2) and lines[b] not in (0, 2):
            continue
        if len(work.neighbours(a) & work.neighbours(b)) != len(sides):
            continue
        if lines[b] > lines[a] or lines[b] not in (0, 2):
            a, b = b, a  # b goes, a stays
        free = lines[a] == lines[b] == 0 or (on_line and lines[a] == 2)
        place = (work.points[a] + work.points[b]) / 2 if free else work.points[a]
        if _may_move(work, a, b, place, longest):
            work.points[a] = place
            for number in sides:
                work.remove(number)
            for number in sorted(work.around[b]):
                triangle, label = work.remove(number)
                work.add(tuple(a if v == b else v for v in triangle), label)


def _may_move(work: _Working, a: int, b: int, place: Array, longest: float) -> bool:
    for vertex, other in ((a, b), (b, a)):
        for number in work.around[vertex]:
            triangle = work.triangles[number]
            if other in triangle:
                continue
            before = work.normal(triangle)
            corners = [place if v == vertex else work.points[v] for v in triangle]
            after = np.cross(corners[1] - corners[0], corners[2] - corners[0])
            if before @ after < 0.3 * np.linalg.norm(before) * np.linalg.norm(after):
                return False
            if max(np.linalg.norm(corner - place) for corner in corners) > longest:
                return False
    return True


def _flip(work: _Working) -> None:
    """Turn edges where that brings the number of neighbours nearer to six, four on a line."""
    line = [bool(work.line_neighbours(v)) if work.around[v] else False for v in range(len(work.points))]
    degree = [len(work.neighbours(v)) for v in range(len(work.points))]
    on_border = [degree[v] != len(work.around[v]) for v in range(len(work.points))]

    def excess(vertex: int, change: int) -> int:
        return (degree[vertex] + change - (4 if line[vertex] and on_border[vertex] else 6)) ** 2

    for a, b in work.edges():
        sides = work.sides(a, b)
        if len(sides) != 2 or work.labels[sides[0]] != work.labels[sides[1]]:
            continue
        first, second = (work.triangles[number] for number in sides)
        at = first.index(a)
        if first[(at + 1) % 3] != b:
            first, second = second, first
        c = next(v for v in first if v not in (a, b))
        d = next(v for v in second if v not in (a, b))
        if d in work.neighbours(c):
            continue
        gain = sum(excess(v, 0) for v in (a, b, c, d)) - sum(excess(v, -1) for v in (a, b))
        if gain - sum(excess(v, 1) for v in (c, d)) <= 0:
            continue
        old = work.normal(first) + work.normal(second)
        new = [(a, d, c), (d, b, c)]
        if any(work.normal(t) @ old < 0.3 * np.linalg.norm(work.normal(t)) * np.linalg.norm(old) for t in new):
            continue
        _, label = work.remove(sides[0])
        work.remove(sides[1])
        for triangle in new:
            work.add(triangle, label)
        for vertex, change in ((a, -1), (b, -1), (c, 1), (d, 1)):
            degree[vertex] += change


def _relax(work: _Working, surface: ClosedSurface) -> None:
    """Even out: inner vertices slide in the surface, vertices of a line along the line."""
    mesh, _, used = _result(work)
    normals = dict(zip(used, vertex_normals(mesh), strict=True))
    moved = {}
    for vertex in used:
        line = work.line_neighbours(vertex)
        if len(line) not in (0, 2):
            continue
        target = np.mean([work.points[v] for v in (line or sorted(work.neighbours(vertex)))], 0)
        step = target - work.points[vertex]
        moved[vertex] = work.points[vertex] + 0.6 * (step - (step @ normals[vertex]) * normals[vertex])
    places = np.array(list(moved.values()))
    distance, direction = surface.distance(places)
    for vertex, place in zip(moved, places - distance[:, None] * direction, strict=True):
        work.points[vertex] = place


def _result(work: _Working) -> tuple[Mesh, Index, Index]:
    numbers = sorted(work.triangles)
    used, triangles = np.unique(np.array([work.triangles[n] for n in numbers]), return_inverse=True)
    points = np.array([work.points[v] for v in used])
    return Mesh(points, triangles.reshape(-1, 3)), np.array([work.labels[n] for n in numbers]), used


def remesh(mesh: Mesh, labels: Index, edge_length: float, rounds: int = 6) -> tuple[Mesh, Index]:
    """Even triangles of about the edge length (metres); labels [T] of the triangles go with them."""
    surface = ClosedSurface(mesh)
    work = _Working(mesh, labels)
    for _ in range(rounds):
        _split_long(work, edge_length * 4 / 3)
        _collapse_short(work, edge_length * 4 / 5, edge_length * 4 / 3)
        _flip(work)
        _relax(work, surface)
    result, labels, _ = _result(work)
    return result, labels
