"""A garment on a body of any shape: both graded by the shape components, ready to be simulated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..frames.sequences import ClothGarment
from .fabrics import Fabric
from .mesh_tools import Array, Mesh
from .motion import Motion
from .moving_cloth import CONTACT, FORCES, Contact, Forces, simulate
from .skinning import BODY_PATH, SkinnedBody, skin


@dataclass(frozen=True, eq=False)
class Wearer:
    """The body in one shape."""

    body: SkinnedBody
    betas: Array  # [S]


def shaped(body: SkinnedBody, betas: Array, path: Path = BODY_PATH) -> Wearer:
    """The body with shape coefficients [S], in standard deviations."""
    with np.load(path, allow_pickle=False) as file:
        change = file["shapedirs"].astype(np.float64) @ betas
        moved = file["J_regressor"].astype(np.float64) @ change
    return Wearer(replace(body, vertices=body.vertices + change, joints=body.joints + moved), betas)


def graded(garment: ClothGarment, betas: Array) -> Mesh:
    """The garment as it is cut for a body of that shape."""
    vertices = garment.vertices.astype(np.float64) + garment.shape_components.astype(np.float64) @ betas
    return Mesh(vertices, garment.triangles.astype(np.int64))


def posed(wearer: Wearer, motion: Motion, vertices: Array, blend_weights: Array) -> Array:
    """Rest vertices [V, 3] skinned through a motion, in the world: [F, V, 3]."""
    root = wearer.body.joints[0] + motion.translation
    skinned = (skin(wearer.body, pose, vertices, blend_weights) for pose in motion.pose)
    return np.stack([points + place for points, place in zip(skinned, root, strict=True)])


def move(
    garment: ClothGarment,
    wearer: Wearer,
    motion: Motion,
    fabric: Fabric,
    contact: Contact = CONTACT,
    forces: Forces = FORCES,
) -> Iterator[Array]:
    """The garment's vertices [V, 3] in the world, frame by frame. The motion begins in the rest pose."""
    rest = graded(garment, wearer.betas)
    carried = posed(wearer, motion, rest.vertices, garment.blend_weights.astype(np.float64))
    colliding = posed(wearer, motion, wearer.body.vertices, wearer.body.blend_weights)
    return simulate(rest, garment.pins, carried, fabric, (wearer.body.triangles, colliding), contact, forces)
