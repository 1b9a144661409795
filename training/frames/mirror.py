"""Mirror images of simulated frames: the body is left/right symmetric, so a symmetric garment's frames count twice.

The rest mesh need not be symmetric vertex by vertex: a vertex takes its mirror image's place on a smooth rest surface.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scale_backend.formats.joints import JOINT_NAMES
from scale_backend.surfaces.butterfly import butterfly_matrix
from scale_backend.surfaces.subdivision import subdivide
from training.frames.raw_frames import RawFrames, RawFramesError, RawGarment
from training.frames.sequences import ClothGarment, Sequence
from training.geometry.surface_distance import nearest_places, sided

SUBDIVISIONS = 2  # of the rest mesh: on its flat triangles folds would come out flatter
LARGEST_GAP = 0.004  # metres, mean distance of the mirrored rest surface from itself
REFLECTION = np.array([-1.0, 1.0, 1.0])  # left is +X


@dataclass(frozen=True)
class MirrorMap:
    """Where on the smooth surface through the rest mesh each vertex's mirror image lies."""

    weights: sparse.csr_matrix  # [V, V] of the vertices; rows sum to 1

    def apply(self, vertices: np.ndarray) -> np.ndarray:  # [F, V, 3] -> [F, V, 3]
        """Posed vertices of the mirrored frames."""
        side_by_side = vertices.transpose(1, 0, 2).reshape(vertices.shape[1], -1)
        taken = (self.weights @ side_by_side).reshape(-1, len(vertices), 3).transpose(1, 0, 2)
        return (taken * REFLECTION).astype(np.float32)


def mirror_map(garment: RawGarment | ClothGarment) -> MirrorMap:
    """Raises RawFramesError where the rest mesh is not symmetric.

    Layers that lie on each other (a tee's hem on trousers) are told apart by connected parts.
    """
    coarse = torch.from_numpy(np.asarray(garment.triangles, np.int64))
    smooth = butterfly_matrix(coarse, len(garment.vertices), SUBDIVISIONS)
    vertices, triangles = (
        smooth @ garment.vertices.astype(np.float64),
        subdivide(coarse, SUBDIVISIONS).triangles.numpy(),
    )
    edges = triangles[:, [0, 1, 1, 2]].reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(len(vertices),) * 2)
    part = connected_components(graph, directed=False)[1]
    count = len(garment.vertices)  # the first of the fine mesh
    corners, weights, gap = np.zeros((count, 3), int), np.zeros((count, 3)), np.zeros(count)
    features = sided(vertices, triangles)
    for number in np.unique(part):
        own = np.flatnonzero(part[:count] == number)
        faces = triangles[part[triangles[:, 0]] == number]
        wanted = features[own] * np.tile(REFLECTION, 2)
        corners[own], weights[own], gap[own] = nearest_places(wanted, features, faces)
    if gap.mean() > LARGEST_GAP:
        raise RawFramesError(
            f"The garment '{garment.name}' is not symmetric: its mirror image lies {1e3 * gap.mean():.1f} mm off on "
            "average; train it with mirror: false."
        )
    rows = np.arange(count).repeat(3)
    taken = sparse.coo_matrix((weights.ravel(), (rows, corners.ravel())), shape=(count, len(vertices)))
    return MirrorMap((taken.tocsr() @ smooth).tocsr())


def mirrored_pose(pose: np.ndarray) -> np.ndarray:  # [F, J, 3] axis-angle -> [F, J, 3]
    """Left and right joints change places; a reflection in x turns the other way about y and z."""
    names = JOINT_NAMES[pose.shape[1]]
    other = [names.index(_other_side(name)) for name in names]
    return (pose[:, other] * -REFLECTION).astype(np.float32)


def _other_side(name: str) -> str:
    swapped = {"left": "right", "right": "left"}
    side, _, rest = name.partition("_")
    return f"{swapped[side]}_{rest}" if side in swapped else name


def with_mirror_images(garment: RawGarment, frames: RawFrames) -> RawFrames:
    """The frames and behind them their mirror images."""
    mirrored = mirror_map(garment).apply(frames.vertices)
    return replace(
        frames,
        pose=np.concatenate([frames.pose, mirrored_pose(frames.pose)]),
        vertices=np.concatenate([frames.vertices, mirrored]),
        names=(*frames.names, *(f"{name}-mirrored" for name in frames.names)),
        inside=np.tile(frames.inside, 2),
        speed=np.tile(frames.speed, 2),
    )


def mirrored_sequence(sequence: Sequence, mapped: MirrorMap) -> Sequence:
    """Cloth in motion as a mirror shows it, the root's way and turns included."""
    return replace(
        sequence,
        pose=mirrored_pose(sequence.pose),
        translation=(sequence.translation * REFLECTION).astype(np.float32),
        vertices=mapped.apply(sequence.vertices),
    )
