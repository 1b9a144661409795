"""Frozen dataclasses of tensors on another device."""

from __future__ import annotations

from dataclasses import Field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import torch


class Holder(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@runtime_checkable
class Movable(Protocol):
    """A tensor, or what holds tensors."""

    def to(self, device: Any, /) -> Any: ...


Moved = TypeVar("Moved", bound=Holder)


def to_device(value: Moved, device: str | torch.device) -> Moved:
    """All fields that can move, moved; the others as they are."""
    named = {field.name: getattr(value, field.name) for field in fields(value)}
    moved: dict[str, Any] = {name: part.to(device) for name, part in named.items() if isinstance(part, Movable)}
    return replace(value, **moved)
