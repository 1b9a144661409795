"""Damaged files: a reader answers with its own error or a right result, soon and within bounds; anything else fails."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from scale_backend.formats.errors import UserError
from tests.fuzz import EXAMPLES
from tests.fuzz.damage import blows, damaged, rewritten_header, values
from tests.fuzz.readers import READERS, Reader

SECONDS = 2.0  # of this process's own work
MEMORY = 200 << 20  # bytes over the file's size
COSTLY = {"garment.safetensors": 4, "moving.safetensors": 4, "weights.pt": 2}  # so many times fewer examples
KEPT = Path(__file__).parent / "seeds"

quickly = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def peak() -> int:
    """The most memory that this process has had since `forget_peak`, in bytes; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def forget_peak() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def held_to_its_promise(reader: Reader, path: Path, data: bytes) -> None:
    path.write_bytes(data)
    forget_peak()
    before, began = peak(), time.process_time()
    told = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader.read(path)
        except (UserError, OSError) as error:
            told = str(error)
    assert time.process_time() - began < SECONDS
    assert peak() - before < MEMORY + len(data)
    assert len(told) < 1500 and "Traceback" not in told


@pytest.mark.parametrize("name", READERS)
def test_right_files_are_read(name, tmp_path):
    (tmp_path / name).write_bytes(READERS[name].right())
    READERS[name].read(tmp_path / name)


@pytest.mark.parametrize("name", READERS)
def test_damaged_files(name, tmp_path):
    reader, path = READERS[name], tmp_path / name
    data = reader.right()

    @settings(max_examples=EXAMPLES // COSTLY.get(name, 1), **quickly)
    @given(blows)
    def damage(done) -> None:
        held_to_its_promise(reader, path, damaged(data, done))

    damage()


@pytest.mark.parametrize("name", ["summary.safetensors", "garment.safetensors", "moving.safetensors"])
def test_headers_with_other_values(name, tmp_path):
    reader, path = READERS[name], tmp_path / name
    data = reader.right()

    @settings(max_examples=4 * EXAMPLES // COSTLY.get(name, 1) ** 2, **quickly)
    @given(strategies.lists(strategies.integers(0, 50), min_size=1, max_size=5).map(tuple), values)
    def change(place, value) -> None:
        held_to_its_promise(reader, path, rewritten_header(data, place, value))

    change()


@pytest.mark.parametrize("path", sorted(KEPT.iterdir()), ids=lambda path: path.name)
def test_files_that_once_failed(path, tmp_path):
    """Named NUMBER-READER'S FILE."""
    reader = READERS[path.name.partition("-")[2]]
    held_to_its_promise(reader, tmp_path / reader.name, path.read_bytes())
