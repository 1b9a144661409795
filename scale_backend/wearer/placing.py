"""A body brought into another skeleton's rest pose and size, bone by bone: where a registration starts.

Limbs follow their own bones. Rigs agree little about where the bones of a spine lie, but well about hips and shoulders:
the trunk is placed by these, as one block whose width and depth may change along it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scale_backend.formats.joints import BODY
from scale_backend.wearer.mesh import Array, unit

JOINT = {name: number for number, name in enumerate(BODY)}
SIDES = ("left", "right")
LIMBS = {  # the joint that a bone leads to
    JOINT[f"{side}_{start}"]: JOINT[f"{side}_{end}"]
    for side in SIDES
    for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
}
FEET = {JOINT[f"{side}_ankle"]: JOINT[f"{side}_foot"] for side in SIDES}
TRUNK = tuple(
    JOINT[name] for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head", "left_collar", "right_collar")
)
UPRIGHT = np.array([0.0, 1.0, 0.0])
LIFT, TALLER = 0.03, 0.1  # metres and a factor by which rigs place a trunk differently
NOISE = 0.003  # metres that skins of two people differ by where one is placed well
THINNEST, THICKEST = 0.4, 3.0  # of a limb or a trunk, against what the skeleton's size makes one expect


@dataclass(frozen=True)
class Placement:
    """An affine map for each joint of a body, from its rest to the other skeleton's."""

    matrices: Array  # [J, 3, 3]
    origins: Array  # [J, 3] in the body
    places: Array  # [J, 3] where they go
    axes: Array  # [J, 3, 3] rows: the directions, in the body, along which a part may be scaled
    fixed: Array  # [J, 3] bool: along these the skeleton tells the scale

    def points(self, points: Array, weights: Array) -> Array:  # [V, 3], [V, J] -> [V, 3]
        """Points of the body where the skeleton takes them: linear blend skinning."""
        moved = weights @ self.matrices.reshape(len(self.matrices), 9)
        offset = weights @ (self.places - np.einsum("jab,jb->ja", self.matrices, self.origins))
        return np.einsum("vab,vb->va", moved.reshape(-1, 3, 3), points) + offset


def place(
    ours: Array, theirs: Array, parents: tuple[int, ...], girths: Array | None = None, heights: Array | None = None
) -> Placement:
    """The placement of a body with joints `ours` [J, 3] in a skeleton with joints `theirs` [22, 3].

    girths: [J, 3] scales along each joint's axes, beside what the skeleton tells; None: ones. heights: [2] where in the
    skeleton the trunk stands, metres further up, and a factor of its height; None: as hips and shoulders tell.
    """
    count = len(ours)
    girths = np.ones((count, 3)) if girths is None else girths
    turn, trunk = _trunk(ours, theirs)
    size = size_ratio(ours, theirs)
    matrices, axes = np.zeros((count, 3, 3)), np.tile(np.eye(3), (count, 1, 1))
    origins, places = ours.copy(), np.zeros((count, 3))
    fixed = np.zeros((count, 3), bool)
    turns = np.tile(turn, (count, 1, 1))
    lift, tall = (0.0, 1.0) if heights is None else heights
    middle = [np.stack([side[JOINT["left_hip"]], side[JOINT["right_hip"]]]).mean(0) for side in (ours, theirs)]
    for joint in range(count):
        parent = parents[joint]
        if joint in TRUNK:
            scales = girths[joint] * trunk * [1.0, tall, 1.0]
            matrices[joint] = turn @ np.diag(scales)
            origins[joint], places[joint] = middle[0], middle[1] + lift * turn[:, 1]
            fixed[joint, 1] = True
        elif joint in LIMBS:
            here, there = ours[LIMBS[joint]] - ours[joint], theirs[LIMBS[joint]] - theirs[joint]
            start = turns[parent] if parent in LIMBS else turn
            turns[joint] = _shortest(unit(start @ here), unit(there)) @ start
            along = unit(here)
            axes[joint] = _across(along)
            length = np.linalg.norm(there) / max(float(np.linalg.norm(here)), 1e-6)
            scales = np.array([length, size * girths[joint, 1], size * girths[joint, 2]])
            matrices[joint] = turns[joint] @ (axes[joint].T * scales) @ axes[joint]
            places[joint] = theirs[joint]
            fixed[joint, 0] = True
        elif joint in FEET:  # rigs put the ball of the foot in many places: it tells where the foot points, no more
            here, there = ours[FEET[joint]] - ours[joint], theirs[FEET[joint]] - theirs[joint]
            level = [unit(way - (way @ UPRIGHT) * UPRIGHT) for way in (turn @ here, there)]
            turns[joint] = _shortest(*level) @ turn
            matrices[joint] = turns[joint] @ np.diag(girths[joint] * size)
            places[joint] = theirs[joint]
        else:  # hands and toes go on with what they hang on
            turns[joint] = turns[parent]
            is_toe = parent in FEET
            matrices[joint] = matrices[parent] if is_toe else turns[joint] * size
            far = joint >= len(theirs) or is_toe
            places[joint] = places[parent] + matrices[parent] @ (ours[joint] - ours[parent]) if far else theirs[joint]
            fixed[joint] = True
    return Placement(matrices, origins, places, axes, fixed)


def size_ratio(ours: Array, theirs: Array) -> float:
    """Metres of the other skeleton in a metre of this, by the lengths that all rigs agree about."""

    def length(joints: Array) -> float:
        limbs = sum(float(np.linalg.norm(joints[end] - joints[start])) for start, end in LIMBS.items())
        hips, shoulders = (joints[[JOINT[f"{side}_{name}"] for side in SIDES]].mean(0) for name in ("hip", "shoulder"))
        return limbs + 2 * float(np.linalg.norm(shoulders - hips))

    return length(theirs) / length(ours)


def _trunk(ours: Array, theirs: Array) -> tuple[Array, Array]:
    """How the trunk is turned [3, 3], and its scales in width, height and depth [3]."""
    names = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
    one, two = (side[[JOINT[name] for name in names]] for side in (ours, theirs))
    left, _, right = np.linalg.svd((two - two.mean(0)).T @ (one - one.mean(0)))
    turn = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
    tall = [np.linalg.norm(side[2:].mean(0) - side[:2].mean(0)) for side in (one, two)]
    wide = [np.linalg.norm(side[0] - side[1]) + np.linalg.norm(side[2] - side[3]) for side in (one, two)]
    height, width = tall[1] / tall[0], wide[1] / wide[0]
    return turn, np.array([width, height, np.sqrt(height * width)])


def _shortest(start: Array, end: Array) -> Array:
    """The rotation by the smallest angle that takes one unit vector to another [3, 3]."""
    x, y, z = np.cross(start, end)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + cross + cross @ cross / max(1.0 + start @ end, 1e-6)


def _across(along: Array) -> Array:  # [3] -> rows: along, and two directions across
    other = np.eye(3)[np.abs(along).argmin()]
    first = unit(np.cross(along, other))
    return np.stack([along, first, np.cross(along, first)])


def fit_girths(placed: Placement, points: Array, weights: Array, offsets: Array, trust: Array) -> Array:
    """Factors [J, 3] by which parts are to grow along their free axes, so that the points come to where they should.

    points [V, 3] as they are placed, offsets [V, 3] to where they should be, trust [V].
    """
    factors = np.ones((len(weights.T), 3))
    for joint in range(len(factors)):
        share = weights[:, joint] * trust
        if share.sum() < 20 or placed.fixed[joint].all():
            continue
        # directions of the part's axes as it is placed
        axes = unit((placed.matrices[joint] @ placed.axes[joint].T).T)
        radii = (points - placed.places[joint]) @ axes.T  # [V, 3]
        wanted = radii + offsets @ axes.T
        for axis in np.flatnonzero(~placed.fixed[joint]):
            middle = 0.0 if joint in LIMBS else (share * radii[:, axis]).sum() / share.sum()
            radius, target = radii[:, axis] - middle, wanted[:, axis] - middle
            factors[joint, axis] = (share * radius * target).sum() / (share * radius**2).sum()
    return factors


def fit_heights(placed: Placement, points: Array, weights: Array, across: Array, trust: Array) -> Array:  # [2]
    """How much higher the trunk should stand, metres, and by which factor it should be taller.

    Rigs put hips and shoulders in somewhat different places of the same body; where crotch, seat, bust and shoulders
    are tells better. points [V, 3] as they are placed, across [V, 3] to the other skin along its normal, trust [V].
    """
    share = weights[:, TRUNK].sum(1) * trust
    up = unit(placed.matrices[TRUNK[0]][:, 1])
    normals, distance = unit(across), np.linalg.norm(across, axis=1)
    height = (points - placed.places[TRUNK[0]]) @ up
    rising = normals @ up
    columns = np.stack([rising, rising * height], 1) * share[:, None]
    spread = share.sum()
    expected = np.diag([spread * (NOISE / LIFT) ** 2, spread * (NOISE / TALLER) ** 2])
    lift, taller = np.linalg.solve(
        columns.T @ (columns / np.maximum(share, 1e-9)[:, None]) + expected, columns.T @ distance
    )
    return np.array([lift, 1.0 + taller])
