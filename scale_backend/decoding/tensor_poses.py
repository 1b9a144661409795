"""Poses as tensors on a device: what decoding works on."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from torch import Tensor


@dataclass(frozen=True)
class TensorPoses:
    """F frames, of the body's J joints."""

    rotations: Tensor  # [F, J, 3, 3] local
    translation: Tensor  # [F, 3] metres
    shape: Tensor | None = None  # [F, S]; None: the mean shape, or a wearer's own
    past_rotations: Tensor | None = None  # [F, L, J, 3, 3] at the L moments of the garment's window; None: as now
    past_translation: Tensor | None = None  # [F, L, 3] metres; given with past_rotations
    down: Tensor | None = None  # [F, 3] unit vectors to where things fall; None: along -Y

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, chosen: slice) -> TensorPoses:
        return replace(self, **{name: tensor[chosen] for name, tensor in self.given().items()})

    def given(self) -> dict[str, Tensor]:
        """By name, without those that are None."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in named.items() if tensor is not None}
