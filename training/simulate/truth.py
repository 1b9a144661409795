"""`python -m training.simulate.truth FOLDER`: whether a garment's simulated cloth behaves as cloth does.

The two-pasts limit says what can be known: how far the cloth of one motion differs after two pasts that lie more than
a second back. What is learned from the last second cannot be nearer to the truth than that on average.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..frames.sequences import ClothGarment, SequenceError, read_garment, read_sequence
from .cutting import contact_of
from .fabrics import find_fabric
from .held_out import BLEND, HELD_OUT
from .mesh_tools import Array, border_loops
from .motion import Motion
from .moving_cloth import FRAME_RATE, Forces
from .skinning import SkinnedBody, load_skinned_body
from .worn import Wearer, move

LOOK_BACK = FRAME_RATE  # frames that a network sees
TURNS = (0.0, 3.0, 5.0, 7.0)  # radians a second
WAIST_JOINT = "spine1"


@dataclass(frozen=True)
class TruthSettings:
    """Test a garment's simulation: two pasts, substeps, a handstand, turning, and rest."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of the garment with its recorded sequences."""
    fabrics: tuple[str, ...] = ("cotton", "denim")


def two_pasts(folder: Path, name: str, fabric: str) -> tuple[float, Array]:
    """Mean distance (mm) of the cloths of a held-out motion with two pasts, and that of each frame [F] from the
    moment on at which the pasts are more than a second away. Raises SequenceError where one is not recorded."""
    one, other = (read_sequence(folder / part / f"{name}-{fabric}.npz") for part in ("held-out", "two-pasts"))
    begin = BLEND + LOOK_BACK
    apart = one.vertices[one.first + begin :] - other.vertices[other.first + begin :]
    by_frame = 1e3 * np.linalg.norm(apart, axis=-1).mean(1)
    return float(by_frame.mean()), by_frame


def standing(frames: int) -> Motion:
    """Upright with the arms out, for so many frames."""
    return Motion(np.zeros((frames, 24, 3)), np.zeros((frames, 3)))


def turning(speed: float, frames: int) -> Motion:
    """On the spot about the vertical, getting up to speed (radians a second) within the first second."""
    seconds = np.arange(frames) / FRAME_RATE
    angle = speed * np.where(seconds < 1, 0.5 * seconds**2, seconds - 0.5)
    motion = standing(frames)
    motion.pose[:, 0, 1] = angle
    return motion


def handstand(body: SkinnedBody, frames: int) -> Motion:
    """Over on to the hands within a second and a half, and there."""
    share = np.clip(np.arange(frames) / FRAME_RATE / 1.5, 0, 1)
    motion = standing(frames)
    motion.pose[:, 0] = Rotation.from_rotvec(np.pi * (share**2 * (3 - 2 * share))[:, None] * [1, 0, 0]).as_rotvec()
    return motion


def hem(garment: ClothGarment) -> NDArray[np.int64]:
    """The vertices of the lowest border."""
    loops = border_loops(garment.triangles.astype(np.int64))
    return min(loops, key=lambda loop: garment.vertices[loop, 1].mean())


def simulated(garment: ClothGarment, fabric: str, motion: Motion, substeps: int = 1) -> Array:
    """The cloth [F, V, 3] on the mean body."""
    wearer = Wearer(load_skinned_body(), np.zeros(garment.shape_components.shape[-1]))
    return np.stack(
        list(move(garment, wearer, motion, find_fabric(fabric), contact_of(garment), Forces(substeps=substeps)))
    )


def lines(folder: Path, fabric: str) -> Iterator[str]:
    """What was found, a sentence a test."""
    garment, body = read_garment(folder / "garment.npz"), load_skinned_body()
    limits = {}
    for name in HELD_OUT:
        try:
            limits[name] = two_pasts(folder, name, fabric)[0]
        except SequenceError:
            continue  # not recorded yet
    yield "two pasts, mm: " + ", ".join(f"{name} {limit:.1f}" for name, limit in limits.items())
    for name in ("walk", "jump"):
        if (folder / "held-out" / f"{name}-{fabric}.npz").exists():
            once = read_sequence(folder / "held-out" / f"{name}-{fabric}.npz")
            motion = Motion(once.pose.astype(np.float64), once.translation.astype(np.float64))
            twice = simulated(garment, fabric, motion, 2)
            apart = 1e3 * np.linalg.norm(once.vertices - twice, axis=-1)[once.first :].mean()
            yield f"twice the substeps, {name}: {apart:.1f} mm"
    border, waist = hem(garment), body.joints[body.joint(WAIST_JOINT), 1]
    cloth = simulated(garment, fabric, handstand(body, 105))
    pelvis = body.joints[0, 1]
    upside_down = 2 * pelvis - waist  # the waist's height when the body stands on its hands
    below = cloth[-1, border, 1] - upside_down
    yield f"handstand: hem {1e2 * below.mean():.0f} cm above the waist's height, {(below < 0).mean():.0%} of it below"
    leans, forces = [], []
    for speed in TURNS:
        cloth = simulated(garment, fabric, turning(speed, 105))[-15:]
        centre = cloth[:, border][..., [0, 2]].mean((0, 1))
        radius = np.linalg.norm(cloth[:, border][..., [0, 2]] - centre, axis=-1).mean()
        height = cloth[:, border, 1].mean()
        leans.append((speed, radius, height))
        forces.append(speed**2 * radius / 9.81)
    yield "turning: " + ", ".join(f"{s:g} rad/s hem at {1e2 * h:.1f} cm, radius {1e2 * r:.1f}" for s, r, h in leans)
    cloth = simulated(garment, fabric, standing(120))
    speed = 1e3 * FRAME_RATE * np.linalg.norm(np.diff(cloth, axis=0), axis=-1).mean(1)
    yield "at rest: mean speed after 1, 2, 3, 4 s: " + ", ".join(f"{speed[f]:.1f}" for f in (29, 59, 89, 118)) + " mm/s"


def run(settings: TruthSettings) -> None:
    """Print what was found. Raises SequenceError."""
    for fabric in settings.fabrics:
        find_fabric(fabric)
        for line in lines(settings.folder, fabric):
            print(f"{fabric}: {line}", flush=True)


if __name__ == "__main__":
    run(tyro.cli(TruthSettings))
