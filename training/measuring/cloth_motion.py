"""What cloth in motion is judged by beside its distance to the truth: swing, folds, length, flicker, skin that shows.

Vertices correspond, and figures are of one sequence: predicted and true vertices [F, V, 3], metres, in the world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfiltfilt
from scipy.spatial import cKDTree

SWING = (0.5, 3.0)  # Hz
DEEP = 1e-3  # metres under the skin that count as inside
MILLIMETRES = 1e3


@dataclass(frozen=True)
class Sheet:
    """The mesh that sequences are of."""

    rest: np.ndarray  # [V, 3] metres
    triangles: np.ndarray  # [T, 3]
    edges: np.ndarray  # [E, 2]
    sides: np.ndarray  # [E, 2] the triangles on both sides of an edge; -1: a border
    hem: np.ndarray  # [H] vertices of the lowest border


def sheet_of(rest: np.ndarray, triangles: np.ndarray) -> Sheet:
    """The hem is the border whose vertices lie lowest on the average."""
    triangles = np.asarray(triangles, np.int64)
    every = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1)
    edges, number, count = np.unique(every, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(number.ravel(), kind="stable")
    start = np.cumsum(count) - count
    owner = np.tile(np.arange(len(triangles)), 3)[order]
    second = np.where(count > 1, owner[np.minimum(start + 1, len(owner) - 1)], -1)
    return Sheet(rest, triangles, edges, np.stack([owner[start], second], 1), _hem(rest, edges[count == 1]))


def _hem(rest: np.ndarray, border: np.ndarray) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(border):
        return np.arange(len(rest))
    graph = coo_matrix((np.ones(len(border)), border.T), shape=(len(rest),) * 2)
    label = connected_components(graph, directed=False)[1]
    loops = [np.flatnonzero(label == k) for k in np.unique(label[border[:, 0]])]
    return min(loops, key=lambda loop: rest[loop, 1].mean())


def fold_density(vertices: np.ndarray, sheet: Sheet, among: np.ndarray | None = None) -> float:
    """Degrees a centimetre: the mean angle between neighbouring faces over the rest distance of their middles.

    `among` [V] bool: faces whose corners are all among them.
    """
    inner = sheet.sides[:, 1] >= 0
    if among is not None:
        inner = inner & among[sheet.triangles].all(1)[sheet.sides].all(1)
    sides = sheet.sides[inner]
    middle = sheet.rest[sheet.triangles].mean(1)
    apart = np.linalg.norm(middle[sides[:, 0]] - middle[sides[:, 1]], axis=1)
    normals = _face_normals(vertices, sheet.triangles)
    cosine = np.einsum("...tc,...tc->...t", normals[..., sides[:, 0], :], normals[..., sides[:, 1], :])
    angle = np.degrees(np.arccos(cosine.clip(-1, 1)))
    return float(angle.mean() / (100 * apart.mean()))


def _face_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:  # [..., V, 3] -> [..., T, 3]
    a, b, c = (vertices[..., triangles[:, k], :] for k in range(3))
    normal = np.cross(b - a, c - a)
    return normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)


def edge_ratios(vertices: np.ndarray, sheet: Sheet) -> tuple[float, float]:
    """Mean and 10th percentile of edges' lengths over those at rest."""

    def length(v: np.ndarray) -> np.ndarray:
        return np.linalg.norm(v[..., sheet.edges[:, 0], :] - v[..., sheet.edges[:, 1], :], axis=-1)

    ratio = length(vertices) / length(sheet.rest)
    return float(ratio.mean()), float(np.percentile(ratio, 10))


def flicker(vertices: np.ndarray) -> float:
    """Mean size of the second difference in time, millimetres a frame squared."""
    return float(np.linalg.norm(np.diff(vertices, 2, axis=0), axis=-1).mean() * MILLIMETRES)


def swing(
    predicted: np.ndarray, truth: np.ndarray, pelvis: np.ndarray, sheet: Sheet, fps: float
) -> tuple[float, float]:
    """The hem's centre against the pelvis [F, 3], 0.5 to 3 Hz: correlation, and amplitude over the truth's.

    NaN for a sequence under a second.
    """
    if len(truth) < fps:
        return float("nan"), float("nan")
    band = butter(2, SWING, "bandpass", fs=fps, output="sos")
    ours, theirs = (
        sosfiltfilt(band, v[:, sheet.hem].mean(1) - pelvis, axis=0, padlen=min(len(v) - 1, int(fps))).ravel()
        for v in (predicted, truth)
    )
    size = float(np.linalg.norm(theirs))
    both = float(ours @ theirs) / max(float(np.linalg.norm(ours)) * size, 1e-12)
    return both, float(np.linalg.norm(ours)) / max(size, 1e-12)


def share_inside(vertices: np.ndarray, skin: np.ndarray, skin_normals: np.ndarray) -> float:
    """Share of vertices more than a millimetre under the body's skin [F, B, 3], by its nearest vertices' planes."""
    count = 0
    for cloth, body, normals in zip(vertices, skin, skin_normals, strict=True):
        distance, index = cKDTree(body).query(cloth, 4)
        heights = np.einsum("vkc,vkc->vk", cloth[:, None] - body[index], normals[index])
        weights = 1 / np.maximum(distance, 1e-6) ** 2
        height = (weights * heights).sum(1) / weights.sum(1)
        count += int(((height < -DEEP) & (distance[:, 0] < 0.05)).sum())
    return count / (vertices.shape[0] * vertices.shape[1])


@dataclass(frozen=True)
class MotionFigures:
    """Of one way to make the cloth, over some sequences."""

    distance: float  # mm, mean of corresponding vertices
    distance_90: float  # mm, its 90th percentile
    correlation: float
    amplitude: float
    folds: float  # degrees a centimetre
    true_folds: float
    edges: float
    edges_10: float
    true_edges: float
    true_edges_10: float
    flicker: float  # over the truth's
    inside: float  # percent


def motion_figures(
    predicted: np.ndarray,  # [F, V, 3]
    truth: np.ndarray,
    pelvis: np.ndarray,  # [F, 3]
    sheet: Sheet,
    fps: float,
    skin: tuple[np.ndarray, np.ndarray] | None = None,  # the body's vertices and normals [F, B, 3]
) -> MotionFigures:
    apart = np.linalg.norm(predicted - truth, axis=-1) * MILLIMETRES
    return MotionFigures(
        float(apart.mean()), float(np.percentile(apart, 90)), *swing(predicted, truth, pelvis, sheet, fps),
        fold_density(predicted, sheet), fold_density(truth, sheet), *edge_ratios(predicted, sheet),
        *edge_ratios(truth, sheet), flicker(predicted) / max(flicker(truth), 1e-9),
        float("nan") if skin is None else 100 * share_inside(predicted, *skin),
    )  # fmt: skip
