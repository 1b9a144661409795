"""A backend's memory is bounded: garments used least recently go and come back, batches have a size in bytes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from scale_backend.formats.errors import UserError
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.machine.devices import choose_device
from scale_backend.service import session, shelf
from scale_backend.service.session import Service
from tests.backend.serving import poses
from tests.making import write_garment

FIELDS = DecodeOptions().fields()


@pytest.fixture(scope="module")
def skirt(tmp_path_factory) -> bytes:
    return write_garment(tmp_path_factory.mktemp("shelf") / "skirt.safetensors").read_bytes()


def written(path: Path, data: bytes, moment: int) -> Path:
    path.write_bytes(data)
    os.utime(path, (moment, moment))
    return path


def test_a_garment_written_again_and_again_does_not_pile_up(tmp_path, skirt):
    service = Service(choose_device("cpu"), "float32")
    path, ids = tmp_path / "skirt.safetensors", []
    for moment in range(5):
        ids.append(service.open_garment(str(written(path, skirt, moment)), None)["id"])
    assert len(set(ids)) == 5 and len(service.shelf) == shelf.VERSIONS
    service.shelf.decoder(ids[-2])  # a stream that goes on
    with pytest.raises(shelf.NotOpenError, match=r"is not open in this backend.*open its file again"):
        service.shelf.decoder(ids[0])


def test_the_least_recently_used_goes_and_comes_back(tmp_path, skirt, monkeypatch):
    monkeypatch.setattr(shelf, "MOST", 2)
    service = Service(choose_device("cpu"), "float32")
    paths = [written(tmp_path / f"{name}.safetensors", skirt, 1) for name in "abc"]
    ids = [service.open_garment(str(path), None)["id"] for path in paths]
    assert len(service.shelf) == 2 and len(service.shelf._bodies) == 1
    rotations, _ = poses(1)
    arrays = Poses(rotations).arrays()
    for name in ids:  # none of them is lost for whoever has its id
        (_, points, _), *_ = service.decode({"garment": name, **FIELDS}, arrays)
        assert np.isfinite(points).all()
    assert len(service.shelf) == 2
    paths[0].unlink()
    with pytest.raises(shelf.NotOpenError):
        service.shelf.decoder(ids[0])


def test_batches_are_bounded_by_bytes(tmp_path, skirt, monkeypatch):
    service = Service(choose_device("cpu"), "float32")
    name = service.open_garment(str(written(tmp_path / "a.safetensors", skirt, 1)), None)["id"]
    header = {"garment": name, **FIELDS, "batch": session.MAX_BATCH}
    arrays = Poses(poses(5)[0]).arrays()
    monkeypatch.setattr(session, "BATCH_BYTES", 2 * session.POINT_BYTES * service.points(header))
    assert [len(points) for _, points, _ in service.decode(header, arrays)] == [2, 2, 1]
    with pytest.raises(UserError, match="colours of 5 frames; ask for 2 at most"):
        service.colors(header, arrays)


def test_a_reply_that_would_be_too_large_is_refused_before_it_is_decoded(backend, garment, monkeypatch):
    from scale_backend.client.backend import BackendError

    rotations = np.broadcast_to(np.eye(3, dtype=np.float32), (300_000, 22, 3, 3))
    with pytest.raises(BackendError, match="too many for one reply"):
        backend.decode(garment, Poses(rotations))
