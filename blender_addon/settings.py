"""Settings as the add-on reads them, typed: the preferences, the panel's on a scene, those of clothes on their object.

What is registered with Blender, with names and descriptions, is in `ui/`; tests/addon/test_registration.py compares the
two. Blender's types do not know what add-ons register.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, cast

import bpy
from bpy.types import Material, Object, Scene

from . import paths
from .present import present


class Preferences(Protocol):
    """Of the machine, not of a .blend file."""

    backend_python: str
    environment_folder: str
    wheels: str
    device: str
    threads: int
    garments: str


class SceneSettings(Protocol):
    """The panel's choices."""

    rig: Object | None
    motion: str
    garment: str
    surface: str
    part: str
    bake_folder: str
    bake_format: str
    bake_step: int
    bake_samples: int
    pre_roll: bool
    bake_everyone: bool


class ClothSettings(Protocol):
    """What a piece of clothes is made of."""

    @property
    def id_data(self) -> Object:
        """The clothes' object; for a rig's choice of its body, the rig."""

    name: str  # of a further piece
    fabric: str
    color: Sequence[float]
    cloth_material: Material | None


class PieceSettings(ClothSettings, Protocol):
    """A piece of the clothes that is sewn to no other."""

    is_apart: bool


class Pieces(Protocol):
    """A collection of Blender's."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int) -> PieceSettings: ...
    def __iter__(self) -> Iterator[PieceSettings]: ...
    def add(self) -> PieceSettings: ...
    def clear(self) -> None: ...
    def remove(self, number: int) -> None: ...


class ClothesSettings(ClothSettings, Protocol):
    """What makes an object clothes: who wears it, of which garment, as what."""

    is_clothes: bool
    is_sample_body: bool
    rig: Object | None
    garment: str
    surface: str
    part: str
    live: bool
    push_out: bool
    behaves_as: str
    mixed_with: str
    mix: float
    motion: float
    fit_to_rig: bool
    fit_to_body: bool
    body: Object | None
    normals: str
    hide_skin: bool
    look: str
    pieces: Pieces
    radius: float

    def __setitem__(self, name: str, value: object) -> None:
        """Set without what a change brings about."""


def current() -> Preferences | None:
    """The preferences; None where the modules are used without being enabled as an add-on."""
    addon = present(bpy.context.preferences).addons.get(paths.PACKAGE)
    return cast(Preferences, addon.preferences) if addon else None


def garment_folder() -> Path:
    """Where the user's own garments are."""
    preferences = current()
    named = preferences.garments if preferences else ""
    return Path(bpy.path.abspath(named)) if named else paths.user_folder("garments")


def scene_settings(scene: Scene | None) -> SceneSettings:
    """The panel's choices on a scene, as contexts have one."""
    return present(scene).scale_clothing  # type: ignore[attr-defined]  # registered by ui/properties


def clothes_settings(obj: Object) -> ClothesSettings:
    """What an object is as clothes, as a body or as the one who wears them; every object has it."""
    return obj.scale_clothing  # type: ignore[attr-defined]  # registered by ui/properties
