"""The client with a real backend process over its real socket: answers, bad requests, and every way to end."""

import contextlib
import gc
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import venv
from multiprocessing.connection import Client
from pathlib import Path

import numpy as np
import pytest
import torch

import scale_backend
from scale_backend.backend_process import Process
from scale_backend.body import load_body
from scale_backend.client import (
    Backend,
    BackendCancelled,
    BackendDied,
    BackendError,
    BackendStartError,
    Channel,
    examine_python,
)
from scale_backend.engine import Decoder
from scale_backend.garment import load_garment
from scale_backend.motion import matrices_from_axis_angle
from scale_backend.protocol import MAX_HEADER, ProtocolError, greet_backend, receive_message, send_message
from tests.backend.test_protocol import HOSTILE
from tests.making import write_garment

PACKAGES = Path(scale_backend.__file__).parent.parent
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and sockets of POSIX")


def start(**options) -> Backend:
    return Backend.start(sys.executable, **{"device": "cpu", "threads": 1, "module_path": PACKAGES} | options)


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


def poses(frames: int, joints: int = 24) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    rotations = matrices_from_axis_angle(random.normal(0, 0.2, (frames, joints, 3))).astype(np.float32)
    return rotations, random.normal(0, 1, (frames, 3)).astype(np.float32)


def open_channel(backend: Backend) -> Channel:
    return Channel(backend._process, backend._address, backend._key, 30.0)


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether the process ends in time. A zombie that nobody has waited for has ended too."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if " Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


# answers


def test_it_tells_what_it_runs_on(backend):
    assert backend.alive
    assert backend.info["device"] == "cpu" and backend.info["threads"] == 1
    assert backend.info["torch"] == torch.__version__ and backend.info["executable"] == sys.executable


def test_precision_is_chosen_by_the_environment(monkeypatch, garment_file):
    monkeypatch.setenv("SCALE_BACKEND_PRECISION", "float32")
    with start() as exact:
        assert exact.info["precisions"] == ["float32"]
        assert exact.open_garment(garment_file)["precision"] == "float32"
    monkeypatch.setenv("SCALE_BACKEND_PRECISION", "float7")
    with pytest.raises(BackendStartError, match="SCALE_BACKEND_PRECISION: The precision must be auto, float32"):
        start()


def test_doctor_reports_from_the_backends_python(backend):
    report = backend.doctor()
    assert report["ok"] and report["python"]["executable"] == sys.executable
    assert report["chosen"]["device"] == "cpu"


def test_decoding_is_the_engines(backend, garment, garment_file):
    summary = backend.open_garment(garment_file)
    assert summary["id"] == garment and summary["name"] == "test-garment"
    decoder = Decoder(load_garment(garment_file), load_body(), precision="auto")
    assert summary["precision"] == decoder.precision and decoder.precision in backend.info["precisions"]
    rotations, translation = poses(3)
    shape = np.linspace(-1, 1, 10)
    for surface in ("mesh", "points"):
        topology, expected = backend.topology(garment, surface), decoder.topology(surface, "clothes")
        assert topology.keys() == expected.keys()
        assert all(np.array_equal(topology[k], expected[k]) for k in expected)
        points, normals = backend.decode(garment, rotations, translation, shape, surface)
        tensors = [torch.from_numpy(a).float() for a in (rotations, translation, shape)]
        there, there_normals = decoder.decode(*tensors, surface)
        assert points.dtype == np.float32 and points.shape == (3, len(topology["patch"]), 3)
        assert np.abs(points - there.numpy()).max() < 5e-5  # tiles of other sizes are rounded otherwise in bfloat16
        assert np.abs(normals - there_normals.numpy()).max() < 5e-3


@pytest.mark.parametrize("joints", [52, 55])
def test_poses_of_other_bodies_are_taken(backend, garment, joints):
    rotations, _ = poses(2, joints)
    points, _ = backend.decode(garment, rotations)
    assert np.isfinite(points).all()


def test_pushing_out_can_be_switched_off(backend, garment):
    rotations = np.broadcast_to(np.eye(3, dtype=np.float32), (1, 24, 3, 3)).copy()
    rotations[0, 1] = matrices_from_axis_angle(np.array([-1.5, 0, 0]))  # a thigh lifted through the skirt
    pushed, _ = backend.decode(garment, rotations)
    plain, _ = backend.decode(garment, rotations, push_out=False)
    assert np.abs(pushed - plain).max() > 1e-3


def test_whole_body_and_clothes_differ(backend, tmp_path):
    opened = backend.open_garment(write_garment(tmp_path / "body.safetensors", "body"))
    sizes = [len(backend.topology(opened["id"], "points", part)["patch"]) for part in opened["parts"]]
    assert opened["parts"] == ["clothes", "whole body"] and sizes[0] < sizes[1]


def test_a_garment_trained_again_is_read_again(backend, tmp_path):
    path = write_garment(tmp_path / "g.safetensors", seed=1)
    first = backend.open_garment(path)["id"]
    assert backend.open_garment(str(path))["id"] == first
    write_garment(path, seed=2)
    second = backend.open_garment(path)["id"]
    rotations, _ = poses(1)
    assert first != second
    assert np.abs(backend.decode(first, rotations)[0] - backend.decode(second, rotations)[0]).max() > 1e-4


# long requests


def test_a_stream_gives_the_same_in_batches(backend, garment):
    rotations, translation = poses(20)
    whole = backend.decode(garment, rotations, translation)
    shape = np.zeros((20, 10), np.float32)
    parts = list(backend.decode_stream(garment, rotations, translation, shape, batch=8))
    assert [first for first, _, _ in parts] == [0, 8, 16]
    assert [len(points) for _, points, _ in parts] == [8, 8, 4]
    assert np.abs(np.concatenate([p for _, p, _ in parts]) - whole[0]).max() < 1e-5
    assert np.abs(np.concatenate([n for _, _, n in parts]) - whole[1]).max() < 1e-3


def test_progress_counts_up_and_the_result_is_whole(backend, garment):
    heard = []

    def progress(done: int, total: int) -> bool:
        heard.append((done, total))
        return True

    rotations, _ = poses(40)
    points, _ = backend.decode(garment, rotations, progress=progress)
    assert heard == [(16, 40), (32, 40), (40, 40)] and len(points) == 40


def test_progress_can_cancel(backend, garment):
    rotations, _ = poses(400)
    heard = []
    with pytest.raises(BackendCancelled):
        backend.decode(garment, rotations, progress=lambda done, total: heard.append(done))  # None: do not go on
    assert len(heard) <= 3
    assert len(backend.decode(garment, rotations[:1])[0]) == 1


def test_a_progress_that_fails_leaves_the_backend_usable(backend, garment):
    def progress(done: int, total: int) -> bool:
        raise KeyboardInterrupt

    rotations, _ = poses(64)
    with pytest.raises(KeyboardInterrupt):
        backend.decode(garment, rotations, progress=progress)
    assert len(backend.decode(garment, rotations[:1])[0]) == 1


def test_cancelling_stops_the_backend_between_batches(backend, garment):
    channel = open_channel(backend)
    fields = {"garment": garment, "surface": "mesh", "part": "clothes", "batch": 1}
    number = channel.send("stream", {"rotations": poses(2000)[0]}, **fields)
    channel.receive(number)
    channel.cancel(number)
    received = 0
    with pytest.raises(BackendCancelled):
        while True:
            channel.receive(number)
            received += 1
    assert received < 200
    channel.cancel(99)  # of nothing: no reply, no harm
    assert "device" in channel.receive(channel.send("info"))[0]
    channel.close()


def test_closing_a_stream_frees_the_backend(backend, garment):
    rotations, _ = poses(3000)
    stream = backend.decode_stream(garment, rotations, batch=4)
    assert next(stream)[0] == 0
    stream.close()
    began = time.monotonic()
    backend.decode(garment, rotations[:1])
    assert time.monotonic() - began < 2


def test_live_decoding_goes_on_beside_a_stream(backend, garment):
    rotations, _ = poses(48)
    stream = backend.decode_stream(garment, rotations, batch=8)
    for first, points, _ in stream:
        live, _ = backend.decode(garment, rotations[first : first + 1])
        assert np.abs(live[0] - points[0]).max() < 1e-5


def test_requests_from_several_threads(backend, garment):
    rotations, _ = poses(8)
    expected, _ = backend.decode(garment, rotations)
    wrong = []

    def ask(index: int) -> None:
        for _ in range(5):
            points, _ = backend.decode(garment, rotations[index : index + 1])
            if np.abs(points[0] - expected[index]).max() > 1e-5:
                wrong.append(index)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


# bad requests: one sentence, and the connection lives on


def bad_rotations(change) -> np.ndarray:
    rotations, _ = poses(2)
    return change(rotations)


def with_nan(rotations: np.ndarray) -> np.ndarray:
    rotations[0, 3, 1, 1] = np.nan
    return rotations


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: r[0], "Rotations have the shape"),
        (lambda r: r[:0], "Rotations have the shape"),
        (lambda r: r[..., 0], "Rotations have the shape"),
        (lambda r: r[:, :5], "A pose of 5 joints"),
        (with_nan, "not finite"),
    ],
)
def test_poses_that_are_none(backend, garment, change, sentence):
    with pytest.raises(BackendError, match=sentence):
        backend.decode(garment, bad_rotations(change))
    assert backend.alive and len(backend.decode(garment, poses(1)[0])[0]) == 1


def test_requests_that_do_not_fit(backend, garment, garment_file, tmp_path):
    rotations, translation = poses(2)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(Path(garment_file).read_bytes()[:5000])
    text = tmp_path / "text.safetensors"
    text.write_text("no garment")
    cases = {
        "No garment with the id": lambda: backend.decode("nothing", rotations),
        "offers the surfaces": lambda: backend.decode(garment, rotations, surface="smoke"),
        "offers the parts": lambda: backend.topology(garment, "mesh", "shoes"),
        r"\[2, 3\] is needed": lambda: backend.decode(garment, rotations, translation[:1]),
        r"\[2, S\] is needed": lambda: backend.decode(garment, rotations, translation, np.zeros((3, 10))),
        "There is no file": lambda: backend.open_garment(tmp_path / "absent.safetensors"),
        "No garments asset is called 'absent'": lambda: backend.open_garment("absent"),
        "cut.safetensors is cut short": lambda: backend.open_garment(cut),
        "text.safetensors is cut short or no garment": lambda: backend.open_garment(text),
        "absent.npz": lambda: backend.open_garment(garment_file, tmp_path / "absent.npz"),
        "skirt.safetensors could not be read as a body": lambda: backend.open_garment(garment_file, garment_file),
        "it must be from 1 to": lambda: next(backend.decode_stream(garment, rotations, batch=0)),
        "needs the text 'surface'": lambda: backend.decode(garment, rotations, surface=3),
    }
    for sentence, request in cases.items():
        with pytest.raises(BackendError, match=sentence) as caught:
            request()
        assert caught.value.kind == "user" and "\n" not in str(caught.value)
    assert len(backend.decode(garment, rotations)[0]) == 2


def test_a_garment_for_another_body(backend, garment_file, tmp_path):
    from scale_backend.assets import find_body

    with np.load(find_body("neutral")) as data:
        arrays = dict(data)
    arrays["v_template"] = arrays["v_template"] * 1.1
    np.savez(tmp_path / "giant.npz", **arrays)
    with pytest.raises(BackendError, match="made for the body 'neutral'"):
        backend.open_garment(garment_file, tmp_path / "giant.npz")


def test_what_is_no_request(backend):
    channel = open_channel(backend)
    for name in ("fly", None, ["info"], {"a": 1}):
        with pytest.raises(BackendError, match="knows no request") as caught:
            channel.receive(channel.send(name))
        assert caught.value.kind == "protocol"
    assert "device" in channel.receive(channel.send("info"))[0]
    channel.close()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers_get_a_reply_and_the_connection_lives_on(backend, text):
    channel = open_channel(backend)
    channel.connection.send_bytes(text)
    reply, _ = receive_message(channel.connection, channel._wait)
    assert reply["kind"] == "protocol" and reply["error"]
    assert "device" in channel.receive(channel.send("info"))[0]
    channel.close()


def test_a_message_that_is_too_long_ends_only_its_connection(backend, garment):
    channel = open_channel(backend)
    with contextlib.suppress(OSError):  # the backend may stop reading before all is sent
        channel.connection.send_bytes(b" " * (MAX_HEADER + 1))
    with pytest.raises((EOFError, OSError)):
        while True:
            reply, _ = receive_message(channel.connection, channel._wait)
            assert reply["kind"] == "protocol"
    channel.close()
    assert len(backend.decode(garment, poses(1)[0])[0]) == 1


def test_a_client_without_the_key_is_turned_away(backend):
    with Client(backend._address) as stranger, pytest.raises(ProtocolError, match="does not know this backend's key"):
        greet_backend(stranger, bytes(32), lambda connection: connection.poll(5))
    assert backend._ask("info")[0]


def test_requests_before_the_greeting_are_not_answered(backend):
    with Client(backend._address) as stranger:
        receive_message(stranger)
        send_message(stranger, {"request": "info", "id": 1})
        assert stranger.poll(5)
        assert "install the same version" in receive_message(stranger)[0]["error"]
        with pytest.raises((EOFError, OSError)):
            stranger.recv_bytes()


def test_silent_clients_keep_nobody_waiting(backend):
    strangers = [Client(backend._address) for _ in range(5)]
    channel = open_channel(backend)
    assert "device" in channel.receive(channel.send("info"))[0]
    for connection in (*strangers, channel.connection):
        connection.close()


def test_round_trip_is_short(backend):
    times = []
    for _ in range(200):
        began = time.perf_counter()
        backend._ask("info")
        times.append(time.perf_counter() - began)
    assert np.median(times) < 2e-3


# the process: how it starts, and every way to end


@posix_only
def test_socket_is_private_and_the_key_is_on_no_command_line(backend):
    folder = Path(backend._address).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for entry in ("cmdline", "environ"):
        file = Path(f"/proc/{backend.pid}/{entry}")
        assert not file.exists() or backend._key.hex().encode() not in file.read_bytes()


def test_closing_ends_the_process_and_removes_the_socket():
    backend = start()
    pid, folder = backend.pid, Path(backend._address).parent
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
from scale_backend.client import Backend
backend = Backend.start(sys.executable, "cpu", 1)
print(backend.pid, backend._address, flush=True)
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
        folder = Path(backend._address).parent
        os.kill(backend.pid, number)
        assert backend._process.child.wait(5) == code
        assert not folder.exists()


@posix_only
def test_a_backend_killed_in_the_middle_says_so(garment_file):
    with start() as backend:
        garment = backend.open_garment(garment_file)["id"]
        stream = backend.decode_stream(garment, poses(500)[0], batch=1)
        next(stream)
        os.kill(backend.pid, signal.SIGKILL)
        with pytest.raises(BackendDied, match=r"The backend stopped \(signal 9\); start it again"):
            list(stream)
        assert not backend.alive
        with pytest.raises(BackendDied, match="signal 9"):
            backend.decode(garment, poses(1)[0])
        folder = Path(backend._address).parent
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
        expected, _ = backend.decode(garment, rotations[:1], surface="points")
        limit_memory(backend, 250 << 20)
        stream = backend.decode_stream(garment, rotations, surface="points", batch=400)
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
            backend.decode(garment, poses(1)[0], surface="points")
        assert caught.value.kind == "device" and backend.alive
        limit_memory(backend, 4 << 30)
        assert len(backend.decode(garment, poses(1)[0], surface="points")[0]) == 1


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
    with pytest.raises(BackendStartError, match="has no scale_backend; install this project there"):
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
    with pytest.raises(BackendStartError, match="speaks protocol 99, this one 1; install the same version"):
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
