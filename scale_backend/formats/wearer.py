"""Whoever wears clothes: a skeleton at rest and the mesh of the body that hangs on it. numpy alone."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from scale_backend.formats.errors import UserError

JOINT_COUNT = 22  # the joints that all bodies of SMPL's family share, in their order: see joints.BODY
FEWEST_VERTICES = 100
MOST_VERTICES = 1 << 21
SMALLEST, LARGEST = 0.1, 100.0  # metres from the lowest to the highest joint, or across
FARTHEST = 1e4  # metres from the origin: further away float32 has no millimetres
MOST_TRIANGLES = 4  # for a vertex; closed meshes have two
UNIT = 1e-3  # how far weights may be from a sum of one, and turns from rotations


class WearerError(UserError, ValueError):
    """A wearer that cannot be used. The sentence says what is wrong and what to do."""


@dataclass(frozen=True, eq=False)
class Wearer:
    """An armature at rest, in any pose that is near a T-pose or an A-pose, and its body's mesh in that pose.

    SMPL's axes (Y up, facing +Z), metres, wherever it stands.
    """

    joints: np.ndarray  # [22, 3] float32
    turns: np.ndarray  # [22, 3, 3] float32, what takes each joint from the T-pose to the rest pose
    vertices: np.ndarray  # [V, 3] float32
    triangles: np.ndarray  # [T, 3] int32
    weights: np.ndarray  # [V, 22] float32, rows of sum 1: bones that are no joint belong to the joint above them
    # [22] uint8, 1 for hips and shoulders whose skin does not twist as they do: rigs share the twist out along a limb
    untwisted: np.ndarray = field(default_factory=lambda: np.zeros(JOINT_COUNT, np.uint8))

    def __post_init__(self) -> None:
        """Raises WearerError where the arrays are no wearer."""
        if not all(getattr(self, each.name).ndim for each in fields(self)):
            raise WearerError("A wearer's arrays have rows.")
        count = len(self.vertices)
        expected = {
            "joints": (JOINT_COUNT, 3),
            "turns": (JOINT_COUNT, 3, 3),
            "vertices": (count, 3),
            "triangles": (len(self.triangles), 3),
            "weights": (count, JOINT_COUNT),
            "untwisted": (JOINT_COUNT,),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise WearerError(f"A wearer's {name} have the shape {array.shape}; {shape} is needed.")
            if not np.isfinite(array).all():
                raise WearerError(f"A wearer's {name} hold numbers that are not finite.")
        if not FEWEST_VERTICES <= count <= MOST_VERTICES:
            raise WearerError(f"A mesh of {count} vertices is no body; choose the mesh of the character's body.")
        if len(self.triangles) > MOST_TRIANGLES * count:
            raise WearerError(f"{len(self.triangles)} triangles between {count} vertices are no surface; choose the "
                              "mesh of the character's body.")  # fmt: skip
        if not len(self.triangles) or self.triangles.min() < 0 or self.triangles.max() >= count:
            raise WearerError("The body's triangles do not belong to its vertices.")
        if self.weights.min() < -UNIT or np.abs(self.weights.sum(1) - 1).max() > UNIT:
            raise WearerError("The body's skin weights are not shares of one.")
        if np.abs(self.turns @ self.turns.swapaxes(1, 2) - np.eye(3)).max() > UNIT:
            raise WearerError("The turns of a wearer's joints are no rotations.")
        if (np.linalg.det(self.turns) < 0).any():
            raise WearerError("The turns of a wearer's joints mirror; look at the armature's scale.")
        size = float(np.ptp(self.joints, axis=0).max())
        if not SMALLEST < size < LARGEST:
            raise WearerError(f"A skeleton of {size:.3g} m is no wearer's; look at the armature's scale.")
        if float(np.abs(self.vertices - self.joints[0]).max()) > max(LARGEST, 10 * size):
            raise WearerError("The body's mesh lies far from its skeleton; look at the scale and place of both.")
        if float(np.abs(self.joints).max()) > FARTHEST:
            raise WearerError(f"A character more than {FARTHEST:,.0f} m from the origin cannot be fitted; move it.")

    @functools.cached_property
    def digest(self) -> str:
        """Names the content."""
        hashed = hashlib.sha256()
        for name, array in self.arrays().items():
            hashed.update(f"{name}{array.shape}".encode())
            hashed.update(np.ascontiguousarray(array).data)
        return hashed.hexdigest()[:32]

    def arrays(self) -> dict[str, np.ndarray]:
        """What goes over the wire."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Wearer:
        """A wearer from `arrays()`. Raises WearerError."""
        arrays = {"untwisted": np.zeros(JOINT_COUNT), **arrays}
        missing = [each.name for each in fields(cls) if each.name not in arrays]
        if missing:
            raise WearerError(f"A wearer needs the arrays {', '.join(missing)}.")
        wrong = [each.name for each in fields(cls) if arrays[each.name].dtype.kind not in "fiu"]
        if wrong:
            raise WearerError(f"A wearer's {wrong[0]} are no numbers.")
        kinds = {"triangles": np.int32, "untwisted": np.uint8}
        with np.errstate(over="ignore", invalid="ignore"):  # what is no float32 is found to be not finite
            return cls(**{f.name: np.asarray(arrays[f.name], kinds.get(f.name, np.float32), "C") for f in fields(cls)})


@dataclass(frozen=True)
class WearerReport:
    """How well a garment's body could be laid onto a wearer's mesh, where the garment can touch it."""

    gap: float  # metres between both surfaces, on average
    inside: float  # share of the garment's vertices at rest that had to be moved out of the mesh
    unmatched: float  # share of the skin for which the mesh has nothing
    parts: tuple[str, ...]  # joints at which half of the skin or more is unmatched
    size: float  # metres of the wearer in a metre of the garment's body
    seconds: float
