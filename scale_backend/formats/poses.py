"""Poses of a body, and how clothes are decoded for them: handed on whole from the rig to the decoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from scale_backend.formats.errors import UserError

UNIT = 1e-2  # how far from rotations rotations may be
LARGEST = 1e6  # metres, and of shape coefficients


class PoseError(UserError, ValueError):
    """Arrays that are no poses."""


@dataclass(frozen=True)
class Poses:
    """F frames. Inside the backend the arrays may be tensors."""

    rotations: np.ndarray  # [F, J, 3, 3] local; J of any SMPL-family body
    translation: np.ndarray | None = None  # [F, 3] metres, SMPL's `trans`; None: none
    shape: np.ndarray | None = None  # [S] or [F, S]; None: the mean shape

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, chosen: slice) -> Poses:
        each = self.shape is not None and self.shape.ndim == 2
        return Poses(
            self.rotations[chosen],
            None if self.translation is None else self.translation[chosen],
            self.shape[chosen] if self.shape is not None and each else self.shape,
        )

    def check(self) -> None:
        """Raises PoseError where the arrays are no poses."""
        rotations, translation, shape = self.rotations, self.translation, self.shape
        if rotations.ndim != 4 or rotations.shape[2:] != (3, 3) or not (rotations.shape[0] and rotations.shape[1]):
            raise PoseError(f"Rotations have the shape {rotations.shape}; [frames, joints, 3, 3] is needed.")
        frames = len(rotations)
        if translation is not None and translation.shape != (frames, 3):
            raise PoseError(f"Translations have the shape {translation.shape}; [{frames}, 3] is needed.")
        if shape is not None and (shape.ndim not in (1, 2) or (shape.ndim == 2 and len(shape) != frames)):
            raise PoseError(f"Shape coefficients have the shape {shape.shape}; [S] or [{frames}, S] is needed.")
        for name, array in self.arrays().items():
            if not np.isfinite(array).all():
                raise PoseError(f"The pose's {name} hold numbers that are not finite; look at the rig's constraints.")
            if name != "rotations" and array.size and np.abs(array).max() > LARGEST:
                raise PoseError(f"The pose's {name} hold numbers over {LARGEST:,.0f}; look at the rig's scale.")
        turns = np.asarray(rotations, np.float32)
        if (
            np.abs(turns).max() > 2
            or (np.abs(turns @ turns.swapaxes(-1, -2) - np.eye(3, dtype=np.float32)) > UNIT).any()
        ):
            raise PoseError("The pose's rotations are no rotations; look at the rig's constraints and scales.")
        if (np.linalg.det(turns) < 0).any():
            raise PoseError("The pose's rotations mirror; look at the rig's scales.")

    def arrays(self) -> dict[str, np.ndarray]:
        """By name, as float32, without those that are None: as they go over the wire."""
        named = {"rotations": self.rotations, "translation": self.translation, "shape": self.shape}
        with np.errstate(over="ignore"):  # what is finite as float64 may not be as float32: `check` sees it
            return {name: np.asarray(array, np.float32) for name, array in named.items() if array is not None}

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> Poses:
        """From `arrays`, checked. Raises PoseError."""
        if "rotations" not in arrays:
            raise PoseError("The request needs the array 'rotations'.")
        named = {name: arrays[name] for name in ("rotations", "translation", "shape") if name in arrays}
        for name, array in named.items():
            if array.dtype.kind not in "fiu":
                raise PoseError(f"The pose's {name} are of the type {array.dtype}; numbers are needed.")
        # cast first: what is finite as float64 may not be as float32
        with np.errstate(over="ignore"):
            poses = cls(**{name: array.astype(np.float32) for name, array in named.items()})
        poses.check()
        return poses


@dataclass(frozen=True)
class DecodeOptions:
    """What is decoded for each pose."""

    surface: str = "mesh"
    part: str = "clothes"
    push_out: bool = True  # cloth out of the body
    normals: str = "faces"  # of a surface with faces; "decoded": the network's. Points have the network's

    def fields(self) -> dict[str, str | bool]:
        """As they go over the wire."""
        return asdict(self)
