"""Decoding that is killed, stopped or meets a full disk: what it left is whole, and resumed it equals undisturbed.

FAULT_KILLS says how often it is killed; `make test` has time for few.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scale_backend.formats.whole_files import append_line, write_npz, write_whole
from tests.disks import small_disk
from tests.making import write_garment

KILLS = int(os.environ.get("FAULT_KILLS", "2"))
FRAMES = 72
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def decoding(garment: Path, out: Path, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "scale_backend", "decode", str(garment), "--motion", "walk", "--out", str(out),
               "--frames", f"0-{FRAMES - 1}", "--device", "cpu", "--threads", "1", "--batch", "8",
               "--precision", "float32"]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.ply")}


@pytest.fixture(scope="module")
def garment(tmp_path_factory) -> Path:
    return write_garment(tmp_path_factory.mktemp("faults") / "skirt.safetensors")


@pytest.fixture(scope="module")
def undisturbed(garment, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    process = decoding(garment, folder)
    assert process.wait(300) == 0, process.stderr.read()
    assert len(content(folder)) == FRAMES
    return content(folder)


def test_kills_lose_no_finished_frame(garment, undisturbed, tmp_path):
    chance, kills = random.Random(7), 0
    while kills < KILLS:
        process = decoding(garment, tmp_path)
        wanted = min(len(content(tmp_path)) + chance.randint(1, max(2, FRAMES // (KILLS + 1))), FRAMES)
        while len(list(tmp_path.glob("*.ply"))) < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.01)
        process.kill()
        _, told = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), told
        kills += process.returncode != 0
        there = content(tmp_path)
        assert there == {name: undisturbed[name] for name in there}  # what is there is whole
        if len(there) == FRAMES:
            for path in tmp_path.glob("*.ply"):
                path.unlink()
    process = decoding(garment, tmp_path)
    assert process.wait(300) == 0, process.stderr.read()
    assert content(tmp_path) == undisturbed


def test_suspended_for_a_while_it_goes_on(garment, undisturbed, tmp_path):
    process = decoding(garment, tmp_path)
    while not list(tmp_path.glob("*.ply")) and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait(300) == 0, process.stderr.read()
    assert content(tmp_path) == undisturbed


def test_a_full_and_a_read_only_disk_are_told_and_gone_on_from(garment, undisturbed, tmp_path):
    each = max(map(len, undisturbed.values()))
    with small_disk(tmp_path, FRAMES // 3 * each) as disk:
        process = decoding(garment, tmp_path, preexec_fn=disk.limit)
        _, told = process.communicate(timeout=300)
        assert process.returncode not in (0, 1) and "Traceback" not in told, told
        assert "free some space" in told
        there = content(tmp_path)
        assert there == {name: undisturbed[name] for name in there} and len(there) < FRAMES
        assert not list(tmp_path.glob(".*"))  # nothing half-written, no scraps
        disk.change(FRAMES * 2 * each, writable=False)
        process = decoding(garment, tmp_path)
        _, told = process.communicate(timeout=300)
        assert process.returncode not in (0, 1) and "choose another folder" in told, told
        assert content(tmp_path) == there
        disk.change(FRAMES * 2 * each, writable=True)
        process = decoding(garment, tmp_path)
        assert process.wait(300) == 0, process.stderr.read()
        assert content(tmp_path) == undisturbed


WRITES = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from scale_backend.formats.whole_files import write_npz, write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for write in (lambda: write_whole(Path(sys.argv[1]), bytes(5000)),
              lambda: write_npz(Path(sys.argv[1]), {"a": np.zeros(5000)})):
    try:
        write()
    except OSError as error:
        print(error.filename)
"""


def test_a_writer_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "out.bin"
    write_whole(path, b"old")
    done = subprocess.run([sys.executable, "-c", WRITES, str(path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2 and path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for write in (write_whole, append_line):
        with pytest.raises(OSError):
            write(tmp_path / "file" / "out", b"new" if write is write_whole else "new")
    with pytest.raises(OSError):
        write_npz(tmp_path / "file" / "out.npz", {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
