"""What a decoded frame is judged by: distances to the truth in both directions, normals, share inside the body."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from training.geometry.surface_distance import (
    ReferenceSurface,
    SurfaceSamples,
    angle_between,
    sample_surface,
    signed_height,
    vertex_normals,
)

SAMPLES = 6000
MILLIMETRES = 1e3


@dataclass
class Measures:
    """Per sample, over all frames added. Regions are those of the truth's vertices."""

    forward: list[np.ndarray] = field(default_factory=list)  # metres, prediction to truth
    forward_region: list[np.ndarray] = field(default_factory=list)
    backward: list[np.ndarray] = field(default_factory=list)  # metres, truth to prediction
    backward_region: list[np.ndarray] = field(default_factory=list)
    angle: list[np.ndarray] = field(default_factory=list)  # degrees, at the forward samples
    inside: list[np.ndarray] = field(default_factory=list)  # bool, at the forward samples

    def table(self, region_names: tuple[str, ...]) -> dict[str, dict[str, float]]:
        """Figures for the whole, for regions and for groups of them: millimetres, degrees, percent."""
        rows = {"all": self._row(range(len(region_names)))}
        rows |= {name: self._row([number]) for number, name in enumerate(region_names)}
        rows |= {name: self._row(numbers) for name, numbers in groups(region_names).items()}
        return {name: row for name, row in rows.items() if row}

    def _row(self, regions: Sequence[int]) -> dict[str, float]:
        forward, backward = np.concatenate(self.forward), np.concatenate(self.backward)
        f = np.isin(np.concatenate(self.forward_region), list(regions))
        b = np.isin(np.concatenate(self.backward_region), list(regions))
        if not f.any() or not b.any():
            return {}
        row = {
            "to_truth_mean": forward[f].mean() * MILLIMETRES,
            "to_truth_p90": np.percentile(forward[f], 90) * MILLIMETRES,
            "from_truth_mean": backward[b].mean() * MILLIMETRES,
            "from_truth_p90": np.percentile(backward[b], 90) * MILLIMETRES,
            "normal_angle": np.concatenate(self.angle)[f].mean(),
        }
        if self.inside:
            row["inside_percent"] = 100 * np.concatenate(self.inside)[f].mean()
        return {key: float(value) for key, value in row.items()}


def groups(region_names: tuple[str, ...]) -> dict[str, list[int]]:
    """Regions that end in the same word, together: upper skirt and lower skirt are the skirt."""
    by_word: dict[str, list[int]] = {}
    for number, name in enumerate(region_names):
        by_word.setdefault(name.split()[-1], []).append(number)
    return {word: numbers for word, numbers in by_word.items() if len(numbers) > 1}


class Judge:
    """Measures frames of one garment against the simulated truth."""

    def __init__(self, rest: np.ndarray, triangles: np.ndarray, region: np.ndarray, body_triangles: np.ndarray):
        self.triangles, self.region, self.body_triangles = triangles, region, body_triangles
        self.samples: SurfaceSamples = sample_surface(rest, triangles, SAMPLES)
        corners = triangles[self.samples.triangle]
        self.sample_region = region[corners[np.arange(SAMPLES), self.samples.weights.argmax(1)]]

    def add_mesh(
        self,
        measures: Measures,
        predicted: np.ndarray,  # [V, 3], the garment's own topology
        truth: np.ndarray,  # [V, 3]
        body: np.ndarray | None = None,  # [B, 3] posed body vertices
    ) -> None:
        faces = self.triangles
        points = self.samples.on(predicted, faces)
        normals = self.samples.on(vertex_normals(predicted, faces), faces)
        self._forward(measures, points, normals, self.sample_region, truth, body)
        back = ReferenceSurface(predicted, faces).closest(self.samples.on(truth, faces))[0]
        measures.backward.append(back)
        measures.backward_region.append(self.sample_region)

    def add_points(
        self,
        measures: Measures,
        points: np.ndarray,  # [M, 3]
        normals: np.ndarray,  # [M, 3]
        truth: np.ndarray,
        body: np.ndarray | None = None,
    ) -> None:
        """A point cloud: regions are those of the closest point of the truth."""
        from scipy.spatial import cKDTree

        self._forward(measures, points, normals, None, truth, body)
        measures.backward.append(cKDTree(points).query(self.samples.on(truth, self.triangles))[0])
        measures.backward_region.append(self.sample_region)

    def _forward(
        self,
        measures: Measures,
        points: np.ndarray,
        normals: np.ndarray,
        region: np.ndarray | None,
        truth: np.ndarray,
        body: np.ndarray | None,
    ) -> None:
        surface = ReferenceSurface(truth, self.triangles)
        distance, triangle, weights = surface.closest(points)
        true_normals = surface.interpolate(vertex_normals(truth, self.triangles), triangle, weights)
        if region is None:
            region = self.region[self.triangles[triangle, weights.argmax(1)]]
        measures.forward.append(distance)
        measures.forward_region.append(region)
        measures.angle.append(angle_between(_unit(normals), _unit(true_normals)))
        if body is not None:
            skin = ReferenceSurface(body, self.body_triangles)
            height = signed_height(points, skin, vertex_normals(body, self.body_triangles))
            measures.inside.append(height < 0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-20)
