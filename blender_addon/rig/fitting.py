"""What clothes are decoded on, for a rig: the character's own body, or the garment's, in the shape of the rig's shape
keys or fitted to its bones at rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from bpy.types import Object

from scale_backend.formats.wearer import Wearer

from .body_data import BodyData
from .pose import Pose, rest_pelvis
from .rest import Rest, RigFrame
from .shape import body_shape, has_shapes_of
from .wearer import wearer_of

NOISE = 0.002  # metres that a coordinate of a joint may differ by where nothing is known of the body's shape
SIZE_SPREAD = 0.1  # of the size as a whole, against which a shape coefficient's 1 is weighed
LARGEST_SHAPE = 3.0  # coefficients; beyond it a body is no longer what the garment knows
BEARABLE = 0.02  # metres that joints may stay apart on average
LEFT_OFF = (
    "No body that the garment knows has bones like this character's: it has the garment's own shape. "
    "With a mesh of its body it would fit."
)
NOTABLY = 0.9  # of the distance: what is not nearer than this is not nearer
ALIKE = 1e-4  # metres; bones that are nowhere further from the mean body's are its own


@dataclass(frozen=True)
class FittedBody:
    """The garment's body in the shape and size of a rig's, and how it hangs on the rig's pelvis."""

    shape: np.ndarray  # [S] float32
    size: float  # metres of the rig in a metre of the body
    pelvis: np.ndarray  # [3] of the body at rest
    offset: np.ndarray  # [3] from the body's pelvis to the rig's, at rest
    residual: float  # metres, between the joints of both on average
    wearer: Wearer | None = None  # the character's own body, in whose place all else says only how it hangs
    told: str = ""  # a sentence where it could not be fitted

    @property
    def is_mean(self) -> bool:
        return self.size == 1.0 and not self.shape.any()

    def translation(self, pose: Pose) -> np.ndarray:  # [3] float32, SMPL's `trans`
        hung = pose.pelvis / self.size - pose.rotations[0] @ self.offset
        return (hung - self.pelvis).astype(np.float32)

    def frame(self, rest: RigFrame) -> RigFrame:
        """The rig's frame for what is decoded on this body."""
        return RigFrame(rest.rotation, rest.unit * self.size)


def body_for(target: Object, rest: Rest, body: BodyData, to_bones: bool = True, to_mesh: bool = True) -> FittedBody:
    """What a rig's clothes are decoded on: the mesh of its body, unless that is the garment's own; its shape keys, if
    they are the garment's body's own; else its bones. Raises AddonError for a mesh that cannot be used."""
    wearer = wearer_of(target, rest, body) if to_bones and to_mesh else None
    if wearer is not None:
        return FittedBody(np.zeros(0, np.float32), 1.0, wearer.joints[0], np.zeros(3), 0.0, wearer)
    shape = body_shape(target, body)
    if to_bones and not shape.any():
        fitted = _fitted(body, rest)
        if fitted.is_mean or not has_shapes_of(target, body):  # the latter takes a millisecond
            return fitted
    return FittedBody(shape, 1.0, rest_pelvis(rest, body, shape), np.zeros(3), 0.0)


@lru_cache(maxsize=64)
def _fitted(body: BodyData, rest: Rest) -> FittedBody:
    """Live update asks for every frame; the bones at rest seldom change."""
    return cautious_fit(body, rest.in_t_pose)


def cautious_fit(body: BodyData, rest: np.ndarray) -> FittedBody:  # [22, 3] joints in the T-pose, metres
    """The fit to bones, where it is one: not with shapes at their limit, nor where joints stay centimetres apart.

    Else the garment's body in the skeleton's size, if that is nearer to it than the body as it is.
    """
    fitted = fit(body, rest)
    if np.abs(fitted.shape).max(initial=0) < LARGEST_SHAPE and fitted.residual < BEARABLE:
        return fitted
    sized, plain = (_sized(body, rest, size) for size in (_best_size(body, rest), 1.0))
    best = sized if sized.residual < NOTABLY * plain.residual else plain
    return replace(best, told=LEFT_OFF)


def _best_size(body: BodyData, rest: np.ndarray) -> float:
    ours, theirs = (places - places.mean(0) for places in (body.joints[: len(rest)], rest))
    return float((ours * theirs).sum() / (ours**2).sum())


def _sized(body: BodyData, rest: np.ndarray, size: float) -> FittedBody:
    """The mean body in a size, its joints about the rest's."""
    joints = body.joints[: len(rest)]
    hung = joints - joints.mean(0) + (rest / size).mean(0)
    residual = float(np.linalg.norm(hung * size - rest, axis=1).mean())
    shape = np.zeros(body.joint_shapes.shape[-1], np.float32)
    return FittedBody(shape, size, joints[0], rest[0] / size - hung[0], residual)


def fit(body: BodyData, rest: np.ndarray) -> FittedBody:  # [K, 3] joints in the T-pose, metres
    """The shape and size whose joints lie nearest to a rig's, wherever it stands: least squares, each coefficient
    weighed against its spread in the population, and none larger than LARGEST_SHAPE.
    """
    known = body.joints[: len(rest)], body.joint_shapes[: len(rest)]
    count = known[1].shape[-1]
    if np.abs((rest - rest[0]) - (known[0] - known[0][0])).max() < ALIKE:
        return FittedBody(np.zeros(count, np.float32), 1.0, body.joints[0], np.zeros(3), 0.0)
    columns = np.concatenate([known[0][..., None], known[1]], -1)
    columns = (columns - columns.mean(0)).reshape(-1, 1 + count)
    shape, size = _shape_and_size(columns, (rest - rest.mean(0)).ravel())
    joints = body.rest_joints(shape)[: len(rest)]
    hung = joints - joints.mean(0) + (rest / size).mean(0)  # where the body is to be, in its own metres
    residual = float(np.linalg.norm(hung * size - rest, axis=1).mean())
    return FittedBody(shape.astype(np.float32), size, joints[0], rest[0] / size - hung[0], residual)


def _shape_and_size(columns: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, float]:  # [3 K, 1 + S], [3 K]
    """Of the joints' coordinates as size * (mean + shapes @ shape), which is linear in the size and size * shape."""
    columns, count = columns.copy(), columns.shape[1] - 1
    shape, free = np.zeros(count), list(range(count))
    while True:
        used = [0, *(1 + index for index in free)]
        weights = np.array([1 / SIZE_SPREAD**2, *(1.0 for _ in free)])
        matrix = columns[:, used].T @ columns[:, used] / NOISE**2 + np.diag(weights)
        right = columns[:, used].T @ joints / NOISE**2
        right[0] += weights[0]  # the size is expected to be 1
        size, *scaled = np.linalg.solve(matrix, right)
        shape[free] = np.array(scaled) / size
        if not free or np.abs(shape[free]).max() <= LARGEST_SHAPE:
            return shape, float(size)
        worst = free.pop(int(np.abs(shape[free]).argmax()))  # it stays at its bound, and the others make up for it
        shape[worst] = np.copysign(LARGEST_SHAPE, shape[worst])
        columns[:, 0] += shape[worst] * columns[:, 1 + worst]
