"""Garments that are simulated, made once for all tests: each takes some seconds."""

import pytest

from training.simulate.garment_parts import GarmentMesh
from training.simulate.garments import RECIPES, make_garment
from training.simulate.skinning import SkinnedBody, load_skinned_body


@pytest.fixture(scope="session")
def skinned_body() -> SkinnedBody:
    return load_skinned_body()


@pytest.fixture(scope="session")
def garments(skinned_body) -> dict[str, GarmentMesh]:
    return {name: make_garment(name, skinned_body) for name in RECIPES}
