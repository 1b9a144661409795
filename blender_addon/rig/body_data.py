"""What the add-on knows of a body file (SMPL's format). numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np


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


@lru_cache(maxsize=4)
def read_body(path: str | Path) -> BodyData:
    with np.load(path, allow_pickle=False) as data:
        regressor = data["J_regressor"].astype(np.float64)
        template = data["v_template"].astype(np.float64)
        shapes = data["shapedirs"].astype(np.float64)
        parents = data["kintree_table"][0].astype(np.int64)
        parents[0] = -1
        return BodyData(
            template=template,
            triangles=data["f"].astype(np.int32),
            weights=data["weights"],
            joints=regressor @ template,
            joint_shapes=np.einsum("jv,vcs->jcs", regressor, shapes),
            shapes=shapes,
            parents=tuple(int(p) for p in parents),
            uv=data["vt"] if "vt" in data else np.zeros((0, 2), np.float32),
            uv_triangles=data["ft"] if "ft" in data else np.zeros((0, 3), np.int32),
        )
