"""A surface bound to decoded points: the same triangles and UVs in every pose. Part of a garment file."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrackedSurface:
    """Each vertex is a weighted mean of decoded points."""

    index: Tensor  # [V, K] int32, into the P N points of all patches
    weights: Tensor  # [V, K] float32, rows sum to 1
    triangles: Tensor  # [T, 3] int32
    uv: Tensor  # [U, 2] float32
    uv_triangles: Tensor  # [T, 3] int32

    def check(self, point_count: int) -> None:
        """Raises ValueError where the arrays do not fit each other or a garment of that many points."""
        for name, indices, count in (
            ("index", self.index, point_count),
            ("triangles", self.triangles, len(self.index)),
            ("uv_triangles", self.uv_triangles, len(self.uv)),
        ):
            if indices.dim() != 2 or not indices.numel() or int(indices.min()) < 0 or int(indices.max()) >= count:
                raise ValueError(f"the tracked surface's {name} point outside their array of {count}")
        if self.weights.shape != self.index.shape or self.triangles.shape != self.uv_triangles.shape:
            raise ValueError("the tracked surface's arrays differ in length")
        if self.triangles.shape[1] != 3 or self.uv.shape != (len(self.uv), 2):
            raise ValueError("the tracked surface's arrays have other shapes than a surface's")
        if not ((self.weights.sum(1) - 1).abs().max() <= 1e-3):  # also where it is no number
            raise ValueError("the tracked surface's weights do not sum to one")

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> TrackedSurface:
        """As a garment file holds them: weights in 16 bits. Raises ValueError where they are no surface."""
        if tensors.keys() != cls.__dataclass_fields__.keys():
            raise ValueError("the tracked surface lacks arrays, or has others")
        if any(value.dim() != 2 for value in tensors.values()):
            raise ValueError("the tracked surface's arrays have other shapes than a surface's")
        if any(tensors[name].is_floating_point() for name in ("index", "triangles", "uv_triangles")):
            raise ValueError("the tracked surface's indices are no whole numbers")
        kinds = {"weights": torch.float32, "uv": torch.float32}
        read = {name: value.to(kinds.get(name, torch.int32)) for name, value in tensors.items()}
        return cls(**read | {"weights": read["weights"] / read["weights"].sum(1, keepdim=True)})

    def tensors(self) -> dict[str, Tensor]:
        return self.__dict__ | {"weights": self.weights.half()}
