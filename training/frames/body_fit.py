"""The pose of a body that is given as vertices only: what has to be taken off to normalise a fitted scan.

Each joint's rotation in space is first that of the vertices it moves most (Kabsch 1976, weighted); pose, place and
shape are then refined together, by the distance of corresponding vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scale_backend.formats.errors import UserError
from scale_backend.formats.motion import axis_angle_from_matrices
from scale_backend.geometry.body import Body, joint_transforms, pose_vertices

SHAPES = 10
SHAPE_STEP = 10.0  # units of shape that move the body about as far as a radian does
ITERATIONS = 120
SHAPE_STIFFNESS = 1e-7  # square metres a squared unit of shape: settles what the vertices leave open


@dataclass(frozen=True)
class BodyFit:
    """vertices = posed body; `root` [4, 4] leads from normalised space (root unturned, pelvis at the origin) there."""

    pose: np.ndarray  # [J, 3] axis-angle; the root's is its orientation in space
    shape: np.ndarray  # [S]
    root: np.ndarray  # [4, 4]
    error: float  # metres, mean over vertices

    def normalise(self, points: np.ndarray) -> np.ndarray:  # [M, 3] -> [M, 3]
        return (points - self.root[:3, 3]) @ self.root[:3, :3]


def fit_body(body: Body, vertices: np.ndarray) -> BodyFit:  # [V, 3] metres
    """Raises UserError for another number of vertices."""
    if vertices.shape != tuple(body.template.shape):
        raise UserError(f"{len(vertices)} vertices, the body '{body.name}' has {len(body.template)}")
    target = torch.from_numpy(np.ascontiguousarray(vertices, np.float32))
    base = _local(body, _turns(body, target))
    turn = torch.zeros(body.joint_count, 3, requires_grad=True)
    place = (target - pose_vertices(body, base[None])[0]).mean(0).detach().requires_grad_()
    steps = torch.zeros(min(SHAPES, body.shape_components.shape[-1]), requires_grad=True)
    parameters = [turn, place, steps]

    def posed() -> tuple[Tensor, Tensor, Tensor]:
        rotations = (base @ _rotation(turn))[None]
        full = torch.nn.functional.pad(SHAPE_STEP * steps, (0, body.shape_components.shape[-1] - len(steps)))[None]
        return rotations, full, pose_vertices(body, rotations, place[None], full)[0]

    search = torch.optim.LBFGS(
        parameters, max_iter=ITERATIONS, history_size=50, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )  # fmt: skip

    def loss() -> Tensor:
        search.zero_grad()
        value = 1e3 * (
            (posed()[2] - target).square().sum(-1).mean() + SHAPE_STIFFNESS * (SHAPE_STEP * steps).square().sum()
        )
        value.backward()
        return value

    search.step(loss)
    with torch.no_grad():
        rotations, full, found = posed()
        pelvis = joint_transforms(body, rotations, place[None], full)[0, 0]
        root = torch.eye(4)
        root[:3, :3] = rotations[0, 0]
        root[:3, 3] = pelvis[:3, :3] @ body.rest_joints(full)[0, 0] + pelvis[:3, 3]
        error = float((found - target).norm(dim=-1).mean())
    pose = axis_angle_from_matrices(rotations[0].numpy())
    return BodyFit(np.asarray(pose, np.float32), SHAPE_STEP * steps.detach().numpy(), root.numpy(), error)


def _turns(body: Body, target: Tensor) -> Tensor:  # [V, 3] -> [J, 3, 3] rotations in space
    """Of the vertices each joint moves, as one rigid piece."""
    weights = body.blend_weights.T**4  # [J, V]
    weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-12)
    centre, moved = weights @ body.template, weights @ target
    spread = torch.einsum(
        "jv,jva,jvb->jab", weights, body.template - centre[:, None], target - moved[:, None]
    )  # fmt: skip
    u, _, vt = torch.linalg.svd(spread)
    sign = torch.linalg.det(u @ vt).sign()
    flip = torch.diag_embed(torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1))
    return (u @ flip @ vt).transpose(1, 2)


def _local(body: Body, turns: Tensor) -> Tensor:  # [J, 3, 3] in space -> [J, 3, 3] against the parent
    parents = torch.tensor(body.parents[1:])
    return torch.cat([turns[:1], turns[parents].transpose(1, 2) @ turns[1:]])


def _rotation(turn: Tensor) -> Tensor:  # [J, 3] axis-angle -> [J, 3, 3]
    x, y, z = turn.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(skew)
