"""Frames as meshes whose topology changes: the decoded points of every frame, reconstructed one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from scale_backend.decoding.batches import decode_batches
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.poses import DecodeOptions, Poses

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
    from scipy.spatial import cKDTree

    from scale_backend.reconstruction.meshlab import pymeshlab, reconstruct

    pymeshlab()
    of_points = replace(options, surface="points", normals="faces")
    patch = decoder.topology("points", options.part)["patch"]
    decoded = decode_batches(decoder, poses, of_points, BATCH)
    for first, points, normals in decoded:
        for step in range(len(points)):
            vertices, triangles = reconstruct(points[step], normals[step])
            nearest = cKDTree(points[step]).query(vertices)[1]
            yield FrameMesh(
                first + step, vertices.astype(np.float32), normals[step][nearest], triangles, patch[nearest]
            )
