"""The coarse mesh of a garment that is learned in motion: made from its rest mesh, with what that knows."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from scale_backend.coarse.sheet import CoarseSheet
from training.frames.sequences import ClothGarment
from training.geometry.surface_distance import nearest_places, sided
from training.simulate.mesh_tools import Mesh, neighbour_average
from training.simulate.remesh import remesh

Array = NDArray[np.float64]
TIES = 8  # coarse vertices that one of the garment goes with
SMOOTHING = 0.3  # rounds of the garment's mesh for each square of the two meshes' edges' ratio


def coarse_sheet(garment: ClothGarment, edge_length: float) -> CoarseSheet:  # metres
    """A vertex goes where the coarse triangle under it goes, smoothed, so that no triangle's border shows."""
    fine = Mesh(garment.vertices.astype(np.float64), garment.triangles.astype(np.int64))
    coarse, _ = remesh(fine, np.zeros(len(fine.triangles), np.int64), edge_length)
    corners, weights = _places(fine, coarse)  # of the coarse vertices on the garment

    def taken(values: NDArray) -> Array:
        return np.einsum("ck,ck...->c...", weights, values.astype(np.float64)[corners])

    shares = taken(garment.blend_weights)
    ties = _smooth(fine, *_places(coarse, fine), len(coarse.vertices), edge_length / garment.edge_length)
    index = np.argsort(-ties, 1)[:, :TIES]
    tied = np.take_along_axis(ties, index, 1)
    tensors = (coarse.vertices, coarse.triangles, shares / shares.sum(1, keepdims=True),
               taken(garment.shape_components), (taken(garment.pins) > 0.5).astype(float), index,
               tied / tied.sum(1, keepdims=True))  # fmt: skip
    floats = (torch.from_numpy(np.ascontiguousarray(each)) for each in tensors)
    template, triangles, blend_weights, components, held, places, shares_of = (
        each.float() if each.is_floating_point() else each.long() for each in floats
    )
    return CoarseSheet(template, triangles, blend_weights, components, held, places, shares_of)


def _places(on: Mesh, of: Mesh) -> tuple[NDArray[np.int64], Array]:  # [V, 3] vertices and [V, 3] weights
    """Where on a mesh the vertices of another lie."""
    wanted, there = (sided(mesh.vertices, mesh.triangles) for mesh in (of, on))
    return nearest_places(wanted, there, on.triangles)[:2]


def _smooth(fine: Mesh, corners: NDArray[np.int64], weights: Array, count: int, ratio: float) -> Array:  # [V, C]
    rows = np.arange(len(corners)).repeat(3)
    ties = sparse.coo_matrix((weights.ravel(), (rows, corners.ravel())), shape=(len(corners), count)).tocsr()
    average = neighbour_average(fine.triangles, len(fine.vertices))
    for _ in range(round(SMOOTHING * ratio**2)):
        ties = 0.5 * (ties + average @ ties)
    return np.asarray(ties.todense())
