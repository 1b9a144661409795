"""Cloth in motion as files: a garment once (`garment.npz`), and one `.npz` a sequence. numpy alone.

A folder of a garment holds `garment.npz` and folders of sequences: `train`, `held-out`, and `two-pasts`, whose files
bear the names of held-out ones and show the same motion with another past. Space: SMPL's axes, the world's, metres.
A body vertex is where SMPL puts it: the pelvis joint at its rest place (of the body with these betas) plus the
translation. So is the cloth: `vertices` are in the world, root rotation and translation included.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scale_backend.formats.errors import UserError
from scale_backend.formats.whole_files import write_npz

Float = NDArray[np.float32]
SIMULATION = "simulation.json"  # in a garment's folder: how its cloth is simulated


class SequenceError(UserError):
    """A file of cloth in motion that cannot be used; the sentence says what to do."""


@dataclass(frozen=True, eq=False)
class ClothGarment:
    """A garment as it is cut and held, with what a carrier of a network needs."""

    name: str
    vertices: Float  # [V, 3] metres, on the body's template, the shape that it was cut in
    triangles: NDArray[np.int32]  # [T, 3]
    uv: Float  # [U, 2] of the positional map, each panel a rectangle of it
    uv_triangles: NDArray[np.int32]  # [T, 3]
    blend_weights: Float  # [V, J] spread smoothly over what hangs free; pinned vertices follow theirs in the simulation
    shape_components: Float  # [V, 3, S] metres for one unit of each of the body's shape components
    pins: NDArray[np.bool_]  # [V] held to the body: neckline and armholes, waistband
    panel: NDArray[np.uint8]  # [T]
    panel_names: tuple[str, ...]
    region: NDArray[np.uint8]  # [V] for evaluation
    region_names: tuple[str, ...]
    edge_length: float  # metres
    body_name: str
    body_digest: str


@dataclass(frozen=True, eq=False)
class Sequence:
    """Cloth through a motion, frame by frame."""

    pose: Float  # [F, J, 3] axis-angle, the root's rotation first
    translation: Float  # [F, 3] metres
    betas: Float  # [S]
    fabric: str
    fps: float
    vertices: Float  # [F, V, 3] metres
    first: (
        int  # frames before it belong to the window's past and are not yet truth: the cloth is still falling into place
    )
    kind: str  # of motion
    seed: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.pose)


def write_garment(path: Path, garment: ClothGarment) -> None:
    """One file, whole. Raises OSError."""
    write_npz(path, _arrays(garment), compress=True)


def write_sequence(path: Path, sequence: Sequence) -> None:
    """One file, whole. Raises OSError, and SequenceError for cloth that is not finite."""
    if not np.isfinite(sequence.vertices).all():
        raise SequenceError(f"{path.name} was not written: the cloth has exploded.")
    write_npz(path, _arrays(sequence))


def read_garment(path: Path) -> ClothGarment:
    """Raises SequenceError for a file that is missing or is none."""
    return ClothGarment(**_read(path, ClothGarment))


def read_simulation(folder: Path) -> dict[str, Any]:
    """How the cloth of a garment's folder is simulated; empty where that is not written. Raises SequenceError."""
    path = folder / SIMULATION
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SequenceError(
            f"{path} cannot be read ({error}): remove it, and let scale-train record write it."
        ) from error
    return content if isinstance(content, dict) else {}


def read_sequence(path: Path) -> Sequence:
    """Raises SequenceError for a file that is missing or is none."""
    content = _read(path, Sequence)
    return Sequence(**(content | {"seed": tuple(int(part) for part in np.atleast_1d(content["seed"]))}))


def _arrays(item: ClothGarment | Sequence) -> dict[str, NDArray]:
    return {field.name: np.asarray(getattr(item, field.name)) for field in fields(item)}


def _read(path: Path, kind: type) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {field.name: file[field.name] for field in fields(kind)}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise SequenceError(f"{path} is not a file of cloth in motion ({error}): simulate it again.") from error
    text = {name: tuple(str(part) for part in found[name]) for name in found if name.endswith("_names")}
    plain = {name: value.item() for name, value in found.items() if value.ndim == 0}
    return found | text | plain
