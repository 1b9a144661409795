"""A skinned body in SMPL's file format: linear blend skinning with shape and pose correctives.

Loper et al., SMPL: A Skinned Multi-Person Linear Model, 2015. 24 joints (SMPL), 52 (SMPL-H) or 55 (SMPL-X).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scale_backend.formats.assets import find_body
from scale_backend.formats.body_arrays import as_rigid, checked_body_arrays, is_surface_alone, read_body_arrays
from scale_backend.formats.body_digest import body_digest
from scale_backend.formats.errors import UserError
from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.joints import JOINT_NAMES
from scale_backend.formats.uv_template import UVTemplate, read_uv_template
from scale_backend.machine.moving import to_device

SHAPE_COUNT = 10


@dataclass(frozen=True)
class Body:
    """Everything that does not depend on the pose. Metres, Y up, facing +Z, T-pose."""

    name: str
    template: Tensor  # [V, 3]
    triangles: Tensor  # [T, 3] int64
    blend_weights: Tensor  # [V, J]
    joint_regressor: Tensor  # [J, V]
    parents: tuple[int, ...]  # root: -1
    joint_names: tuple[str, ...]
    shape_components: Tensor  # [V, 3, S]
    pose_components: Tensor | None = None  # [V, 3, 9 (J - 1)]
    uv: Tensor | None = None  # [U, 2]
    uv_triangles: Tensor | None = None  # [T, 3] int64
    posable: bool = True  # False: a surface alone, for frames that bring the posed body along

    def check_posable(self) -> None:
        """Raises ForeignFileError for a surface alone."""
        if not self.posable:
            raise ForeignFileError(
                f"The body '{self.name}' is a surface from a UV template and cannot follow a pose; make a body of the "
                "official file with scale-backend import-body, and the garment anew with import-checkpoint --body."
            )

    @property
    def joint_count(self) -> int:
        return len(self.parents)

    @functools.cached_property
    def digest(self) -> str:
        return body_digest(self.template.cpu().numpy(), self.triangles.cpu().numpy())

    @functools.cached_property
    def mean_joints(self) -> Tensor:  # [J, 3]
        return self.joint_regressor @ self.template

    @functools.cached_property
    def joint_shape_components(self) -> Tensor:  # [J, 3, S]
        return torch.einsum("jv,vcs->jcs", self.joint_regressor, self.shape_components)

    def to(self, device: str | torch.device) -> Body:
        return to_device(self, device)

    def rest_joints(self, shape: Tensor | None = None) -> Tensor:  # [F, S] -> [F, J, 3]
        if shape is None:
            return self.mean_joints[None]
        return self.mean_joints + torch.einsum("jcs,fs->fjc", self.joint_shape_components, shape)


def load_body(path: str | Path = "neutral", shape_count: int = SHAPE_COUNT) -> Body:
    """Read a body from an .npz in SMPL's format, by name or path; or a surface alone from a UV template (.obj).

    Raises FileNotFoundError, and ForeignFileError for a file that is no body.
    """
    path = find_body(path)
    if path.suffix == ".obj":
        return surface_body(read_uv_template(path))
    return body_from_arrays(read_body_arrays(path), path.name, shape_count)


def surface_body(template: UVTemplate) -> Body:
    """The surface of a UV template as a body that follows no pose."""
    return body_from_arrays(template.arrays(), template.name)


def body_from_arrays(arrays: Mapping[str, np.ndarray], file: str, shape_count: int = SHAPE_COUNT) -> Body:
    """A body from SMPL's arrays; its name is the file's. Raises ForeignFileError where they do not belong together."""
    posable = not is_surface_alone(arrays)
    arrays = arrays if posable else as_rigid(arrays)
    checked = {key: torch.from_numpy(values) for key, values in checked_body_arrays(arrays, file).items()}
    joint_count = checked["weights"].shape[1]
    return Body(
        name=Path(file).stem,
        template=checked["v_template"],
        triangles=checked["f"],
        blend_weights=checked["weights"],
        joint_regressor=checked["J_regressor"],
        parents=tuple(checked["kintree_table"][0].tolist()),
        joint_names=JOINT_NAMES.get(joint_count, tuple(f"joint_{j}" for j in range(joint_count))),
        shape_components=checked["shapedirs"][..., :shape_count].contiguous(),
        pose_components=checked["posedirs"] if "posedirs" in checked and checked["posedirs"].any() else None,
        uv=checked.get("vt"),
        uv_triangles=checked.get("ft"),
        posable=posable,
    )


def joint_transforms(
    body: Body,
    rotations: Tensor,  # [F, J, 3, 3] local
    translation: Tensor | None = None,  # [F, 3] metres
    shape: Tensor | None = None,  # [F, S] or [1, S]
) -> Tensor:  # [F, J, 4, 4]
    """Skinning transforms, from the rest pose to the posed one (SMPL eq. 3-4)."""
    return forward_kinematics(body.parents, body.rest_joints(shape), rotations, translation)


def forward_kinematics(
    parents: tuple[int, ...],
    rest: Tensor,  # [F or 1, J, 3] joints
    rotations: Tensor,  # [F, J, 3, 3] local
    translation: Tensor | None = None,  # [F, 3] metres
) -> Tensor:  # [F, J, 4, 4]
    """What a skeleton's rotations do to its rest pose."""
    levels = _levels(parents, rotations.device)
    rest = rest.expand(len(rotations), -1, -1)
    offsets = torch.cat([rest[:, :1], rest[:, 1:] - rest.index_select(1, levels.parents[1:])], 1)
    local = _rigid(rotations, offsets)
    world = [local[:, :1]]
    for joints, above in levels.below:
        world.append(world[-1].index_select(1, above) @ local.index_select(1, joints))
    placed = torch.cat(world, 1).index_select(1, levels.order)
    rotation = placed[:, :, :3, :3]
    position = placed[:, :, :3, 3] - (rotation @ rest[..., None])[..., 0]
    if translation is not None:
        position = position + translation[:, None]
    return _rigid(rotation, position)


def _rigid(rotation: Tensor, position: Tensor) -> Tensor:  # [F, J, 3, 3], [F, J, 3] -> [F, J, 4, 4]
    bottom = rotation.new_zeros(*position.shape[:2], 1, 4)
    bottom[..., 3] = 1
    return torch.cat([torch.cat([rotation, position[..., None]], -1), bottom], 2)


@dataclass(frozen=True)
class Levels:
    """Joints by their distance from the root: all of a level are posed at once."""

    parents: Tensor  # [J] the root's is itself
    below: tuple[tuple[Tensor, Tensor], ...]  # each level's joints, and places of their parents in the level above
    order: Tensor  # [J] place of each joint when level follows level


@functools.cache
@torch.inference_mode(False)  # they are kept, and training needs them too
def _levels(parents: tuple[int, ...], device: torch.device) -> Levels:
    levels = [[0]]
    while below := [joint for joint, parent in enumerate(parents) if parent in levels[-1] and joint]:
        levels.append(below)

    def tensor(numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, device=device)

    steps = tuple(
        (tensor(joints), tensor([above.index(parents[joint]) for joint in joints]))
        for above, joints in itertools.pairwise(levels)
    )
    flat = [joint for level in levels for joint in level]
    return Levels(tensor([0, *parents[1:]]), steps, tensor([flat.index(joint) for joint in range(len(parents))]))


def skin(
    vertices: Tensor,  # [F or 1, V, 3] rest pose, correctives added
    blend_weights: Tensor,  # [V, J]
    transforms: Tensor,  # [F, J, 4, 4]
) -> Tensor:  # [F, V, 3]
    """Linear blend skinning."""
    blended = (blend_weights @ transforms[:, :, :3].flatten(2)).unflatten(-1, (3, 4))  # [F, V, 3, 4]
    return (blended[..., :3] @ vertices[..., None])[..., 0] + blended[..., 3]


def shaped_vertices(
    template: Tensor,  # [V, 3]
    shape_components: Tensor,  # [V, 3, S]
    shape: Tensor | None,  # [F, S]
) -> Tensor:  # [F or 1, V, 3]
    if shape is None:
        return template[None]
    return template + torch.einsum("vcs,fs->fvc", shape_components, shape)


def pose_vertices(
    body: Body,
    rotations: Tensor,  # [F, J, 3, 3]
    translation: Tensor | None = None,  # [F, 3]
    shape: Tensor | None = None,  # [F, S]
    transforms: Tensor | None = None,  # [F, J, 4, 4] where they are known already
) -> Tensor:  # [F, V, 3] metres
    """The posed body."""
    vertices = shaped_vertices(body.template, body.shape_components, shape)
    if body.pose_components is not None:
        identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        correctives = (rotations[:, 1:] - identity).flatten(1)  # [F, 9 (J - 1)]
        vertices = vertices + torch.einsum("vcp,fp->fvc", body.pose_components, correctives)
    if transforms is None:
        transforms = joint_transforms(body, rotations, translation, shape)
    return skin(vertices, body.blend_weights, transforms)


def fit_joint_count(rotations: Tensor, joint_count: int) -> Tensor:  # [F, K, 3, 3] -> [F, J, 3, 3]
    """Rotations of one member of the SMPL family for a body of another.

    The first 22 joints are common. Fingers, jaw and eyes have no counterpart in SMPL's two hand joints: identity there.
    """
    if rotations.shape[1] == joint_count:
        return rotations
    if rotations.shape[1] < 22:
        raise UserError(f"A pose of {rotations.shape[1]} joints; SMPL's family has 24, 52 or 55.")
    fitted = torch.eye(3, dtype=rotations.dtype, device=rotations.device).repeat(len(rotations), joint_count, 1, 1)
    fitted[:, :22] = rotations[:, :22]
    if {rotations.shape[1], joint_count} == {52, 55}:
        fitted[:, -30:] = rotations[:, -30:]
    return fitted
