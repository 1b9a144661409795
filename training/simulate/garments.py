"""The garments that can be simulated, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..frames.raw_frames import RawFramesError
from .cloth import ClothScene, ClothSettings
from .dress import make_dress
from .garment_parts import Field, GarmentMesh
from .laying import laid_onto, placed_as_on
from .skinning import SkinnedBody, load_skinned_body
from .tee_trousers import make_tee_trousers, waist_padding


@dataclass(frozen=True)
class Recipe:
    """How a garment is made and simulated."""

    make: Callable[[SkinnedBody, float], GarmentMesh]
    edge_length: float  # metres
    cloth: ClothSettings
    most_frames: int  # held at most so long until it rests
    padding: Field | None = None  # where the colliding body has to be thicker


RECIPES = {
    "dress": Recipe(make_dress, 0.020, ClothSettings(), 34),
    "tee-trousers": Recipe(
        make_tee_trousers, 0.022, ClothSettings(bending=10.0, bending_damping=0.5), 20, waist_padding
    ),
}


def find_recipe(name: str) -> Recipe:
    """Raises RawFramesError for a name that is not known."""
    if name not in RECIPES:
        raise RawFramesError(f"There is no garment '{name}' to simulate: choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]


def make_garment(name: str, body: SkinnedBody) -> GarmentMesh:
    """Cut on the body that ships; laid onto any other. Raises RawFramesError, WearerError."""
    recipe, ours = find_recipe(name), load_skinned_body()
    if body.digest() == ours.digest():
        return recipe.make(body, recipe.edge_length)
    return laid_onto(recipe.make(ours, recipe.edge_length), ours, body)


def make_scene(name: str, body: SkinnedBody, garment: GarmentMesh, cloth: ClothSettings | None = None) -> ClothScene:
    recipe, ours = find_recipe(name), load_skinned_body()
    padding = recipe.padding
    if padding is not None and body.digest() != ours.digest():
        padding = placed_as_on(ours, body, padding)
    return ClothScene(body, garment, cloth or recipe.cloth, padding)
