"""Surfaces the scene gets. One interface: `build` gives the queries to decode and the topology that stays."""

from scale_backend.surfaces.kinds import build
from scale_backend.surfaces.seams import Seams
from scale_backend.surfaces.surface import Binding, DecodedSurface, unconnected

__all__ = ["Binding", "DecodedSurface", "Seams", "build", "unconnected"]
