"""How the points of a surface hang together: what stays from frame to frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Topology:
    """Of M points or vertices and T triangles."""

    triangles: np.ndarray  # [T, 3] int32; none for points
    patch: np.ndarray  # [M] int32, whose patch each came from
    uv: np.ndarray | None = None  # [3 T, 2] float32 a corner; None: the surface has no UVs
    region: np.ndarray | None = None  # [M] uint8, by number of the garment's region_names; None: it has no regions

    def arrays(self) -> dict[str, np.ndarray]:
        """By name, without those that are None: as files and messages hold them."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in named.items() if array is not None}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Topology:
        """From `arrays`, and whatever else is among them."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls) if field.name in arrays})
