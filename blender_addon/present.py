"""What Blender's types say may be missing, and what is there wherever the add-on runs."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


def present(value: Value | None) -> Value:
    """The value, as a context's scene or a panel's layout. Raises RuntimeError where it is missing after all."""
    if value is None:
        raise RuntimeError("Blender has no such part of its context or its data here.")
    return value
