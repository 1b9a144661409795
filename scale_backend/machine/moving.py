"""Frozen dataclasses of tensors on another device."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import torch
    from _typeshed import DataclassInstance

    Moved = TypeVar("Moved", bound=DataclassInstance)


@runtime_checkable
class Movable(Protocol):
    """A tensor, or what holds tensors."""

    def to(self, device: Any, /) -> Any: ...


def to_device(value: Moved, device: str | torch.device) -> Moved:
    """All fields that can move, moved; the others as they are."""
    named = {field.name: getattr(value, field.name) for field in fields(value)}
    moved: dict[str, Any] = {name: part.to(device) for name, part in named.items() if isinstance(part, Movable)}
    return replace(value, **moved)
