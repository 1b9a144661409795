"""What a step compares: decoded points of a batch with the truth. One class for frames with known correspondence,
one for scans without (training/learning/scans.py samples those)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from scale_backend.geometry.articulation import articulate, turned_normals
from scale_backend.geometry.positional_map import surface_points
from scale_backend.model.network import ScaleNetwork
from scale_backend.surfaces.butterfly import butterfly
from scale_backend.surfaces.queries import Queries, sample_features
from scale_backend.surfaces.seams import cut_at_seams, smooth_queries
from scale_backend.surfaces.subdivision import subdivide
from training.config import Recipe
from training.learning.dataset import ClothFrames, Groundwork, generator, read_cloth_frames
from training.learning.losses import correspondence_terms
from training.learning.plain_decoding import Decoded, mixed_precision

NEIGHBOURS = 24  # vertices in a neighbourhood: some 30 triangles


class Supervision(Protocol):
    """What a training learns from: frames and what is true of them."""

    @property
    def names(self) -> Sequence[str]:
        """Of the frames."""
        ...

    def __len__(self) -> int: ...

    @property
    def queries(self) -> Queries:
        """All places where the network can be asked."""
        ...

    def terms(
        self, network: ScaleNetwork, chosen: Tensor, step: int, with_normals: bool = True, first: int = 0
    ) -> dict[str, Tensor]:
        """Loss terms of the chosen frames [B] in a step; `first` is the first one's number in the whole batch."""
        ...

    def decode(self, network: ScaleNetwork, chosen: Tensor, places: Tensor, /) -> Decoded:
        """The chosen frames [B] at places [m] of the queries."""
        ...

    def cloth_flags(self, network: ScaleNetwork) -> Tensor | None:
        """Which points are cloth [P N]; None: all."""
        ...


class KnownFrames(Protocol):
    """Frames of cloth whose vertices are known: `dataset.ClothFrames`, `moving.MovingFrames`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def vertices(self) -> Tensor:  # [F, V, 3]
        ...

    def __len__(self) -> int: ...

    def at(self, chosen: Tensor) -> ClothFrames:  # [B] frames
        """Some of them."""
        ...


@dataclass(frozen=True)
class Level:
    """The carrier, subdivided some times and cut along its seams: M places where the truth is known."""

    queries: Queries
    triangles: Tensor  # [T, 3] among the M
    neighbours: Tensor  # [M, NEIGHBOURS]

    def truth(self, values: Tensor, chosen: Tensor) -> Tensor:  # [F, V, 3] at the vertices, [m] places -> [F, m, 3]
        """On the smooth surface through the simulated vertices."""
        return surface_points(values, self.queries.corners[chosen], self.queries.weights[chosen])

    def to(self, device: str | torch.device) -> Level:
        return Level(self.queries.to(device), self.triangles.to(device), self.neighbours.to(device))


def read_level(groundwork: Groundwork, rounds: int) -> Level:
    """`groundwork` on the host."""
    carrier = groundwork.carrier
    mesh = cut_at_seams(subdivide(carrier.triangles, rounds), carrier.uv_triangles)
    stencils = butterfly(carrier.triangles, len(carrier.template), rounds)
    queries = smooth_queries(carrier, groundwork.layout, mesh, stencils)
    rest = surface_points(carrier.template[None], queries.corners, queries.weights)[0]
    return Level(queries, mesh.triangles, neighbourhoods(rest))


class CorrespondingVertices:
    """Garment-surface carriers: each vertex knows its place in every frame, and a smooth surface goes through them."""

    def __init__(self, groundwork: Groundwork, frames: KnownFrames, recipe: Recipe):
        self.frames, self.recipe, self.rest_normals = frames, recipe, groundwork.rest.normals
        self.device = frames.vertices.device
        on_host = groundwork.to("cpu")
        self.levels = [read_level(on_host, rounds).to(self.device) for rounds in range(recipe.subdivisions + 1)]
        self.names = frames.names

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def queries(self) -> Queries:
        """At the vertices."""
        return self.levels[0].queries

    def terms(
        self, network: ScaleNetwork, chosen: Tensor, step: int, with_normals: bool = True, first: int = 0
    ) -> dict[str, Tensor]:
        """Loss terms of the chosen frames [B] at a random set of places that lie in small neighbourhoods, so that
        triangles can be compared too; the same for all parts of a batch, wherever they start (`first`)."""
        level, places = self.pick(step)
        triangles = triangles_among(level.triangles, places, len(level.queries))
        frames = self.frames.at(chosen)
        decoded = self._decode(network, frames, places, with_normals, level)
        truth = level.truth(frames.vertices, places)
        normals = normalize(level.truth(frames.normals, places), dim=-1)
        terms = correspondence_terms(decoded.points, decoded.normals, truth, normals, triangles)
        return terms | {"residual": decoded.offset.square().mean()}

    def pick(self, step: int) -> tuple[Level, Tensor]:  # and [<= points] of its places, sorted
        count = max(1, round(self.recipe.points / NEIGHBOURS))
        random = generator(self.recipe.seed, step, 1)
        level = self.levels[int(torch.randint(len(self.levels), (), generator=random))]
        seeds = torch.randint(len(level.queries), (count,), generator=random)
        return level, level.neighbours[seeds.to(self.device)].unique()

    def decode(
        self,
        network: ScaleNetwork,
        chosen: Tensor,  # [B] frames
        places: Tensor,  # [m] of the level
        with_normals: bool = True,
        level: Level | None = None,  # None: the vertices
    ) -> Decoded:
        return self._decode(network, self.frames.at(chosen), places, with_normals, level or self.levels[0])

    def _decode(
        self, network: ScaleNetwork, cloth: ClothFrames, places: Tensor, with_normals: bool, level: Level
    ) -> Decoded:
        posed, queries = cloth.posed, level.queries[places]
        with mixed_precision(self.device, self.recipe.precision):
            features = sample_features(network.pose_features(posed.maps, cloth.fabric), queries)
            residual, normal = network.decode(features, queries.uv, queries.pq, with_normals)
        base = surface_points(posed.base, queries.corners, queries.weights)
        frames = surface_points(posed.frames.flatten(2), queries.corners, queries.weights)
        frames = frames.unflatten(-1, (3, 3))
        points = articulate(base, frames, residual)
        if normal is None:
            return Decoded(points, None, points - base)
        rest = surface_points(self.rest_normals[None], queries.corners, queries.weights)
        return Decoded(points, turned_normals(frames, normal + rest), points - base)

    def cloth_flags(self, network: ScaleNetwork) -> None:
        """All points of a garment's own surface are cloth."""


def read_supervision(groundwork: Groundwork, recipe: Recipe, out: Path, split: str = "train") -> Supervision:
    """A split of the recipe's data with the recipe's supervision; `out` is the training's folder."""
    if recipe.fabrics:
        from training.learning.moving import read_moving_frames

        return CorrespondingVertices(groundwork, read_moving_frames(groundwork, recipe, split), recipe)
    if recipe.supervision_kind == "corresponding":
        frames = read_cloth_frames(groundwork, recipe.data, split, recipe.frames, recipe.mirror)
        return CorrespondingVertices(groundwork, frames, recipe)
    from training.learning.scans import read_scans

    return read_scans(groundwork, recipe, out, split)


def neighbourhoods(template: Tensor) -> Tensor:  # [V, 3] -> [V, NEIGHBOURS] the nearest vertices at rest
    from scipy.spatial import cKDTree

    points = template.cpu().numpy()
    count = min(NEIGHBOURS, len(points))
    return torch.from_numpy(cKDTree(points).query(points, count)[1]).long().reshape(len(points), count)


def triangles_among(triangles: Tensor, vertices: Tensor, count: int) -> Tensor:  # [T, 3], [M], V -> [K, 3]
    """The triangles whose corners are all among the vertices, renumbered to them."""
    number = torch.full((count,), -1, device=vertices.device)
    number[vertices] = torch.arange(len(vertices), device=vertices.device)
    renumbered = number[triangles]
    return renumbered[(renumbered >= 0).all(1)]
