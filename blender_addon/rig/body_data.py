"""What the add-on knows of a body file (SMPL's format). numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from scale_backend.formats.body_arrays import checked_body_arrays, read_body_arrays


@dataclass(frozen=True, eq=False)  # what is computed of a body is remembered for it
class BodyData:
    """A body at rest: metres, Y up, facing +Z."""

    template: np.ndarray  # [V, 3]
    triangles: np.ndarray  # [T, 3]
    weights: np.ndarray  # [V, J]
    joints: np.ndarray  # [J, 3]
    joint_shapes: np.ndarray  # [J, 3, S] how the joints follow the shape coefficients
    shapes: np.ndarray  # [V, 3, S]
    parents: tuple[int, ...]
    uv: np.ndarray  # [U, 2]
    uv_triangles: np.ndarray  # [T, 3]

    def rest_joints(self, shape: np.ndarray) -> np.ndarray:  # [S] -> [J, 3]
        count = min(len(shape), self.joint_shapes.shape[-1])
        return self.joints + self.joint_shapes[..., :count] @ shape[:count]


def read_body(path: str | Path) -> BodyData:
    """A body from an .npz in SMPL's format, read once. Raises ForeignFileError, OSError."""
    return _read(Path(path))  # text and Path are one body: what is computed of a body is remembered for it


@lru_cache(maxsize=4)
def _read(path: Path) -> BodyData:
    arrays = checked_body_arrays(read_body_arrays(path), path.name)
    regressor = arrays["J_regressor"].astype(np.float64)
    template = arrays["v_template"].astype(np.float64)
    shapes = arrays["shapedirs"].astype(np.float64)
    return BodyData(
        template=template,
        triangles=arrays["f"].astype(np.int32),
        weights=arrays["weights"],
        joints=regressor @ template,
        joint_shapes=np.einsum("jv,vcs->jcs", regressor, shapes),
        shapes=shapes,
        parents=tuple(arrays["kintree_table"][0].tolist()),
        uv=arrays.get("vt", np.zeros((0, 2), np.float32)),
        uv_triangles=arrays.get("ft", np.zeros((0, 3), np.int64)),
    )
