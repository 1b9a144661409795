"""The backend process: how it starts, what it says when it cannot, and every way to end."""

import gc
import os
import secrets
import signal
import stat
import subprocess
import sys
import time
import venv
from pathlib import Path

import numpy as np
import pytest
import torch

from scale_backend.client.backend import Backend, BackendDied, BackendError, BackendStartError, examine_python
from scale_backend.client.process import Process, child_environment, module_command
from scale_backend.client.protocol import PROTOCOL
from scale_backend.formats.poses import DecodeOptions, Poses
from tests.backend.serving import PACKAGES, gone, poses, posix_only, start
from tests.making import write_garment


@posix_only
def test_socket_is_private_and_the_key_is_on_no_command_line(backend):
    folder = Path(backend.address).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for entry in ("cmdline", "environ"):
        file = Path(f"/proc/{backend.pid}/{entry}")
        assert not file.exists() or backend.key.hex().encode() not in file.read_bytes()


def test_closing_ends_the_process_and_removes_the_socket():
    backend = start()
    pid, folder = backend.pid, Path(backend.address).parent
    began = time.monotonic()
    backend.close()
    backend.close()
    assert time.monotonic() - began < 2 and not backend.alive and gone(pid)
    assert backend._process.child.returncode == 0
    assert sys.platform == "win32" or not folder.exists()
    with pytest.raises(BackendDied):
        backend.open_garment("dress")


def test_a_forgotten_backend_ends():
    backend = start()
    pid = backend.pid
    del backend
    gc.collect()
    assert gone(pid)


PARENT = """
import sys, time
from scale_backend.client.backend import Backend
backend = Backend.start(sys.executable, "cpu", 1)
print(backend.pid, backend.address, flush=True)
time.sleep(60)
"""


@posix_only
def test_it_does_not_outlive_a_parent_that_is_killed():
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment) as parent:
        pid, address = parent.stdout.readline().decode().split()
        assert not gone(int(pid), 0.1)
        parent.kill()
    assert gone(int(pid))
    assert not Path(address).parent.exists()


@posix_only
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_it_cleanly(number, code):
    with start() as backend:
        folder = Path(backend.address).parent
        os.kill(backend.pid, number)
        assert backend._process.child.wait(5) == code
        assert not folder.exists()


@posix_only
def test_a_backend_killed_in_the_middle_says_so(garment_file):
    with start() as backend:
        garment = backend.open_garment(garment_file)["id"]
        stream = backend.decode_stream(garment, Poses(poses(500)[0]), batch=1)
        next(stream)
        os.kill(backend.pid, signal.SIGKILL)
        with pytest.raises(BackendDied, match=r"The backend stopped \(signal 9\); start it again"):
            list(stream)
        assert not backend.alive
        with pytest.raises(BackendDied, match="signal 9"):
            backend.decode(garment, Poses(poses(1)[0]))
        folder = Path(backend.address).parent
    assert not folder.exists()


@posix_only
def test_a_backend_that_is_stuck_is_ended():
    with start(silence=1.0) as backend:
        os.kill(backend.pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(BackendDied, match="has not answered for 1 seconds and was ended"):
            backend.doctor()
        assert time.monotonic() - began < 5 and gone(backend.pid)


def limit_memory(backend: Backend, more: int) -> None:
    """Let the backend take `more` bytes of address space than it has now."""
    import resource

    status = Path(f"/proc/{backend.pid}/status").read_text()
    taken = int(status.split("VmSize:")[1].split()[0]) * 1024
    resource.prlimit(backend.pid, resource.RLIMIT_AS, (taken + more, resource.RLIM_INFINITY))


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set with Linux's prlimit")
def test_short_memory_halves_the_batch(garment_file):
    with start() as backend:
        garment = backend.open_garment(garment_file)["id"]
        rotations, _ = poses(400)
        expected, _ = backend.decode(garment, Poses(rotations[:1]), DecodeOptions("points"))
        limit_memory(backend, 250 << 20)
        stream = backend.decode_stream(garment, Poses(rotations), DecodeOptions("points"), batch=400)
        first, points, _ = next(stream)
        assert first == 0 and 1 <= len(points) < 400
        assert np.abs(points[0] - expected[0]).max() < 1e-5
        stream.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set with Linux's prlimit")
def test_memory_too_short_for_one_frame_is_reported(tmp_path):
    with start() as backend:
        large = write_garment(tmp_path / "large.safetensors", "body", points_per_patch=256)
        garment = backend.open_garment(large)["id"]
        limit_memory(backend, 20 << 20)
        with pytest.raises(BackendError, match="The CPU has too little memory left for one frame") as caught:
            backend.decode(garment, Poses(poses(1)[0]), DecodeOptions("points"))
        assert caught.value.kind == "device" and backend.alive
        limit_memory(backend, 4 << 30)
        assert len(backend.decode(garment, Poses(poses(1)[0]), DecodeOptions("points"))[0]) == 1


def test_a_device_that_is_missing_is_not_replaced():
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(BackendStartError, match=f"The backend cannot start: .*{'GPU'} cannot be used.*'cpu' or 'auto'"):
        start(device=missing)


@pytest.mark.parametrize("python", ["/nowhere/python", "."])
def test_a_python_that_is_none(python):
    with pytest.raises(BackendStartError, match="choose the Python of an environment that has torch"):
        start_with(python)


def start_with(python: object, **options) -> Backend:
    return Backend.start(str(python), "cpu", 1, module_path=PACKAGES, **options)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """The Python of a fresh environment with nothing in it."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def test_a_python_without_torch_is_named_with_what_to_install(bare_python):
    with pytest.raises(BackendStartError) as caught:
        start_with(bare_python)
    sentence = str(caught.value)
    assert f"The Python {bare_python} has no torch" in sentence and "\n" not in sentence
    assert f"{bare_python} -m pip install torch==2.13.0" in sentence


def test_a_python_without_the_package_is_named(bare_python):
    with pytest.raises(BackendStartError, match="has no scale_backend; install this project into it"):
        Backend.start(bare_python, "cpu")


def test_examining_a_python_that_cannot_serve(bare_python):
    report = examine_python(bare_python, PACKAGES)
    assert not report["ok"] and report["torch"]["problem"] == "torch is not installed"
    assert f"{bare_python} -m pip install torch==2.13.0" in report["advice"][0]
    with pytest.raises(BackendStartError, match="could not be started"):
        examine_python("/nowhere/python")


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@posix_only
def test_a_program_that_dies_is_quoted(tmp_path):
    program = script(tmp_path / "python", "echo one >&2; echo the disk is full >&2; exit 3")
    with pytest.raises(
        BackendStartError, match=r"(?s)before it was ready \(exit code 3\).*Last lines:\none\nthe disk is full"
    ):
        start_with(program)


@posix_only
def test_nobody_waits_for_ever_for_a_start(tmp_path):
    program = script(tmp_path / "python", "exec sleep 60")
    began = time.monotonic()
    with pytest.raises(BackendStartError, match="not ready after 1 seconds"):
        start_with(program, timeout=1.0)
    assert time.monotonic() - began < 8


@posix_only
def test_another_protocol_is_named_at_the_start(tmp_path):
    ready = """echo '{"address": "/nowhere", "protocol": 99, "pid": 1}'; exec cat >/dev/null"""
    with pytest.raises(BackendStartError, match=f"speaks protocol 99, this one {PROTOCOL}; install the same version"):
        start_with(script(tmp_path / "python", ready))


def test_chatter_before_the_ready_line_is_skipped(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('Welcome to this environment')\n")
    (tmp_path / "scale_backend").symlink_to(PACKAGES / "scale_backend")
    with start(module_path=tmp_path) as backend:
        assert backend.info["device"] == "cpu"


def test_blenders_own_python_settings_do_not_reach_it(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with start() as backend:
        assert backend.alive


def test_the_last_lines_are_kept():
    process = Process(sys.executable, ["serve"], PACKAGES)
    process.child.stdin.write(b"no key\n")
    process.child.stdin.flush()
    with pytest.raises(BackendStartError, match="must be a key of 64 hexadecimal digits"):
        process.wait_until_ready(30)
    assert process.child.returncode == 2


@pytest.mark.parametrize("name", ["json.py", "runpy.py", "numpy.py", "scale_backend.py"])
def test_a_module_of_the_current_folder_is_not_run(tmp_path, name):
    """Python 3.10 does not know PYTHONSAFEPATH: without it newer ones behave alike."""
    (tmp_path / name).write_text("import sys; sys.exit('the wrong module was run')\n")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"} | {"PYTHONPATH": str(PACKAGES)}
    command = [sys.executable, *module_command("scale_backend.client.process")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_relative_paths_do_not_reach_the_child(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", "here", os.path.abspath("there")]))
    assert child_environment(None)["PYTHONPATH"] == os.path.abspath("there")
    assert child_environment("/own")["PYTHONPATH"].split(os.pathsep)[0] == "/own"


@posix_only
def test_what_a_killed_backend_leaves_goes_at_the_next_start(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    key = secrets.token_bytes(32)
    dead = Process(sys.executable, ["serve", "--device", "cpu"], PACKAGES)
    dead.hand_key(key)
    left = Path(dead.wait_until_ready(120)["address"]).parent
    dead.kill()
    assert left.exists() and left.parent == tmp_path
    others = tmp_path / "scale-somebody"
    others.mkdir(mode=0o755)
    with start() as one, start() as other:
        assert not left.exists() and others.exists()
        assert one.doctor() and other.doctor()  # those that live are left alone
