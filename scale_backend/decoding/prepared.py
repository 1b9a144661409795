"""What is computed once for a surface and then used by each frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from scale_backend.decoding.model import Model
from scale_backend.decoding.settled import Sheet, sheet_of
from scale_backend.formats.topology import Topology
from scale_backend.geometry.articulation import VertexRings, vertex_rings
from scale_backend.geometry.gathering import gather_sum
from scale_backend.geometry.stretching import RestSizes, rest_sizes
from scale_backend.inference.mlp import Place
from scale_backend.surfaces import Binding, DecodedSurface, Seams
from scale_backend.surfaces.queries import Queries


@dataclass(frozen=True)
class Prepared:
    """A surface kind made ready: its queries, what they add to the network's layers, its topology."""

    queries: Queries
    place: Place
    topology: Topology
    rings: VertexRings | None  # of a mesh whose normals are those of its faces; None: the network's normals
    binding: Binding | Seams | None  # of vertices to decoded points; None: the points are the vertices
    sheet: Sheet | None = None  # of a mesh that settles
    sizes: RestSizes | None = None  # of a mesh's triangles; None: it is made otherwise


def ready(model: Model, surface: DecodedSurface) -> Prepared:
    """A surface kind on the model's device."""
    queries = surface.queries.to(model.device)
    rings = None
    if len(surface.topology.triangles):
        triangles = torch.from_numpy(surface.topology.triangles).long()
        rings = vertex_rings(triangles, len(surface.topology.patch)).to(model.device)
    binding = None if surface.binding is None else surface.binding.to(model.device)
    sheet, sizes = None, None
    if surface.stencils is not None:
        template = gather_sum(model.host_carrier.template[None], surface.stencils.index, surface.stencils.weights)[0]
        sizes = rest_sizes(torch.from_numpy(surface.topology.triangles).long(), template).to(model.device)
    if model.settling is not None and surface.stencils is not None:
        sheet = sheet_of(model.host_carrier, surface.stencils, model.device)
    place = model.mlp.place(queries.uv, queries.pq)
    return Prepared(queries, place, surface.topology, rings, binding, sheet, sizes)
