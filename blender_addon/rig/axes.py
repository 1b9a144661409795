"""From SMPL's axes to Blender's and to a rig's own: the only module that knows where up is."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import numpy as np

# columns: where SMPL's x (left), y (up) and z (front) point in Blender: (x, y, z) -> (x, -z, y)
BLENDER = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])

# parts of the skeleton that A-poses and T-poses share, of which the orientation is read
TRUNK = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17)
STRAIGHT = np.cos(np.radians(10.0))


def signed_permutations() -> np.ndarray:  # [24, 3, 3]
    """The rotations that map axes onto axes."""
    turns = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[order, range(3)] = signs
            if np.linalg.det(matrix) > 0:
                turns.append(matrix)
    return np.array(turns)


SQUARE = signed_permutations()


def fit_frame(
    body_joints: np.ndarray,  # [22.., 3] at rest
    rig_joints: np.ndarray,  # [22.., 3] at rest
    there: Collection[int] = TRUNK,  # joints that the rig has
) -> tuple[np.ndarray, float]:
    """The rotation from SMPL's axes to the rig's and the rig's units in a metre (a power of ten).

    Umeyama 1991; a rotation that is nearly one of axes onto axes is taken
    to be exactly that, since rigs of other proportions tilt the fit a little.
    """
    trunk = [joint for joint in TRUNK if joint in there]
    body = body_joints[trunk] - body_joints[trunk].mean(0)
    rig = rig_joints[trunk] - rig_joints[trunk].mean(0)
    left, _, right = np.linalg.svd(rig.T @ body)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ flip @ right
    likeness = (np.einsum("kij,ij->k", SQUARE, rotation) - 1) / 2  # cosine of the angle between
    if likeness.max() > STRAIGHT:
        rotation = SQUARE[likeness.argmax()]
    size = np.sqrt((rig**2).sum() / (body**2).sum())
    return rotation, float(10.0 ** np.round(np.log10(size)))


def change(vectors: np.ndarray, rotation: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Vectors [..., 3] of SMPL's axes in the rig's; float32 and contiguous, ready for foreach_set."""
    return np.ascontiguousarray(vectors @ (rotation.T * scale).astype(vectors.dtype), np.float32)
