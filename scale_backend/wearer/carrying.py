"""A garment's rest surface carried from one body to another that the first was laid onto.

Where cloth lies on the skin, it keeps its place on it and its distance, which is scaled as the skin is. Where it hangs
free, it moves with a mean of all the skin round it, the wider the further that is: a skirt keeps its shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial.distance import cdist

from scale_backend.wearer.mesh import (
    Array,
    Contact,
    Index,
    Surface,
    edges_of,
    inverses,
    laplacian,
    spread,
    triangle_normals,
    unit,
    vertex_normals,
)
from scale_backend.wearer.registration import Registered, Template

FACING = 0.03  # metres that a unit of difference between normals counts
ON_SKIN = 0.015  # metres; up to here cloth lies on the skin
FADING = 0.02  # metres; how fast that ends beyond
WIDTH = 0.6  # of the distance to the skin: how wide free cloth takes its mean
EVENNESS = 0.03  # metres over which the skin's stretch is evened
HOLD = (0.04, 0.1)  # metres over which the shape of cloth wins over its place, on the skin and away from it
SQUEEZE, STRETCH = 0.75, 1.2  # of a length, against the size of the whole
SHORTEST, LONGEST = 0.6, 1.12  # of an edge, against the size of the cloth
SWEEPS = 80
STILL = 1e-5  # metres
LEAST_GAP = 0.004  # metres that cloth is kept off the skin, for a body of an adult's size; less where it was less
DEEPEST = 0.06  # metres; what is deeper in the mesh is in another part of the body
LAYING = 12  # rounds of moving cloth out of the mesh
SKIN_STEP = 3  # of the skin's vertices one counts in a mean
CLEARLY = 0.995  # on the skin: no mean is needed
BLUR = 0.05  # metres over which the difference between two skins is blurred: some rigs have hard borders
LOW_TRUST = 1e-5  # of cloth that hangs free, when fields are carried: it takes what the cloth round it has


@dataclass(frozen=True)
class Cloth:
    """A garment's surface at rest on its own body."""

    vertices: Array  # [G, 3]
    triangles: Index  # [T, 3]
    weights: Array  # [G, J] blend weights


def carry(cloth: Cloth, body: Template, laid: Registered, surface: Surface, contact: Contact) -> tuple[Array, float]:
    """The cloth on the other body [G, 3], and the share of its vertices that were moved out of the mesh.

    contact: the skin of the body that each vertex of the cloth lies on.
    """
    gradients = skin_gradients(body, laid)
    on_skin = lies_on_skin(contact.distance)
    place = contact.carry(laid.vertices)
    turned = contact.carry(gradients.reshape(-1, 9)).reshape(-1, 3, 3)
    near = place + _apply(turned, cloth.vertices - contact.carry(body.vertices))
    far, far_turned = _means(cloth, body, laid, gradients, contact.distance, on_skin < CLEARLY)
    on_skin = np.where(on_skin < CLEARLY, on_skin, 1.0)
    carried = on_skin[:, None] * near + (1 - on_skin)[:, None] * far
    turned = on_skin[:, None, None] * turned + (1 - on_skin)[:, None, None] * far_turned
    mass, stiffness = laplacian(cloth.vertices, cloth.triangles)
    hold = np.where(on_skin > 0.5, HOLD[0], HOLD[1])
    shape = _Shape(cloth, mass / hold**2, stiffness)
    turned = _bounded(turned, laid.size)
    carried = shape.kept(carried, turned)
    return _out_of(surface, carried, cloth, contact, laid.size, shape, turned)


def _bounded(turned: Array, size: float) -> Array:  # [G, 3, 3]
    """No more stretched or squeezed than cloth may be: bodies differ by more, at a bust or in an armpit."""
    left, scales, right = np.linalg.svd(turned)
    return left @ (np.clip(scales, SQUEEZE * size, STRETCH * size)[..., None] * right)


def lies_on_skin(distance: Array) -> Array:  # [G] metres in the garment's own body -> [G] 0 to 1
    return np.exp(-((np.maximum(distance - ON_SKIN, 0) / FADING) ** 2))


def _apply(matrices: Array, vectors: Array) -> Array:  # [G, 3, 3], [G, 3] -> [G, 3]
    return np.einsum("gab,gb->ga", matrices, vectors)


def skin_gradients(body: Template, laid: Registered) -> Array:  # [V, 3, 3]
    """How the skin round each vertex was turned and stretched; across the skin as its area tells. Evened."""

    def frames(vertices: Array) -> Array:  # [T, 3, 3]
        a, b, c = (vertices[body.triangles[:, k]] for k in range(3))
        normal = np.cross(b - a, c - a)
        length = np.sqrt(np.linalg.norm(normal, axis=1, keepdims=True))
        return np.stack([b - a, c - a, normal / np.maximum(length, 1e-12)], -1)

    area = np.linalg.norm(triangle_normals(body.vertices, body.triangles), axis=1)
    turned = (frames(laid.vertices) @ inverses(frames(body.vertices))).reshape(-1, 9)
    count = len(body.vertices)
    mean = spread(body.triangles, turned * area[:, None], count) / spread(body.triangles, area[:, None], count)
    mass, stiffness = laplacian(body.vertices, body.triangles)
    return splu((sparse.diags(mass) + EVENNESS**2 * stiffness).tocsc()).solve(mass[:, None] * mean).reshape(-1, 3, 3)


def _means(
    cloth: Cloth, body: Template, laid: Registered, gradients: Array, distance: Array, asked: np.ndarray
) -> tuple[Array, Array]:
    """Where the skin round each vertex of the cloth takes it [G, 3], and how it turns it [G, 3, 3].

    asked: [G] bool; the others' are zeros.
    """
    clothed = cloth.weights.max(0) > 0.05  # joints
    chosen = np.flatnonzero(clothed[body.weights.argmax(1)])[::SKIN_STEP]
    skin, mass, turned = body.vertices[chosen], laplacian(body.vertices, body.triangles)[0][chosen], gradients[chosen]
    moved = laid.vertices[chosen] - _apply(turned, skin)
    table = np.concatenate([turned.reshape(-1, 9), moved], 1).astype(np.float32)
    rows = np.flatnonzero(asked)
    width = WIDTH * np.maximum(distance[rows, None], ON_SKIN)
    squared = cdist(cloth.vertices[rows], skin, "sqeuclidean")
    exponent = (squared.min(1, keepdims=True) - squared) / (2 * width**2)
    share = mass.astype(np.float32) * np.exp(exponent.astype(np.float32))
    means = np.zeros((len(cloth.vertices), 12))
    means[rows] = share @ table / share.sum(1, keepdims=True)
    turned = means[:, :9].reshape(-1, 3, 3)
    return _apply(turned, cloth.vertices) + means[:, 9:], turned


class _Shape:
    """Keeps the cloth's own shape, turned and stretched as asked, and its place loosely: a Poisson problem."""

    def __init__(self, cloth: Cloth, held: Array, stiffness: sparse.csr_matrix):
        self.cloth, self.held = cloth, held
        graph = sparse.coo_matrix(stiffness)
        off = graph.row != graph.col
        self.rows, self.columns, self.weights = graph.row[off], graph.col[off], -graph.data[off]
        self.solver = splu((stiffness + sparse.diags(held)).tocsc())

    def kept(self, places: Array, turned: Array) -> Array:  # [G, 3], [G, 3, 3] -> [G, 3]
        edges = self.cloth.vertices[self.rows] - self.cloth.vertices[self.columns]
        wanted = _apply((turned[self.rows] + turned[self.columns]) / 2, edges) * self.weights[:, None]
        divergence = (
            sparse.csr_matrix(
                (np.ones(len(self.rows)), (self.rows, np.arange(len(self.rows)))), (len(places), len(self.rows))
            )
            @ wanted
        )
        return self.solver.solve(divergence + self.held[:, None] * places)

    def spread(self, moves: Array) -> Array:  # [G, 3] -> [G, 3]
        """Moves of some vertices, the cloth round them going along."""
        return self.solver.solve(self.held[:, None] * moves)


def _out_of(
    surface: Surface, carried: Array, cloth: Cloth, contact: Contact, size: float, shape: _Shape, turned: Array
) -> tuple[Array, float]:
    """The cloth moved out of the mesh and its lengths brought back within bounds, in turns; how much was inside."""
    gap = np.minimum(LEAST_GAP, 0.7 * contact.distance) * size
    cloth_size = np.sqrt(_area(carried, cloth) / _area(cloth.vertices, cloth))
    lengths = _Lengths(cloth, float(cloth_size), turned)
    inside = 0.0
    for step in range(LAYING + 1):
        there = surface.closest(carried, vertex_normals(carried, cloth.triangles))
        normal = unit(there.carry(surface.vertex_normals))
        height = ((carried - there.carry(surface.vertices)) * normal).sum(1)
        low = np.where(there.distance < DEEPEST * size, np.maximum(gap - height, 0), 0)
        moves = low[:, None] * normal
        if step == 0:
            inside = float((low > gap).mean())
        last = step == LAYING
        carried = carried + moves if last else lengths.kept(carried + shape.spread(moves))
    return carried, inside


def _area(places: Array, cloth: Cloth) -> float:
    return float(np.linalg.norm(triangle_normals(places, cloth.triangles), axis=1).sum())


class _Lengths:
    """Edges no longer and no shorter than cloth may be: position-based dynamics (Mueller et al. 2007), all at once."""

    def __init__(self, cloth: Cloth, size: float, turned: Array):
        """turned: [G, 3, 3] as the skin is stretched. An edge may be as long as this makes it: limbs may be thin."""
        edges, _ = edges_of(cloth.triangles)
        self.one, self.two = edges.T
        plain = cloth.vertices[self.one] - cloth.vertices[self.two]
        length = size * np.linalg.norm(plain, axis=1)
        stretched = np.linalg.norm(_apply((turned[self.one] + turned[self.two]) / 2, plain), axis=1)
        self.shortest, self.longest = SHORTEST * length, np.maximum(LONGEST * length, stretched)
        ends = np.concatenate([self.one, self.two]), np.tile(np.arange(len(edges)), 2)
        share = sparse.coo_matrix((np.repeat([1.0, -1.0], len(edges)), ends), (len(cloth.vertices), len(edges))).tocsr()
        self.share = sparse.diags(1 / np.maximum(np.abs(share).sum(1).A1, 1)) @ share

    def kept(self, places: Array) -> Array:  # [G, 3] -> [G, 3]
        for _ in range(SWEEPS):
            apart = places[self.one] - places[self.two]
            now = np.maximum(np.linalg.norm(apart, axis=1), 1e-9)
            wrong = np.clip(now, self.shortest, self.longest) - now
            if np.abs(wrong).max() < STILL:
                break
            places = places + self.share @ (apart * (wrong / now)[:, None])
        return places


def carried_weights(cloth: Cloth, body: Template, skin_weights: Array, contact: Contact) -> Array:  # [G, J]
    """Blend weights of the carried cloth: the garment's own, and what the other body's skin has others than ours.

    skin_weights: [V, J] of the other body's skin at each vertex of this body laid onto it.
    """
    difference = contact.carry(skin_weights - body.weights)
    mass, stiffness = laplacian(cloth.vertices, cloth.triangles)
    trust = mass * (LOW_TRUST + (1 - LOW_TRUST) * lies_on_skin(contact.distance))
    field = splu((sparse.diags(trust) + BLUR**2 * stiffness).tocsc()).solve(trust[:, None] * difference)
    weights = np.maximum(cloth.weights + field, 0)
    return weights / weights.sum(1, keepdims=True)
