"""The kinds of surfaces by name: what is asked of the network, and how the answers hang together."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scale_backend.formats.garment_header import REFINEMENTS, GarmentError
from scale_backend.formats.topology import Topology
from scale_backend.geometry.carrier import Carrier
from scale_backend.geometry.gathering import gather_sum
from scale_backend.geometry.positional_map import surface_points
from scale_backend.model.garment import Garment
from scale_backend.surfaces.butterfly import butterfly
from scale_backend.surfaces.patches import patch_triangles
from scale_backend.surfaces.queries import Queries, grid_queries, patch_queries
from scale_backend.surfaces.seams import cut_at_seams, join_charts, smooth_queries
from scale_backend.surfaces.smoothing import surface_smoothing
from scale_backend.surfaces.subdivision import subdivide
from scale_backend.surfaces.surface import NO_TRIANGLES, Binding, DecodedSurface, RestDecoder

NO_UV = np.zeros((0, 2), np.float32)


def build(garment: Garment, carrier: Carrier, surface: str, part: str, decode_rest: RestDecoder) -> DecodedSurface:
    """A surface kind and part made ready. Raises GarmentError where the garment does not offer it."""
    offered = garment.metadata()
    if surface not in offered["surfaces"]:
        raise GarmentError(f"'{garment.name}' offers the surfaces {offered['surfaces']}, not '{surface}'.")
    if part not in offered["parts"]:
        raise GarmentError(f"'{garment.name}' offers the parts {offered['parts']}, not '{part}'.")
    if surface in REFINEMENTS:
        return mesh(garment, carrier, REFINEMENTS.index(surface))
    if surface == "tracked":
        return tracked(garment, carrier, part, decode_rest)
    if surface == "poisson":
        raise GarmentError("A Poisson surface has another topology in every frame; ask for meshes instead.")
    if surface == "patches":
        return patches(garment, carrier, part, decode_rest)
    return points(garment, carrier, part)


def points(garment: Garment, carrier: Carrier, part: str) -> DecodedSurface:
    """A point cloud: N points in each patch. For `clothes` only those flagged as cloth."""
    queries = all_points(garment, carrier)[part_of_points(garment, part)]
    return DecodedSurface(queries, _topology(queries, carrier, NO_TRIANGLES, NO_UV))


def all_points(garment: Garment, carrier: Carrier) -> Queries:  # P N
    grid = patch_queries if garment.mode == "patch" else grid_queries
    return grid(carrier, garment.layout, garment.network.settings)


def part_of_points(garment: Garment, part: str) -> Tensor:  # [P N] bool
    if part == "clothes" and garment.cloth is not None:
        return garment.cloth.bool()
    return torch.ones(int(garment.layout.mask.sum()) * garment.network.settings.points_per_patch, dtype=torch.bool)


def mesh(garment: Garment, carrier: Carrier, rounds: int = 0) -> DecodedSurface:
    """The carrier's own mesh, each vertex decoded at its own UV: topology and UVs stay the same in every frame.

    Refined, each triangle is split in four `rounds` times, and the new vertices are decoded like the old ones, from
    places on a smooth surface through the carrier.
    """
    fine = subdivide(carrier.triangles, rounds)
    cut = cut_at_seams(fine, carrier.uv_triangles)
    stencils = butterfly(carrier.triangles, len(carrier.template), rounds)
    queries = smooth_queries(carrier, garment.layout, cut, stencils)
    whole = queries[: len(stencils.index)]
    rest = surface_points(carrier.template[None], whole.corners, whole.weights)[0]
    edge = (rest[fine.triangles[:, 0]] - rest[fine.triangles[:, 1]]).norm(dim=1).mean() * 2**rounds
    uv = torch.einsum("tkc,tlk->tlc", carrier.uv[carrier.uv_triangles[fine.origin]], fine.weights)
    triangles = fine.triangles.numpy().astype(np.int32)
    topology = _topology(whole, carrier, triangles, uv.flatten(0, 1).numpy())
    seams = join_charts(rest, cut, stencils, float(edge))
    return DecodedSurface(queries, topology, binding=seams, stencils=stencils)


def patches(garment: Garment, carrier: Carrier, part: str, decode_rest: RestDecoder) -> DecodedSurface:
    """Each patch's grid as a sheet, joined to its neighbours where they meet. UVs are the positional map's."""
    queries = all_points(garment, carrier)
    continuous = garment.mode == "continuous"
    triangles = patch_triangles(carrier, garment.layout, continuous, *decode_rest(queries))
    triangles = triangles[part_of_points(garment, part)[triangles].all(1)]
    used, triangles = triangles.unique(return_inverse=True)
    chosen = queries[used]
    return DecodedSurface(
        chosen, _topology(chosen, carrier, triangles.numpy().astype(np.int32), _grid_uv(garment, used, triangles))
    )


def tracked(garment: Garment, carrier: Carrier, part: str, decode_rest: RestDecoder) -> DecodedSurface:
    """The surface of the garment file that is bound to the points. Only points that it uses are decoded."""
    if part not in garment.tracked:
        raise GarmentError(
            f"The tracked surface of '{garment.name}' is of {' and '.join(garment.tracked)}, not of {part}; "
            "choose that part, or another surface."
        )
    bound = garment.tracked[part]
    used, index = bound.index.long().unique(return_inverse=True)
    queries = all_points(garment, carrier)[used]
    strongest = index.gather(1, bound.weights.argmax(1, keepdim=True))[:, 0]
    triangles = bound.triangles.numpy()
    uv = bound.uv[bound.uv_triangles.flatten().long()].numpy()
    rest = gather_sum(decode_rest(queries)[0][None], index, bound.weights)[0]
    binding = Binding(index, bound.weights, surface_smoothing(rest, bound.triangles))
    topology = _topology(queries[strongest], carrier, triangles, uv)
    return DecodedSurface(queries, topology, binding=binding)


def _grid_uv(garment: Garment, used: Tensor, triangles: Tensor) -> np.ndarray:  # [3 T, 2]
    """UVs in the map's square: a point's place among its pixel's samples."""
    size, count = garment.layout.size, garment.network.settings.points_per_patch
    side = round(count**0.5)
    pixel = garment.layout.mask.flatten().nonzero()[:, 0][used // count]
    row, column = used % count // side, used % count % side
    u = (pixel % size + (column + 0.5) / side) / size
    v = 1 - (pixel // size + (row + 0.5) / side) / size
    return torch.stack([u, v], 1)[triangles.flatten()].numpy().astype(np.float32)


def _topology(queries: Queries, carrier: Carrier, triangles: np.ndarray, uv: np.ndarray) -> Topology:
    if carrier.region is None:
        region = np.zeros(len(queries), np.uint8)
    else:
        nearest = queries.corners.gather(1, queries.weights.argmax(1, keepdim=True))[:, 0]
        region = carrier.region[nearest].numpy().astype(np.uint8)
    patch = queries.patch.numpy().astype(np.int32)
    return Topology(triangles, patch, uv, region)
