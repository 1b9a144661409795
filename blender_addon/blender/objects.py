"""Parts of objects by their kind: Blender's types know an object's data and modifiers as of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from bpy.types import (
    Armature,
    ArmatureModifier,
    MaskModifier,
    Mesh,
    MeshCacheModifier,
    Modifier,
    NodesModifier,
    Object,
    SolidifyModifier,
)

KINDS: dict[type[Modifier], str] = {
    ArmatureModifier: "ARMATURE",
    MaskModifier: "MASK",
    MeshCacheModifier: "MESH_CACHE",
    NodesModifier: "NODES",
    SolidifyModifier: "SOLIDIFY",
}

Kind = TypeVar("Kind", bound=Modifier)


def mesh_of(obj: Object) -> Mesh:
    """The mesh of an object that has one. Raises TypeError."""
    if not isinstance(obj.data, Mesh):
        raise TypeError(f"'{obj.name}' is no mesh.")
    return obj.data


def armature_of(obj: Object) -> Armature:
    """The armature of an object that is one. Raises TypeError."""
    if not isinstance(obj.data, Armature):
        raise TypeError(f"'{obj.name}' is no armature.")
    return obj.data


def modifier_of(obj: Object, name: str, kind: type[Kind]) -> Kind | None:
    """The modifier of that name and kind."""
    modifier = obj.modifiers.get(name)
    return modifier if isinstance(modifier, kind) else None


def new_modifier(obj: Object, name: str, kind: type[Kind]) -> Kind:
    """A modifier at the end."""
    modifier = obj.modifiers.new(name, KINDS[kind])  # type: ignore[arg-type]  # one of the names that are allowed
    assert isinstance(modifier, kind)
    return modifier


def modifiers_of(obj: Object, kind: type[Kind]) -> Sequence[Kind]:
    """All modifiers of a kind, in their order."""
    return [modifier for modifier in obj.modifiers if isinstance(modifier, kind)]
