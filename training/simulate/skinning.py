"""Linear blend skinning of a body in numpy: light enough for a process that also holds Blender.

Same convention as scale_backend.geometry.body, in the raw frames' normalised space: the pelvis joint is the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scale_backend.formats.body_arrays import checked_body_arrays, is_surface_alone, read_body_arrays
from scale_backend.formats.body_digest import body_digest
from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.joints import BODY, JOINT_NAMES

Array = NDArray[np.float64]
NEEDED = ("cloth is simulated on bodies that can be posed: an .npz in SMPL's format with 24, 52 or 55 joints, which "
          "scale-backend import-body makes of an official file.")  # fmt: skip
BODY_PATH = Path(__file__).resolve().parents[2] / "assets" / "bodies" / "neutral.npz"


@dataclass(frozen=True, eq=False)
class SkinnedBody:
    """A body in SMPL's file format, in its mean shape."""

    name: str
    vertices: Array  # [V, 3] metres, T-pose
    triangles: NDArray[np.int64]  # [T, 3]
    blend_weights: Array  # [V, J]
    joints: Array  # [J, 3]
    parents: tuple[int, ...]
    joint_names: tuple[str, ...]
    pose_components: NDArray[np.float32] | None = None  # [V, 3, 9 (J - 1)] metres, of the joints' rotations

    def digest(self) -> str:
        return body_digest(self.vertices, self.triangles)

    def joint(self, name: str) -> int:
        return self.joint_names.index(name)


def load_skinned_body(path: Path = BODY_PATH) -> SkinnedBody:
    """A body of 24, 52 or 55 joints from an .npz in SMPL's format. Raises ForeignFileError, OSError."""
    if path.suffix == ".obj" or is_surface_alone(given := read_body_arrays(path)):
        raise ForeignFileError(f"{path.name} is a surface alone and cannot follow a pose; {NEEDED}")
    arrays = checked_body_arrays(given, path.name)
    vertices, parents = arrays["v_template"].astype(np.float64), arrays["kintree_table"][0].tolist()
    if len(parents) not in JOINT_NAMES:
        raise ForeignFileError(f"{path.name} has {len(parents)} joints; {NEEDED}")
    components = arrays.get("posedirs")
    return SkinnedBody(
        path.stem,
        vertices,
        arrays["f"],
        arrays["weights"].astype(np.float64),
        arrays["J_regressor"].astype(np.float64) @ vertices,
        tuple(parents),
        JOINT_NAMES[len(parents)],
        components if components is not None and components.any() else None,
    )


def whole_pose(body: SkinnedBody, pose: Array) -> Array:
    """A pose [K, 3] of one of SMPL's family for the body [J, 3]: fingers and face, which touch no cloth, rest."""
    whole = np.zeros((len(body.parents), 3))
    whole[: len(BODY)] = pose[: len(BODY)]
    return whole


def rotation_matrices(axis_angle: Array) -> Array:
    """Rodrigues' formula: [..., 3] -> [..., 3, 3]."""
    angle = np.linalg.norm(axis_angle, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(axis_angle / np.maximum(angle[..., 0], 1e-12), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def posed_joints(body: SkinnedBody, pose: Array) -> tuple[Array, Array]:
    """World rotations [J, 3, 3] and positions [J, 3] of the joints, pelvis at the origin; pose [J, 3]."""
    local = rotation_matrices(pose)
    rotations, positions = np.empty((len(pose), 3, 3)), np.zeros((len(pose), 3))
    for joint, parent in enumerate(body.parents):
        if parent < 0:
            rotations[joint] = local[joint]
            continue
        rotations[joint] = rotations[parent] @ local[joint]
        positions[joint] = positions[parent] + rotations[parent] @ (body.joints[joint] - body.joints[parent])
    return rotations, positions


def joint_positions(body: SkinnedBody, pose: Array) -> Array:
    """Posed joints [J, 3], pelvis at the origin."""
    return posed_joints(body, pose)[1]


def pose_positions(body: SkinnedBody, pose: Array) -> Array:
    """Joints [J, 3] of the body in a pose [K, 3] of one of SMPL's family, pelvis at the origin."""
    return joint_positions(body, whole_pose(body, pose))


def skin(body: SkinnedBody, pose: Array, vertices: Array, blend_weights: Array) -> Array:
    """Pose rest vertices [V, 3], pelvis at the origin; pose [J, 3] axis-angle."""
    rotations, positions = posed_joints(body, pose)
    shift = positions - np.einsum("jab,jb->ja", rotations, body.joints)
    rotation = np.tensordot(blend_weights, rotations, 1)
    return np.einsum("vab,vb->va", rotation, vertices) + blend_weights @ shift


def correctives(body: SkinnedBody, pose: Array) -> Array:
    """How the pose [J, 3] moves the body's rest vertices [V, 3] before they are skinned (SMPL, eq. 9)."""
    if body.pose_components is None:
        return np.zeros_like(body.vertices)
    return body.pose_components @ (rotation_matrices(pose[1:]) - np.eye(3)).ravel()


def skin_body(body: SkinnedBody, pose: Array) -> Array:
    return skin(body, pose, body.vertices + correctives(body, pose), body.blend_weights)
