"""The running backend that messages are sent to, and a garment in it that knows of motion, gravity and fabrics."""

import pytest

from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.model.garment import save_garment
from tests.backend.conftest import backend
from tests.backend.serving import poses
from tests.fuzz.readers import moving_garment

__all__ = ["backend"]


@pytest.fixture(scope="module")
def garment(backend, tmp_path_factory):
    path = tmp_path_factory.mktemp("garments") / "moving.safetensors"
    save_garment(path, moving_garment())
    opened = backend.open_garment(path)["id"]
    # what a surface needs is loaded when it is first asked for: that is no work of a message
    list(backend.decode_meshes(opened, Poses(*poses(1)), DecodeOptions(surface="points")))
    return opened
