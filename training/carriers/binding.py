"""How a garment hangs on a body: blend weights and shape components taken from the skin and diffused over the cloth.

Where cloth lies on the skin it moves with that skin. Where it hangs free, as a skirt does between the legs, nearest
skin is no guide: there the values are those of a taut sheet, the solution of a Laplace equation over the cloth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from scale_backend.formats.joints import FACE, FINGERS
from training.geometry.surface_distance import closest_barycentrics, vertex_normals

Array = NDArray[np.float64]
Index = NDArray[np.int64]
CANDIDATES = 24  # skin triangles looked at exactly for each garment vertex
FACING = 0.03  # metres that a unit of difference between normals counts
UNCLOTHED = ("head", "left_hand", "right_hand", "left_foot", "right_foot", "left_ankle", "right_ankle", *FACE, *FINGERS)


@dataclass(frozen=True)
class Diffusion:
    """How far the skin's word carries. Lengths in metres."""

    contact: float = 0.015  # up to here off the skin, cloth lies on it
    reach: float = 0.01  # how fast that fades beyond
    smoothing: float = 0.02  # over this length the cloth blurs what it takes from the skin where it lies close
    least_trust: float = 1e-5  # of cloth that hangs free: smoothing / sqrt(least_trust) is its blur, some metres
    influences: int = 8  # joints a vertex may follow


DIFFUSION = Diffusion()


@dataclass(frozen=True)
class SkinContact:
    """The closest point of the skin to each garment vertex."""

    distance: Array  # [V]
    corners: Index  # [V, 3] body vertices
    weights: Array  # [V, 3] barycentrics

    def carry(self, values: NDArray) -> Array:  # [body V, C] -> [V, C]
        return np.einsum("vkc,vk->vc", values[self.corners].astype(np.float64), self.weights)


def find_contact(
    vertices: NDArray,  # [V, 3]
    triangles: NDArray,  # [T, 3]
    body_vertices: NDArray,
    body_triangles: NDArray,
) -> SkinContact:
    """The nearest skin that faces as the cloth does: a trouser leg goes by the thigh in it, not by the other."""
    points, facing = np.asarray(vertices, np.float64), vertex_normals(np.asarray(vertices, np.float64), triangles)
    corners = np.asarray(body_vertices, np.float64)[body_triangles]  # [B, 3, 3]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)
    tree = cKDTree(np.concatenate([corners.mean(1), FACING * normals], 1))
    count = min(CANDIDATES, len(corners))
    nearest = tree.query(np.concatenate([points, FACING * facing], 1), count)[1].reshape(len(points), count)
    weights = closest_barycentrics(points[:, None], corners[nearest])  # [V, CANDIDATES, 3]
    distance = np.linalg.norm(np.einsum("vnkc,vnk->vnc", corners[nearest], weights) - points[:, None], axis=-1)
    turned = np.linalg.norm(normals[nearest] - facing[:, None], axis=-1)
    rows, best = np.arange(len(points)), np.hypot(distance, FACING * turned).argmin(1)
    return SkinContact(distance[rows, best], np.asarray(body_triangles)[nearest[rows, best]], weights[rows, best])


def diffuse(
    values: Array,  # [V, C] wanted
    trust: Array,  # [V] 0 to 1
    vertices: NDArray,  # [V, 3]
    triangles: NDArray,  # [T, 3]
    smoothing: float,  # metres
) -> Array:  # [V, C]
    """The smooth field that keeps to the wanted values where they are trusted: (M D + s² K) x = M D w.

    K is the cotangent Laplacian without negative entries, so every result is a mean of wanted values: rows of weights
    stay weights.
    """
    mass, stiffness = cloth_matrices(np.asarray(vertices, np.float64), np.asarray(triangles, np.int64))
    anchored = sparse.diags(mass * trust)
    return splu((anchored + smoothing**2 * stiffness).tocsc()).solve(anchored @ values)


def cloth_matrices(vertices: Array, triangles: Index) -> tuple[Array, sparse.csr_matrix]:
    """Area of each vertex [V] and the cotangent Laplacian [V, V], its off-diagonal never positive."""
    count = len(vertices)
    rows, columns, entries = [], [], []
    for k in range(3):
        a, b, opposite = triangles[:, k], triangles[:, (k + 1) % 3], triangles[:, (k + 2) % 3]
        one, two = vertices[a] - vertices[opposite], vertices[b] - vertices[opposite]
        doubled_area = np.linalg.norm(np.cross(one, two), axis=1)
        rows.append(a)
        columns.append(b)
        entries.append((one * two).sum(1) / np.maximum(doubled_area, 1e-12) / 2)
    half = sparse.coo_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))), (count, count))
    graph = (half + half.T).tocsr()
    graph.data = np.maximum(graph.data, 1e-3)
    mass = np.zeros(count)
    for k in range(3):
        np.add.at(mass, triangles[:, k], doubled_area / 6)
    return mass, sparse.diags(np.asarray(graph.sum(1)).ravel()) - graph


def trust_in_skin(distance: Array, diffusion: Diffusion) -> Array:  # [V] -> [V]
    """1 on the skin, falling to `least_trust` away from it."""
    beyond = np.maximum(distance - diffusion.contact, 0) / diffusion.reach
    return diffusion.least_trust + (1 - diffusion.least_trust) * np.exp(-(beyond**2))


def diffuse_blend_weights(
    vertices: NDArray,  # [V, 3]
    triangles: NDArray,  # [T, 3]
    skin_weights: Array,  # [V, J] of the closest skin
    distance: Array,  # [V] to the skin
    diffusion: Diffusion = DIFFUSION,
    pinned: NDArray | None = None,  # [V] 0 to 1: where the next are exact
    pinned_weights: NDArray | None = None,  # [V, J]
) -> Array:  # [V, J], rows not negative and of sum 1
    """Blend weights of a garment. What a simulation pinned to the body keeps the weights it was pinned with."""
    weights = diffuse(skin_weights, trust_in_skin(distance, diffusion), vertices, triangles, diffusion.smoothing)
    if pinned is not None and pinned_weights is not None:
        held = np.asarray(pinned, np.float64)[:, None]
        weights = held * pinned_weights + (1 - held) * weights
    return keep_strongest(weights, diffusion.influences)


def keep_strongest(weights: Array, count: int) -> Array:
    """Leave each row at most `count` entries: the next strongest is taken off all, so that none ends in a step."""
    weights = np.maximum(weights, 0)
    if weights.shape[1] > count:
        weights = np.maximum(weights - np.sort(weights, 1)[:, -count - 1, None], 0)
    return weights / weights.sum(1, keepdims=True)


def carry_shape_components(
    vertices: NDArray,  # [V, 3]
    triangles: NDArray,  # [T, 3]
    skin_components: Array,  # [V, 3, S] of the closest skin
    distance: Array,  # [V]
    diffusion: Diffusion = DIFFUSION,
) -> Array:  # [V, 3, S]
    """How the garment follows the body's shape: as the skin it lies on, smoothed like the weights."""
    trust = trust_in_skin(distance, diffusion)
    flat = skin_components.reshape(len(skin_components), -1)
    return diffuse(flat, trust, vertices, triangles, diffusion.smoothing).reshape(skin_components.shape)


def clothed_weights(
    blend_weights: NDArray,  # [V, J]
    parents: tuple[int, ...],
    joint_names: tuple[str, ...],
    unclothed: tuple[str, ...] = UNCLOTHED,
) -> Array:  # [V, J]
    """Blend weights with head, hands and feet given to their parents: no cloth hangs on them."""
    weights = np.array(blend_weights, np.float64)
    for joint in reversed(range(len(parents))):  # children first
        if joint_names[joint] in unclothed and parents[joint] >= 0:
            weights[:, parents[joint]] += weights[:, joint]
            weights[:, joint] = 0
    return weights
