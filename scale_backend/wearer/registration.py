"""A garment's body laid onto the surface of another body: bone by bone, then smoothly, stiff to soft.

Non-rigid ICP (after Amberg et al. 2007): each vertex goes where the closest skin that faces the same way is, along its
normal alone, and the field of displacements stays smooth (its bi-Laplacian small). What finds no skin goes along with
what lies round it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from scale_backend.formats.wearer import JOINT_COUNT
from scale_backend.wearer import placing
from scale_backend.wearer.mesh import Array, Contact, Index, Surface, laplacian, unit, vertex_normals

FACING = 0.06  # metres that a unit of difference between normals counts, for a body of an adult's size
ALIKE = 0.5  # cosine between normals of skins that can be the same
FOLDED = 0.1  # cosine between a normal as it was placed and as it lies: less is a fold
GIRTH_STEPS = 6
SMOOTHNESS = (0.08, 0.06, 0.045, 0.035, 0.028, 0.022, 0.018, 0.015, 0.015)  # metres: what is shorter is not followed
REACH = (0.15, 0.05)  # metres to skin that may be the same, at first and in the end
SLIDING = 0.1  # how much a vertex is held to its closest point along the skin, against across it
LOOSE = 1e-3  # how much a vertex that found nothing is held to where its bone took it
UNTRUSTED = ("wrist",)  # parts whose shapes differ too much to be laid onto each other


@dataclass(frozen=True)
class Template:
    """The body that garments are made for, at rest."""

    vertices: Array  # [V, 3]
    triangles: Index  # [T, 3]
    weights: Array  # [V, J]
    joints: Array  # [J, 3]
    parents: tuple[int, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Registered:
    """A body on another one's surface."""

    vertices: Array  # [V, 3]
    contact: Contact  # the other skin that is nearest to each vertex
    found: Array  # [V] 0 to 1: how sure it is that this is the same skin
    size: float  # metres of the other in a metre of this


def register(body: Template, joints: Array, surface: Surface, size: float) -> Registered:
    """Lay a body onto a surface. joints: [22, 3] of the other's skeleton, in the surface's pose."""
    trust = _trust(body)
    girths, heights = np.ones((len(body.joints), 3)), np.array([0.0, 1.0])
    for step in range(GIRTH_STEPS + 1):
        placed = placing.place(body.joints, joints, body.parents, girths, heights)
        start = placed.points(body.vertices, body.weights)
        if step == GIRTH_STEPS:
            break
        target, found, contact = _match(start, body.triangles, surface, REACH[0] * size)
        lift, taller = placing.fit_heights(placed, start, body.weights, _across(start, contact, surface), found * trust)
        heights = np.array([heights[0] + lift, heights[1] * taller])
        factors = placing.fit_girths(placed, start, body.weights, target - start, found * trust)
        girths = np.clip(girths * factors, placing.THINNEST, placing.THICKEST)
    mass, stiffness = laplacian(start / size, body.triangles)
    bending = (stiffness @ sparse.diags(1 / mass) @ stiffness).tocsc()
    moved = start
    reaches = np.linspace(*REACH, len(SMOOTHNESS)) * size
    upright = vertex_normals(start, body.triangles)
    for smoothness, reach in zip(SMOOTHNESS, reaches, strict=True):
        target, found, _ = _match(moved, body.triangles, surface, reach)
        # skin that has folded over is let go, and comes back with what lies round it
        unfolded = (vertex_normals(moved, body.triangles) * upright).sum(1)
        sure = found * trust * np.clip((unfolded - FOLDED) / (1 - FOLDED), 0, 1)
        held = sparse.diags(mass * np.maximum(sure, LOOSE))
        moved = start + _solved(held + smoothness**4 * bending, (mass * sure)[:, None] * (target - start))
    _, found, contact = _match(moved, body.triangles, surface, REACH[1] * size)
    return Registered(moved, contact, found * trust, size)


def _solved(matrix: sparse.spmatrix, right: Array) -> Array:
    """The solution for a symmetric positive matrix."""
    options = {"SymmetricMode": True}
    return splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options).solve(right)


def _trust(body: Template) -> Array:  # [V]
    """1 where the surface is to be followed, 0 at the hands."""
    ends = [joint for joint, name in enumerate(body.names) if joint >= JOINT_COUNT or name.endswith(UNTRUSTED)]
    return (1 - body.weights[:, ends].sum(1)) ** 2


def _match(points: Array, triangles: Index, surface: Surface, reach: float) -> tuple[Array, Array, Contact]:
    """Where each vertex should go [V, 3], how sure that is [V] 0 to 1, and the closest points."""
    normals = vertex_normals(points, triangles)
    contact = surface.closest(points, normals)
    there = contact.carry(surface.vertices)
    facing = contact.carry(surface.vertex_normals)
    facing = facing / np.maximum(np.linalg.norm(facing, axis=1, keepdims=True), 1e-9)
    alike = np.clip(((normals * facing).sum(1) - ALIKE) / (1 - ALIKE), 0, 1)
    near = np.clip(1 - (contact.distance / reach) ** 2, 0, 1) ** 2
    away, across = there - points, _across(points, contact, surface)
    return points + across + SLIDING * (away - across), np.sqrt(alike) * near, contact


def _across(points: Array, contact: Contact, surface: Surface) -> Array:  # [V, 3]
    """The way to the other skin along its normal."""
    facing = unit(contact.carry(surface.vertex_normals))
    return ((contact.carry(surface.vertices) - points) * facing).sum(1, keepdims=True) * facing
