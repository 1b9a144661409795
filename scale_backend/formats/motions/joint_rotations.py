"""The forms in which files hold the rotations of joints: axis-angle, matrices, and six numbers of a matrix.

Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019, is where the six come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scale_backend.formats.motion import axis_angle_from_matrices

FORMS = {3: "axis-angle", 6: "6D", 9: "matrices"}  # by numbers a joint
KNEES, ELBOWS = (4, 5), (18, 19)  # joints, left and right
TOLERANCE = 0.02  # of what should be the identity, in matrices
PIECE = 1000  # frames


class RotationError(ValueError):
    """Numbers that are no rotations, as the end of a sentence that begins with their name."""


def pose_shape(shape: tuple[int, ...], joint_counts: Sequence[int]) -> tuple[tuple[int, ...], int, int] | None:
    """Leading axes, joints and numbers a joint of an array of poses; None where its last axes are no pose."""
    for count in joint_counts:
        for numbers in FORMS:
            for tail in ((count * numbers,), (count, numbers), (count, 3, 3)):
                if shape[len(shape) - len(tail) :] == tail and len(shape) >= len(tail):
                    return shape[: len(shape) - len(tail)], count, 9 if tail[1:] == (3, 3) else numbers
    return None


def six_form(values: np.ndarray, first_joint: int = 0) -> tuple[str, str]:  # [F, J, 6]
    """How six numbers lie in a matrix, and what there is to say about it: there are three habits, and no file says
    which is its own.

    Alternating ones (x of two columns, y, z) are no unit vectors when read otherwise. Columns and rows are told apart
    by the joints that bend one way only: as rows, the knees of columns bend to the front.
    """
    flat, alternating = values.reshape(*values.shape[:-1], 2, 3), values.reshape(*values.shape[:-1], 3, 2)
    if _unit_fault(np.swapaxes(alternating, -1, -2)) < _unit_fault(flat) - 1e-3:
        return "alternating", "six numbers a joint were read as two columns of a matrix, row by row"
    turned = axis_angle_from_matrices(_from_two(flat, as_rows=False))
    knees = [joint - first_joint for joint in KNEES]
    left, right = (joint - first_joint for joint in ELBOWS)
    bend = turned[:, knees, 0].sum() + (turned[:, right, 1] - turned[:, left, 1]).sum()
    form = "columns" if bend >= 0 else "rows"
    return form, f"six numbers a joint were read as the first two {form} of a matrix"


def axis_angles(values: np.ndarray, six: str = "columns") -> np.ndarray:  # [F, J, 3, 6 or 9] -> [F, J, 3] radians
    """Raises RotationError for matrices that are no rotations."""
    if values.shape[-1] == 3:
        return values
    pieces = range(0, max(1, len(values)), PIECE)  # what lies between takes many times the room
    return np.concatenate([_from_matrices(values[first : first + PIECE], six) for first in pieces])


def _from_matrices(values: np.ndarray, six: str) -> np.ndarray:  # [F, J, 6 or 9] -> [F, J, 3]
    if values.shape[-1] == 6:
        if six == "alternating":
            pair = np.swapaxes(values.reshape(*values.shape[:-1], 3, 2), -1, -2)
        else:
            pair = values.reshape(*values.shape[:-1], 2, 3)
        return axis_angle_from_matrices(_from_two(pair, as_rows=six == "rows"))
    matrices = values.reshape(*values.shape[:-1], 3, 3)
    fault = np.abs(matrices @ np.swapaxes(matrices, -1, -2) - np.eye(3))
    if not (fault.max(initial=0) < TOLERANCE and np.linalg.det(matrices).min(initial=1) > 0):
        raise RotationError("holds matrices that are no rotations; say where they come from, or convert them to "
                            "axis-angle")  # fmt: skip
    return axis_angle_from_matrices(matrices)


def _unit_fault(pair: np.ndarray) -> float:  # [..., 2, 3]
    """How far two vectors are from unit length and from a right angle, on average."""
    first, second = pair[..., 0, :], pair[..., 1, :]
    lengths = np.abs(np.linalg.norm(pair, axis=-1) - 1).mean()
    return float(lengths + np.abs((first * second).sum(-1)).mean())


def _from_two(pair: np.ndarray, as_rows: bool) -> np.ndarray:  # [..., 2, 3] -> [..., 3, 3]
    """Gram and Schmidt's way: two vectors made orthonormal, and a third across them. Raises RotationError."""
    first, second = pair[..., 0, :], pair[..., 1, :]
    length = np.linalg.norm(first, axis=-1, keepdims=True)
    first = first / np.maximum(length, 1e-12)
    second = second - (first * second).sum(-1, keepdims=True) * first
    across = np.linalg.norm(second, axis=-1, keepdims=True)
    if min(length.min(initial=1), across.min(initial=1)) < 1e-6:
        raise RotationError("holds six numbers a joint that are no rotation; convert them to axis-angle")
    second = second / across
    return np.stack([first, second, np.cross(first, second)], -2 if as_rows else -1)
