"""The kinds of surfaces by name: what is asked of the network, and how the answers hang together."""

from __future__ import annotations

import numpy as np

from scale_backend.carrier import Carrier
from scale_backend.garment import Garment
from scale_backend.garment_header import GarmentError
from scale_backend.queries import Queries, grid_queries, patch_queries, vertex_queries


def build(
    garment: Garment, carrier: Carrier, surface: str, part: str
) -> tuple[Queries, dict[str, np.ndarray]]:  # topology: see Decoder.topology
    """Queries and topology of a surface kind and part. Raises GarmentError where the garment does not offer it."""
    offered = garment.metadata()
    if surface not in offered["surfaces"]:
        raise GarmentError(f"'{garment.name}' offers the surfaces {offered['surfaces']}, not '{surface}'.")
    if part not in offered["parts"]:
        raise GarmentError(f"'{garment.name}' offers the parts {offered['parts']}, not '{part}'.")
    return mesh(garment, carrier) if surface == "mesh" else points(garment, carrier, part)


def points(garment: Garment, carrier: Carrier, part: str) -> tuple[Queries, dict[str, np.ndarray]]:
    """A point cloud: N points in each patch. For `clothes` only those flagged as cloth."""
    settings = garment.network.settings
    if garment.mode == "patch":
        queries = patch_queries(carrier, garment.layout, settings)
    else:
        queries = grid_queries(carrier, garment.layout, settings)
    if part == "clothes" and garment.cloth is not None:
        queries = queries[garment.cloth.bool()]
    empty = np.zeros((0, 3), np.int32), np.zeros((0, 2), np.float32)
    return queries, _topology(queries, carrier, *empty)


def mesh(garment: Garment, carrier: Carrier) -> tuple[Queries, dict[str, np.ndarray]]:
    """The carrier's own mesh, each vertex decoded at its own UV: topology and UVs stay the same in every frame."""
    queries = vertex_queries(carrier, garment.layout)
    loops = carrier.uv[carrier.uv_triangles.flatten()].numpy().astype(np.float32)
    return queries, _topology(queries, carrier, carrier.triangles.numpy().astype(np.int32), loops)


def _topology(queries: Queries, carrier: Carrier, triangles: np.ndarray, uv: np.ndarray) -> dict[str, np.ndarray]:
    if carrier.region is None:
        region = np.zeros(len(queries), np.uint8)
    else:
        nearest = queries.corners.gather(1, queries.weights.argmax(1, keepdim=True))[:, 0]
        region = carrier.region[nearest].numpy().astype(np.uint8)
    patch = queries.patch.numpy().astype(np.int32)
    return {"triangles": triangles, "uv": uv, "patch": patch, "region": region}
