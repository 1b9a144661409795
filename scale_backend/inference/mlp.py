"""What every kind of MLP is to the decoder. `choice.py` says which one a machine gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from scale_backend.inference.precision import Precision


@dataclass(frozen=True)
class Place:
    """What uv and pq of M queries are to the kind of MLP that made it: the same for every pose."""

    parts: tuple[Tensor, ...]  # [M, ...] each

    def __getitem__(self, rows: slice) -> Place:
        return Place(tuple(part[rows] for part in self.parts))


class InferenceMLP(Protocol):
    """Features of queries to residuals and normals, and to colours where the network has them."""

    precision: Precision
    tile: int  # rows at a time that a core takes best

    def place(self, uv: Tensor, pq: Tensor) -> Place:  # [M, 2], [M, 2]
        """What is known of queries before any pose."""
        ...

    def __call__(
        self,
        features: Tensor,  # [F, R, C], or [F, K, C] with `of`
        place: Place,  # of the R queries
        with_normals: bool = True,
        of: Tensor | None = None,  # [R] into K: which features a query has, where many share them
    ) -> tuple[Tensor, Tensor | None]:  # [F, R, 3], [F, R, 3] or None
        """Residuals and, where asked for, normals, in the local frame."""
        ...

    def colors(self, features: Tensor, place: Place) -> Tensor:  # as in a call -> [F, R, 3] in 0..1
        """Colours, of a network that has them."""
        ...
