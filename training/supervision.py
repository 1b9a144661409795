"""What a step compares: decoded points of a batch with the truth. One class for frames with known correspondence,
one for scans without (training/scans.py samples those)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from scale_backend.articulation import articulate, turned_normals
from scale_backend.engine import sample_features
from scale_backend.network import ScaleNetwork
from scale_backend.queries import Queries, vertex_queries
from training.config import Recipe
from training.dataset import ClothFrames, Groundwork, generator, read_cloth_frames
from training.decoding import Decoded, mixed_precision
from training.losses import correspondence_terms

NEIGHBOURS = 24  # vertices in a neighbourhood: some 30 triangles


class CorrespondingVertices:
    """Garment-surface carriers: each vertex knows its place in every frame."""

    def __init__(self, groundwork: Groundwork, frames: ClothFrames, recipe: Recipe):
        self.frames, self.recipe, self.rest_normals = frames, recipe, groundwork.rest.normals
        self.device = frames.vertices.device
        on_host = groundwork.to("cpu")
        self.queries: Queries = vertex_queries(on_host.carrier, on_host.layout).to(self.device)
        self.neighbours = neighbourhoods(groundwork.carrier.template)
        self.triangles = frames.triangles.cpu()
        self.names = frames.names

    def __len__(self) -> int:
        return len(self.frames)

    def terms(
        self, network: ScaleNetwork, chosen: Tensor, step: int, with_normals: bool = True, first: int = 0
    ) -> dict[str, Tensor]:
        """Loss terms of the chosen frames [B] at a random set of vertices that lie in small neighbourhoods, so that
        triangles can be compared too; the same for all parts of a batch, wherever they start (`first`)."""
        vertices = self.pick(step).to(self.device)
        triangles = triangles_among(self.triangles, vertices.cpu(), len(self.neighbours)).to(self.device)
        decoded = self.decode(network, chosen, vertices, with_normals)
        truth, normals = self.frames.vertices[chosen][:, vertices], self.frames.normals[chosen][:, vertices]
        terms = correspondence_terms(decoded.points, decoded.normals, truth, normals, triangles)
        return terms | {"residual": decoded.offset.square().mean()}

    def pick(self, step: int) -> Tensor:  # [<= points] vertices, sorted
        count = max(1, round(self.recipe.points / NEIGHBOURS))
        seeds = torch.randint(len(self.neighbours), (count,), generator=generator(self.recipe.seed, step, 1))
        return self.neighbours[seeds].unique()

    def decode(self, network: ScaleNetwork, chosen: Tensor, vertices: Tensor, with_normals: bool = True) -> Decoded:
        posed, queries = self.frames.posed, self.queries[vertices]
        with mixed_precision(self.device, self.recipe.precision):
            features = sample_features(network.pose_features(posed.maps[chosen]), queries)
            residual, normal = network.decode(features, queries.uv, queries.pq, with_normals)
        base, frames = posed.base[chosen][:, vertices], posed.frames[chosen][:, vertices]
        points = articulate(base, frames, residual)
        normals = None if normal is None else turned_normals(frames, normal + self.rest_normals[vertices])
        return Decoded(points, normals, points - base)

    def cloth_flags(self, network: ScaleNetwork) -> None:
        """All points of a garment's own surface are cloth."""


def read_supervision(groundwork: Groundwork, recipe: Recipe, out: Path, split: str = "train"):
    """A split of the recipe's data with the recipe's supervision; `out` is the training's folder."""
    if recipe.supervision_kind == "corresponding":
        frames = read_cloth_frames(groundwork, recipe.data, split, recipe.frames, recipe.mirror)
        return CorrespondingVertices(groundwork, frames, recipe)
    from training.scans import read_scans

    return read_scans(groundwork, recipe, out, split)


def neighbourhoods(template: Tensor) -> Tensor:  # [V, 3] -> [V, NEIGHBOURS] the nearest vertices at rest
    from scipy.spatial import cKDTree

    points = template.cpu().numpy()
    count = min(NEIGHBOURS, len(points))
    return torch.from_numpy(cKDTree(points).query(points, count)[1]).long().reshape(len(points), count)


def triangles_among(triangles: Tensor, vertices: Tensor, count: int) -> Tensor:  # [T, 3], [M], V -> [K, 3]
    """The triangles whose corners are all among the vertices, renumbered to them."""
    number = torch.full((count,), -1)
    number[vertices] = torch.arange(len(vertices))
    renumbered = number[triangles]
    return renumbered[(renumbered >= 0).all(1)]
