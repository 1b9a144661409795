"""`scale-train record`: a garment's cloth through many motions, for training and for measuring.

Every sequence is a file that is there whole or not at all; what is there is kept, so a run that was stopped goes on.
Any beginning of the training's sequences is a balanced sample of motions, fabrics and shapes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scale_backend.formats.whole_files import written_whole

from ..frames.sequences import (
    SIMULATION,
    ClothGarment,
    Sequence,
    SequenceError,
    read_garment,
    write_garment,
    write_sequence,
)
from .cutting import contact_of, cut_garment
from .fabrics import EDGE_LENGTH, find_fabric
from .held_out import BESIDE, HELD_OUT, TWO_PASTS, held_out_betas, held_out_motion, with_other_past, with_rest
from .mesh_tools import Array, ClosedSurface, Mesh, edges
from .motion import Motion, led_in
from .motion_kinds import ORDER, sample
from .moving_cloth import FRAME_RATE, Forces
from .run import check_blender
from .skinning import load_skinned_body
from .worn import Wearer, graded, move, posed, shaped

PARTS = ("train", "held-out", "two-pasts")
SETTLING = 10  # frames at the beginning of a sequence that are no truth yet
LEAD = 20  # frames from the T-pose to a motion's first pose
SECONDS = 4.5  # of a training motion
MEAN_SHAPE = 0.5  # share of the training's sequences on the body's mean shape
MOST_SHAPE = 2.0  # standard deviations
SUBSTEPS = {"cartwheel": 2}  # of kinds in which limbs are fast: as many times the fabric's own
LOOK = 8  # frames from one look for the body to the next
DEEP, MOST_INSIDE = 0.003, 0.03  # metres under the skin; share of the vertices that are not pinned
LONG_STRETCH, MOST_STRETCHED = 2.0, 0.005  # of an edge against its length as cut; share of such edges in any frame


@dataclass(frozen=True)
class RecordSettings:
    """Simulate a garment's cloth through motions with Blender, at real speed: sequences to train and measure it with.

    FOLDER holds garment.npz; sequences are written to its folders train, held-out and two-pasts, and how each went to
    FOLDER/PART-report.json. A run that was stopped goes on when it is started again.
    """

    folder: Path
    """Folder of the garment, its sequences and reports."""
    garment: str = "dress"
    """What to cut where FOLDER has no garment.npz yet: dress, skirt-blouse or tee-trousers."""
    part: str = "train"
    """train, held-out or two-pasts."""
    fabrics: tuple[str, ...] = ("cotton", "denim")
    """Their names in training/simulate/fabrics.py."""
    count: int = 28
    """How many sequences for training; a balanced sample for every multiple of 14 times the fabrics."""
    start: int = 0
    """Number of the first of them: several runs may share the work."""
    seed: int = 1
    """Of the training's motions and shapes."""


def run(settings: RecordSettings) -> None:
    """Raises SequenceError for what is not known or cannot be used, RuntimeError without Blender, and OSError."""
    for fabric in settings.fabrics:
        find_fabric(fabric)
    if settings.part not in PARTS:
        raise SequenceError(f"There is no part '{settings.part}': choose one of {', '.join(PARTS)}.")
    check_blender()
    garment = _garment(settings)
    describe(settings.folder / SIMULATION, garment, settings.fabrics)
    for take in _train(settings) if settings.part == "train" else _measured(settings):
        if take.path.exists():
            continue
        began = time.monotonic()
        vertices, fault = record(garment, take.motion, take.betas, take.fabric, SUBSTEPS.get(take.kind, 1))
        spent = round((time.monotonic() - began) / len(take.motion), 3)
        if not fault:
            write_sequence(take.path, take.sequence(vertices))
        _report(settings.folder / f"{settings.part}-report.json", take, fault or "kept", spent)
        print(f"{take.path.stem}: {fault or 'kept'}, {len(take.motion)} frames, {spent} s each", flush=True)


class Take(NamedTuple):
    """A sequence to be recorded."""

    path: Path
    kind: str
    seed: tuple[int, ...]
    motion: Motion
    first: int
    betas: Array  # [S]
    fabric: str

    def sequence(self, vertices: Array) -> Sequence:
        return Sequence(
            self.motion.pose.astype(np.float32),
            self.motion.translation.astype(np.float32),
            self.betas.astype(np.float32),
            self.fabric,
            float(FRAME_RATE),
            vertices.astype(np.float32),
            self.first,
            self.kind,
            self.seed,
        )


def _garment(settings: RecordSettings) -> ClothGarment:
    """The folder's garment, which is cut first if it has none."""
    path = settings.folder / "garment.npz"
    if not path.exists():
        write_garment(path, cut_garment(settings.garment, load_skinned_body(), EDGE_LENGTH))
    return read_garment(path)


def describe(path: Path, garment: ClothGarment, fabrics: tuple[str, ...]) -> None:
    """Write what anyone needs to simulate the same cloth; garments that are trained on it carry it on."""
    there = json.loads(path.read_text())["fabrics"] if path.exists() else {}
    content = {
        "solver": "Blender's cloth; what is not named here is its default",
        "frame_rate": FRAME_RATE,
        "gravity": Forces().gravity,
        "edge_length": round(garment.edge_length, 5),
        "held": "the pins: they follow the carrier; a sequence begins in the T-pose, with the cloth as it was cut",
        "fabrics": there | {name: asdict(find_fabric(name)) for name in fabrics},
        "contact": asdict(contact_of(garment)),
    }
    with written_whole(path) as beside:
        beside.write_text(json.dumps(content, indent=1))


def record(garment: ClothGarment, motion: Motion, betas: Array, fabric: str, substeps: int = 1) -> tuple[Array, str]:
    """The cloth [F, V, 3] through a motion, and what is wrong with it: empty if nothing is.

    What goes wrong is tried once more with twice the substeps: fast limbs then no longer go through the cloth.
    """
    wearer, rest = shaped(load_skinned_body(), betas), graded(garment, betas).vertices
    for steps in (substeps, 2 * substeps):
        take = move(garment, wearer, motion, find_fabric(fabric), contact_of(garment), Forces(substeps=steps))
        vertices = np.stack(list(take))
        fault = find_fault(vertices, rest, garment.triangles)
        fault = fault or find_body(wearer, motion, vertices[:, ~garment.pins])
        if not fault:
            break
    return vertices, fault


def find_fault(vertices: Array, rest: Array, triangles: NDArray[np.integer]) -> str:
    """What is wrong with frames [F, V, 3] of cloth that was cut as `rest` [V, 3]; empty if nothing is."""
    if not np.isfinite(vertices).all():
        return "not finite"
    pairs, _ = edges(triangles.astype(np.int64))
    cut = np.linalg.norm(rest[pairs[:, 0]] - rest[pairs[:, 1]], axis=-1)
    for frame in vertices:
        now = np.linalg.norm(frame[pairs[:, 0]] - frame[pairs[:, 1]], axis=-1)
        if (now > LONG_STRETCH * np.maximum(cut, 0.5 * cut.mean())).mean() > MOST_STRETCHED:
            return "torn: edges are stretched"
    return ""


def find_body(wearer: Wearer, motion: Motion, vertices: Array) -> str:
    """Whether the body has gone through cloth [F, V, 3] that is not pinned to it; empty if it has not."""
    for frame in range(0, len(motion), LOOK):
        here = Motion(motion.pose[frame : frame + 1], motion.translation[frame : frame + 1])
        skin = posed(wearer, here, wearer.body.vertices, wearer.body.blend_weights)[0]
        depth = -ClosedSurface(Mesh(skin, wearer.body.triangles)).distance(vertices[frame])[0]
        if (depth > DEEP).mean() > MOST_INSIDE:
            return "the body has gone through it"
    return ""


def _train(settings: RecordSettings) -> Iterator[Take]:
    body = load_skinned_body()
    for number in range(settings.start, settings.start + settings.count):
        kind = ORDER[number % len(ORDER)]
        turn = number + number // len(ORDER)  # so that every kind comes in every fabric
        fabric = settings.fabrics[turn % len(settings.fabrics)]
        path = settings.folder / "train" / f"{settings.seed}-{number:04d}-{kind}-{fabric}.npz"
        random = np.random.default_rng([settings.seed, number])
        betas: Array = np.clip(random.normal(0, 1, 10), -MOST_SHAPE, MOST_SHAPE) * float(random.random() > MEAN_SHAPE)
        motion = led_in(sample(shaped(body, betas).body, kind, random, SECONDS), LEAD)
        yield Take(path, kind, (settings.seed, number), motion, SETTLING, betas, fabric)


def _measured(settings: RecordSettings) -> Iterator[Take]:
    body = load_skinned_body()
    held_out = settings.part == "held-out"
    for number, name in enumerate((*HELD_OUT, *BESIDE) if held_out else TWO_PASTS):
        motion = held_out_motion(body, name)
        whole, first = with_rest(motion) if held_out else with_other_past(body, name, motion)
        for fabric in settings.fabrics:
            path = settings.folder / settings.part / f"{name}-{fabric}.npz"
            yield Take(path, name, (number,), whole, first, held_out_betas(name), fabric)


def _report(path: Path, take: Take, outcome: str, seconds: float) -> None:
    """Add how a sequence went to the report; runs that share a folder read it anew each time."""
    report = json.loads(path.read_text()) if path.exists() else {}
    report[take.path.stem] = {"outcome": outcome, "frames": len(take.motion), "seconds_a_frame": seconds}
    with written_whole(path) as beside:
        beside.write_text(json.dumps(report, indent=1))
