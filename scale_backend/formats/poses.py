"""Poses of a body, and whether they are what a body can have."""

from __future__ import annotations

import numpy as np


def check_pose(rotations: np.ndarray, translation: np.ndarray | None, shape: np.ndarray | None) -> None:
    """Raises ValueError where the arrays are no pose."""
    if rotations.ndim != 4 or rotations.shape[2:] != (3, 3) or not len(rotations):
        raise ValueError(f"Rotations have the shape {rotations.shape}; [frames, joints, 3, 3] is needed.")
    frames = len(rotations)
    if translation is not None and translation.shape != (frames, 3):
        raise ValueError(f"Translations have the shape {translation.shape}; [{frames}, 3] is needed.")
    if shape is not None and (shape.ndim not in (1, 2) or (shape.ndim == 2 and len(shape) != frames)):
        raise ValueError(f"Shape coefficients have the shape {shape.shape}; [S] or [{frames}, S] is needed.")
    for name, array in (("rotations", rotations), ("translation", translation), ("shape", shape)):
        if array is not None and not np.isfinite(array).all():
            raise ValueError(f"The pose's {name} hold numbers that are not finite; look at the rig's constraints.")
