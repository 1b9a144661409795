"""Rigs whose rest is no T-pose: how far their limbs are turned at rest. numpy only."""

from __future__ import annotations

import numpy as np

# the joint to which a limb leads; what hangs on it turns along
LIMBS = {1: 4, 2: 5, 4: 7, 5: 8, 16: 18, 17: 19, 18: 20, 19: 21}
PAIRS = ((16, 17), (18, 19), (1, 2), (4, 5))  # limbs, left and right
FEET = {7: 10, 8: 11}
# SMPL's own joints stand in a T-pose, though lopsided by up to 17 degrees; an A-pose lowers both arms by 30 or more
LOPSIDED = np.cos(np.radians(25.0))
# the rest of other rigs is made to be a T-pose or it is not one
STRAIGHT = np.cos(np.radians(12.0))


def turns(
    body_joints: np.ndarray,  # [22.., 3] of a T-pose
    rig_joints: np.ndarray,  # [22, 3] of the rig's rest, in the same axes
    parents: tuple[int, ...],  # J
    is_smpl: bool = True,
) -> np.ndarray:  # [J, 3, 3]
    """The rotation that takes each joint from the T-pose to the rig's rest; identities where that is a T-pose.

    Where a limb points is known from its joints. How it is twisted is not: the shortest way is taken. The feet of rigs
    that are not SMPL's stand flat, however the legs are spread.
    """
    turned = [np.eye(3)] * len(parents)
    if is_t_pose(body_joints, rig_joints, is_smpl):
        return np.array(turned)
    for joint, parent in list(enumerate(parents))[1:]:
        turn = turned[parent]
        if joint in LIMBS:
            here = _direction(rig_joints, joint, LIMBS[joint])
            turn = shortest_rotation(turn @ _direction(body_joints, joint, LIMBS[joint]), here) @ turn
        elif joint in FEET and not is_smpl:
            turn = _heading(_direction(body_joints, joint, FEET[joint]), _direction(rig_joints, joint, FEET[joint]))
        turned[joint] = turn
    return np.array(turned)


def is_t_pose(body_joints: np.ndarray, rig_joints: np.ndarray, is_smpl: bool) -> bool:
    """Whether a rest, in the body's axes, is meant to be the body's T-pose."""
    cosines = {
        joint: _direction(body_joints, joint, end) @ _direction(rig_joints, joint, end) for joint, end in LIMBS.items()
    }
    if is_smpl:  # one arm alone is a lopsided body
        return all(max(cosines[left], cosines[right]) > LOPSIDED for left, right in PAIRS)
    return min(cosines.values()) > STRAIGHT


def _direction(places: np.ndarray, joint: int, end: int) -> np.ndarray:  # [J, 3] -> [3]
    along = places[end] - places[joint]
    return along / max(np.linalg.norm(along), 1e-9)


def _heading(start: np.ndarray, end: np.ndarray) -> np.ndarray:  # [3], [3] -> [3, 3]
    """The rotation about the upright by which one direction comes above another."""
    angle = np.arctan2(end[0], end[2]) - np.arctan2(start[0], start[2])
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def shortest_rotation(start: np.ndarray, end: np.ndarray) -> np.ndarray:  # [3], [3] -> [3, 3]
    """The rotation by the smallest angle that takes one unit vector to another."""
    x, y, z = np.cross(start, end)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + cross + cross @ cross / max(1.0 + start @ end, 1e-6)


def between(start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:  # [3, 3], [3, 3] -> [3, 3]
    """The rotation that lies a fraction of the way from one to another."""
    turn = start.T @ end
    cosine = np.clip((np.trace(turn) - 1) / 2, -1.0, 1.0)
    angle = np.arccos(cosine)
    if angle < 1e-6:
        return start
    if np.pi - angle < 1e-3:  # about which axis is in the symmetric part alone
        column = (turn + np.eye(3))[:, np.argmax(np.diag(turn))]
        axis = column / np.linalg.norm(column)
    else:
        axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
        axis /= 2 * np.sin(angle)
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    part = fraction * angle
    return start @ (np.eye(3) + np.sin(part) * cross + (1 - np.cos(part)) * (cross @ cross))
