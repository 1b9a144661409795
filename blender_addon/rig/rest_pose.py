"""Rigs whose rest is no T-pose: how far their limbs are turned at rest. numpy only."""

from __future__ import annotations

import numpy as np

# the joint to which a limb leads; what hangs on it turns along
LIMBS = {1: 4, 2: 5, 4: 7, 5: 8, 16: 18, 17: 19, 18: 20, 19: 21}
BEARABLE = np.cos(np.radians(15.0))  # bodies of other proportions differ by less


def turns(
    body_joints: np.ndarray,  # [22.., 3] of a T-pose
    rig_joints: np.ndarray,  # [22, 3] of the rig's rest, in the same axes
    parents: tuple[int, ...],  # J
) -> np.ndarray:  # [J, 3, 3]
    """The rotation that takes each joint from the T-pose to the rig's rest.

    Where a limb points is known from its joints. How it is twisted is not: the shortest way is taken.
    """
    found = [np.eye(3)]
    for joint, parent in list(enumerate(parents))[1:]:
        turn = found[parent]
        if joint in LIMBS:
            here = _direction(rig_joints, joint)
            expected = turn @ _direction(body_joints, joint)
            if expected @ here < BEARABLE:
                turn = shortest_rotation(expected, here) @ turn
        found.append(turn)
    return np.array(found)


def _direction(places: np.ndarray, joint: int) -> np.ndarray:  # [J, 3] -> [3]
    along = places[LIMBS[joint]] - places[joint]
    return along / max(np.linalg.norm(along), 1e-9)


def shortest_rotation(start: np.ndarray, end: np.ndarray) -> np.ndarray:  # [3], [3] -> [3, 3]
    """The rotation by the smallest angle that takes one unit vector to another."""
    x, y, z = np.cross(start, end)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + cross + cross @ cross / max(1.0 + start @ end, 1e-6)
