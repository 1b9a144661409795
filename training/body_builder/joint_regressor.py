"""Joints from the skin: for each joint a ring of vertices around it, whose weighted mean is where it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from scale_backend.formats.errors import UserError
from scale_backend.formats.joints import SMPL
from training.body_builder.makehuman import Array, Index
from training.body_builder.skeleton import MIRRORED, PARENTS

SPINE = ("pelvis", "spine1", "spine2", "spine3")
REACH = {  # metres from the joint within which its ring lies
    "pelvis": 0.3, "spine1": 0.3, "spine2": 0.3, "spine3": 0.3, "neck": 0.13, "head": 0.13,
    "left_hip": 0.16, "left_collar": 0.16, "left_shoulder": 0.13,
}  # fmt: skip
OTHER_REACH = 0.12
EXACT = 5e-4  # metres that a ring's mean may miss its joint
WIDEST = 0.3  # metres: half the width of a ring when it is given up


def joint_regressor(skin: Array, joints: Array, weights: Array, mirror: Index) -> Array:  # [J, V]
    """Rows of weights that are not negative, sum to 1, are as even as may be and mirror each other.

    Raises UserError if a joint lies outside of all rings around it.
    """
    rows = np.zeros((len(SMPL), len(skin)))
    for joint, name in enumerate(SMPL):
        if name.startswith("right"):
            continue
        ring, shares = _ring(joint, skin, joints, weights)
        if MIRRORED[joint] == joint:
            rows[joint, ring] = shares
            rows[joint] = (rows[joint] + rows[joint][mirror]) / 2
        else:
            rows[joint, ring] = shares
            rows[MIRRORED[joint], mirror[ring]] = shares
    return rows


def _ring(joint: int, skin: Array, joints: Array, weights: Array) -> tuple[Index, Array]:
    """Vertices of a slab across the bone, widened until they enclose the joint, and their weights."""
    name, here = SMPL[joint], joints[joint]
    kin = [joint, *(other for other in (PARENTS[joint],) if other >= 0), *_children(joint)]
    distance = np.linalg.norm(skin - here, axis=1)
    near: NDArray[np.bool_] = (weights[:, kin].sum(1) > 0.3) & (distance < REACH.get(name, OTHER_REACH))
    if MIRRORED[joint] != joint:
        near &= skin[:, 0] > 0.005
    axis, width = _slab(joint, joints)
    along = np.abs((skin - here) @ axis)
    while width <= WIDEST:
        ring = np.flatnonzero(near & (along < width))
        if len(ring) >= 8:
            shares = _even_shares(skin[ring] - here)
            if np.linalg.norm(shares @ (skin[ring] - here)) < EXACT:
                return ring, shares
        width *= 1.3
    raise UserError(f"No ring of skin encloses the joint {name}: the body is not shaped as this builder expects.")


def _children(joint: int) -> list[int]:
    return [child for child, parent in enumerate(PARENTS) if parent == joint]


def _slab(joint: int, joints: Array) -> tuple[Array, float]:
    """Across which direction a joint's ring lies, and half its width to begin with."""
    name = SMPL[joint]
    if name in SPINE:
        return np.array([0.0, 1, 0]), 0.03
    if name.endswith("hip"):
        return np.array([0.0, 1, 0]), 0.06
    if name.endswith(("collar", "shoulder")):
        return np.array([1.0, 0, 0]), 0.025
    before = joints[joint] - joints[PARENTS[joint]]
    children = _children(joint)
    after = joints[children[0]] - joints[joint] if children else before
    axis = before / np.linalg.norm(before) + after / np.linalg.norm(after)
    return axis / np.linalg.norm(axis), 0.025


def _even_shares(offsets: Array) -> Array:  # [M, 3] -> [M]
    """Weights whose mean of the offsets is nought, near even: non-negative least squares."""
    count = len(offsets)
    rows = np.concatenate([offsets.T * 1e4, np.full((1, count), 1e3), np.eye(count)])
    wanted = np.concatenate([[0, 0, 0, 1e3], np.full(count, 1 / count)])
    shares, _ = nnls(rows, wanted, maxiter=20000)
    return shares / shares.sum()
