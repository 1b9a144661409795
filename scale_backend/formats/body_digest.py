"""Which body a file belongs to. numpy only: simulation and Blender use it too."""

from __future__ import annotations

import hashlib

import numpy as np


def body_digest(template: np.ndarray, triangles: np.ndarray) -> str:  # [V, 3] metres, [T, 3]
    """Hash of the template, to a hundredth of a millimetre, and the triangles.

    Two files of the same body agree, whatever else they hold.
    """
    hasher = hashlib.sha256()
    hasher.update(np.round(np.asarray(template, np.float64) * 1e5).astype("<i4").tobytes())
    hasher.update(np.asarray(triangles).astype("<i4").tobytes())
    return hasher.hexdigest()
