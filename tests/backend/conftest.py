"""A real backend process that the tests of a module share, and a garment in it."""

import pytest

from tests.backend.serving import start
from tests.making import write_garment


@pytest.fixture(scope="module")
def backend():
    with start() as running:
        yield running


@pytest.fixture(scope="module")
def garment_file(tmp_path_factory):
    return write_garment(tmp_path_factory.mktemp("garments") / "skirt.safetensors")


@pytest.fixture(scope="module")
def garment(backend, garment_file):
    return backend.open_garment(garment_file)["id"]
