"""Frames as meshes whose topology changes: the decoded points of every frame, reconstructed one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from scale_backend.decoding.batches import decode_batches
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.formats.topology import Topology

BATCH = 4  # frames decoded at once; reconstruction takes far longer


class FrameMesh(NamedTuple):
    """One frame."""

    frame: int
    points: np.ndarray  # [V, 3] float32 metres
    normals: np.ndarray  # [V, 3] float32, those decoded nearest
    triangles: np.ndarray  # [T, 3] int32
    patch: np.ndarray  # [V] int32


def decode_meshes(
    decoder: Decoder,
    poses: Poses,
    options: DecodeOptions,  # its surface does not count
) -> Iterator[FrameMesh]:
    """Screened Poisson through each frame's points. Raises GarmentError where pymeshlab is missing."""
    from scale_backend.reconstruction.meshlab import pymeshlab

    pymeshlab()
    of_points = replace(options, surface="points", normals="faces")
    patch = decoder.topology("points", options.part).patch
    decoded = decode_batches(decoder, poses, of_points, BATCH)
    for first, points, normals in decoded:
        for step in range(len(points)):
            vertices, directions, _, topology = reconstructed(points[step], normals[step], None, patch)
            yield FrameMesh(first + step, vertices, directions, topology.triangles, topology.patch)


def reconstructed(
    points: np.ndarray,  # [M, 3] metres
    normals: np.ndarray,  # [M, 3]
    colors: np.ndarray | None,  # [M, 3]
    patch: np.ndarray,  # [M]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Topology]:
    """Vertices [V, 3] of the surface through one frame's points, their normals, colours, and topology: each vertex has
    what the point nearest to it has. Raises GarmentError where pymeshlab is missing."""
    from scipy.spatial import cKDTree

    from scale_backend.reconstruction.meshlab import reconstruct

    vertices, triangles = reconstruct(points, normals)
    nearest = cKDTree(points).query(vertices)[1]
    topology = Topology(triangles, patch[nearest])
    return vertices.astype(np.float32), normals[nearest], None if colors is None else colors[nearest], topology
