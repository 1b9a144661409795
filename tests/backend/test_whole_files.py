"""Writers follow no links, and leave nothing half-written under a name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from scale_backend.formats.frame_files import write_frame
from scale_backend.formats.topology import Topology
from scale_backend.formats.whole_files import (
    append_line,
    create_own,
    name_beside,
    opened_own,
    write_npz,
    write_whole,
    written_whole,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links are for administrators there")
TOPOLOGY = Topology(np.array([[0, 1, 2]], np.int32), np.zeros(3, np.int32))


@pytest.fixture
def precious(tmp_path) -> Path:
    path = tmp_path / "precious.txt"
    path.write_text("mine")
    return path


def trapped(folder: Path, name: str, target: Path) -> None:
    """What a writer with names that can be known before would follow."""
    folder.mkdir()
    for trap in (f"{name}.part", f".{name}.part", f".{name}.{os.getpid()}.part", name):
        (folder / trap).symlink_to(target)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_whole(path, b"new"),
        lambda path: write_npz(path, {"a": np.zeros(3)}),
        lambda path: write_frame(path.with_suffix(".ply"), np.zeros((3, 3)), np.zeros((3, 3)), TOPOLOGY),
        lambda path: write_frame(path.with_suffix(".npz"), np.zeros((3, 3)), np.zeros((3, 3)), TOPOLOGY),
    ],
)
@pytest.mark.parametrize("name", ["out.bin", "out.ply", "out.npz"])
def test_no_writer_follows_a_link(tmp_path, precious, write, name):
    trapped(tmp_path / "folder", name, precious)
    before = set(os.listdir(tmp_path / "folder"))
    write(tmp_path / "folder" / name)
    assert precious.read_text() == "mine"
    assert len(set(os.listdir(tmp_path / "folder")) - before) <= 1  # the file, and no scraps


def test_what_is_gone_on_with_is_no_link(tmp_path, precious):
    (tmp_path / "link").symlink_to(precious)
    os.link(precious, tmp_path / "second name")
    for name in ("link", "second name"):
        with pytest.raises(OSError):
            opened_own(tmp_path / name)
        with pytest.raises(OSError):
            append_line(tmp_path / name, "more")
    assert precious.read_text() == "mine"
    append_line(tmp_path / "log", "one")
    append_line(tmp_path / "log", "two")
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_names_beside_cannot_be_known(tmp_path):
    names = {name_beside(tmp_path / "out") for _ in range(20)}
    assert len(names) == 20
    for path in names:
        create_own(path)
        assert path.stat().st_size == 0
        with pytest.raises(FileExistsError):
            create_own(path)


def test_a_signal_as_the_name_is_made_leaves_nothing(tmp_path, monkeypatch):
    def close_and_end(file: int) -> None:  # where a signal's SystemExit may come up
        close(file)
        raise SystemExit(143)

    close = os.close
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(os, "close", close_and_end)
        write_whole(tmp_path / "out", b"new")
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), written_whole(path) as beside:
        beside.write_text("half")
        _ = 1 // 0
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
