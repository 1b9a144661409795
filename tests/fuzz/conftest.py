"""The running backend that messages are sent to, and a garment in it that knows of motion, gravity and fabrics."""

import pytest

from scale_backend.model.garment import save_garment
from tests.backend.conftest import backend
from tests.fuzz.readers import moving_garment

__all__ = ["backend"]


@pytest.fixture(scope="module")
def garment(backend, tmp_path_factory):
    path = tmp_path_factory.mktemp("garments") / "moving.safetensors"
    save_garment(path, moving_garment())
    return backend.open_garment(path)["id"]
