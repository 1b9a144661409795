"""Poses of a body, and how clothes are decoded for them: handed on whole from the rig to the decoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

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
    past_rotations: np.ndarray | None = None  # [F, L, J, 3, 3] at the L moments of the garment's window; None: as now
    past_translation: np.ndarray | None = None  # [F, L, 3] metres; given with past_rotations
    down: np.ndarray | None = None  # [F, 3] unit vectors to where things fall; None: along -Y

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, chosen: slice) -> Poses:
        named = {name: array[chosen] for name, array in self.given().items() if name != "shape" or array.ndim == 2}
        return replace(self, **named)

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
        self._check_window()
        for name, array in self.arrays().items():
            if not np.isfinite(array).all():
                raise PoseError(f"The pose's {name} hold numbers that are not finite; look at the rig's constraints.")
            if name != "rotations" and array.size and np.abs(array).max() > LARGEST:
                raise PoseError(f"The pose's {name} hold numbers over {LARGEST:,.0f}; look at the rig's scale.")
        _check_turns("rotations", rotations)
        if self.past_rotations is not None:
            _check_turns("past_rotations", self.past_rotations)
        if self.down is not None and (np.abs(np.linalg.norm(self.down, axis=-1) - 1) > UNIT).any():
            raise PoseError("The directions of down must be of the length one.")

    def _check_window(self) -> None:
        turns, places, down = self.past_rotations, self.past_translation, self.down
        frames, *each = self.rotations.shape
        if (turns is None) != (places is None):
            raise PoseError("past_rotations and past_translation are needed both, or none of them.")
        if turns is not None and places is not None:
            if turns.ndim != 5 or turns.shape[:1] + turns.shape[2:] != (frames, *each):
                raise PoseError(f"Past rotations have the shape {turns.shape}; [{frames}, moments, {each[0]}, 3, 3] is "
                                "needed.")  # fmt: skip
            if places.shape != (*turns.shape[:2], 3):
                raise PoseError(f"Past translations have the shape {places.shape}; {[*turns.shape[:2], 3]} is needed.")
        if down is not None and down.shape != (frames, 3):
            raise PoseError(f"Directions of down have the shape {down.shape}; [{frames}, 3] is needed.")

    def given(self) -> dict[str, np.ndarray]:
        """By name, without those that are None."""
        return {field.name: array for field in fields(self) if (array := getattr(self, field.name)) is not None}

    def arrays(self) -> dict[str, np.ndarray]:
        """By name, as float32, without those that are None: as they go over the wire."""
        with np.errstate(over="ignore"):  # what is finite as float64 may not be as float32: `check` sees it
            return {name: np.asarray(array, np.float32) for name, array in self.given().items()}

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> Poses:
        """From `arrays`, checked. Raises PoseError."""
        if "rotations" not in arrays:
            raise PoseError("The request needs the array 'rotations'.")
        named = {field.name: arrays[field.name] for field in fields(cls) if field.name in arrays}
        for name, array in named.items():
            if array.dtype.kind not in "fiu":
                raise PoseError(f"The pose's {name} are of the type {array.dtype}; numbers are needed.")
        # cast first: what is finite as float64 may not be as float32
        with np.errstate(over="ignore"):
            poses = cls(**{name: array.astype(np.float32) for name, array in named.items()})
        poses.check()
        return poses


def _check_turns(name: str, matrices: np.ndarray) -> None:  # [..., 3, 3]
    """Raises PoseError."""
    turns = np.asarray(matrices, np.float32)
    square = turns @ turns.swapaxes(-1, -2)
    if np.abs(turns).max(initial=0) > 2 or (np.abs(square - np.eye(3, dtype=np.float32)) > UNIT).any():
        raise PoseError(f"The pose's {name} are no rotations; look at the rig's constraints and scales.")
    if (np.linalg.det(turns) < 0).any():
        raise PoseError(f"The pose's {name} mirror; look at the rig's scales.")


@dataclass(frozen=True)
class DecodeOptions:
    """What is decoded for each pose."""

    surface: str = "mesh"
    part: str = "clothes"
    push_out: bool = True  # cloth out of the body
    normals: str = "faces"  # of a surface with faces; "decoded": the network's. Points have the network's
    motion: float = 1.0  # how much of what moved the cloth feels; 0: it hangs at rest
    fabrics: tuple[float, ...] = ()  # weights of the garment's fabrics, whose mean it is made of; empty: the first
    settle: bool = True  # give the cloth its length back, where the garment says how

    def fields(self) -> dict[str, str | bool | float | tuple[float, ...]]:
        """As they go over the wire."""
        return asdict(self)
