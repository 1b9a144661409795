"""The client with a real backend process over its real socket: answers, cancelling, bad requests."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Client
from pathlib import Path

import numpy as np
import pytest
import torch

from scale_backend.client.backend import BackendCancelled, BackendDied, BackendError, BackendStartError
from scale_backend.client.protocol import (
    MAX_GREETING,
    MAX_HEADER,
    PROTOCOL,
    ProtocolError,
    greet_backend,
    receive_message,
    send_message,
)
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import load_garment
from tests.backend.serving import open_channel, poses, posix_only, start
from tests.backend.test_protocol import HOSTILE
from tests.making import write_garment

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
    assert report["threads"] == backend.info["threads"]  # those that decode, not those of torch itself


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
        points, normals = backend.decode(garment, Poses(rotations, translation, shape), DecodeOptions(surface))
        tensors = [torch.from_numpy(a).float() for a in (rotations, translation, shape)]
        there, there_normals = decoder.decode(Poses(*tensors), DecodeOptions(surface))
        assert points.dtype == np.float32 and points.shape == (3, len(topology["patch"]), 3)
        assert np.abs(points - there.numpy()).max() < 5e-5  # tiles of other sizes are rounded otherwise in bfloat16
        assert np.abs(normals - there_normals.numpy()).max() < 5e-3


@pytest.mark.parametrize("joints", [52, 55])
def test_poses_of_other_bodies_are_taken(backend, garment, joints):
    rotations, _ = poses(2, joints)
    points, _ = backend.decode(garment, Poses(rotations))
    assert np.isfinite(points).all()


def test_pushing_out_can_be_switched_off(backend, garment):
    rotations = np.broadcast_to(np.eye(3, dtype=np.float32), (1, 24, 3, 3)).copy()
    rotations[0, 1] = matrices_from_axis_angle(np.array([-1.5, 0, 0]))  # a thigh lifted through the skirt
    pushed, _ = backend.decode(garment, Poses(rotations))
    plain, _ = backend.decode(garment, Poses(rotations), DecodeOptions(push_out=False))
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
    assert np.abs(backend.decode(first, Poses(rotations))[0] - backend.decode(second, Poses(rotations))[0]).max() > 1e-4


# a backend in a hurry: the deadlines of messages are seconds
HALVES = Path(__file__).parent / "hurried"

# long requests


def test_a_stream_gives_the_same_in_batches(backend, garment):
    rotations, translation = poses(20)
    whole = backend.decode(garment, Poses(rotations, translation))
    shape = np.zeros((20, 10), np.float32)
    parts = list(backend.decode_stream(garment, Poses(rotations, translation, shape), batch=8))
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
    points, _ = backend.decode(garment, Poses(rotations), progress=progress)
    assert heard == [(16, 40), (32, 40), (40, 40)] and len(points) == 40


def test_progress_can_cancel(backend, garment):
    rotations, _ = poses(400)
    heard = []
    with pytest.raises(BackendCancelled):
        backend.decode(garment, Poses(rotations), progress=lambda done, total: heard.append(done))  # None: do not go on
    assert len(heard) <= 3
    assert len(backend.decode(garment, Poses(rotations[:1]))[0]) == 1


def test_a_progress_that_fails_leaves_the_backend_usable(backend, garment):
    def progress(done: int, total: int) -> bool:
        raise KeyboardInterrupt

    rotations, _ = poses(64)
    with pytest.raises(KeyboardInterrupt):
        backend.decode(garment, Poses(rotations), progress=progress)
    assert len(backend.decode(garment, Poses(rotations[:1]))[0]) == 1


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
    stream = backend.decode_stream(garment, Poses(rotations), batch=4)
    assert next(stream)[0] == 0
    stream.close()
    began = time.monotonic()
    backend.decode(garment, Poses(rotations[:1]))
    assert time.monotonic() - began < 2


def test_live_decoding_goes_on_beside_a_stream(backend, garment):
    rotations, _ = poses(48)
    stream = backend.decode_stream(garment, Poses(rotations), batch=8)
    for first, points, _ in stream:
        live, _ = backend.decode(garment, Poses(rotations[first : first + 1]))
        assert np.abs(live[0] - points[0]).max() < 1e-5


def test_requests_from_several_threads(backend, garment):
    rotations, _ = poses(8)
    expected, _ = backend.decode(garment, Poses(rotations))
    wrong = []

    def ask(index: int) -> None:
        for _ in range(5):
            points, _ = backend.decode(garment, Poses(rotations[index : index + 1]))
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
        (lambda r: r * 0, "are no rotations"),
        (lambda r: r * 1.1, "are no rotations"),
        (lambda r: r[..., ::-1], "mirror"),
        (lambda r: np.where(r > 0.9, 1e300, r.astype(np.float64)), "not finite"),
    ],
)
def test_poses_that_are_none(backend, garment, change, sentence):
    with pytest.raises(BackendError, match=sentence):
        backend.decode(garment, Poses(bad_rotations(change)))
    assert backend.alive and len(backend.decode(garment, Poses(poses(1)[0]))[0]) == 1


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"rotations": np.zeros((0, 24, 3, 3), np.float32)},
        {"rotations": np.zeros((1, 0, 3, 3), np.float32)},
        {"rotations": np.zeros((2, 24, 3, 3), np.float32)},
        {"rotations": np.full((1, 24, 3, 3), 1e300)},
        {"rotations": np.zeros((1, 24, 3, 3), bool)},
        {"rotations": np.zeros((), np.float32)},
        {"rotations": poses(1)[0], "translation": np.zeros((0, 3), np.float32)},
        {"rotations": poses(1)[0], "translation": np.full((1, 3), 1e30)},
        {"rotations": poses(1)[0], "shape": np.full(10, 1e30, np.float32)},
        {"rotations": poses(1)[0], "shape": np.zeros((1, 1, 10), np.float32)},
    ],
)
@pytest.mark.parametrize("request_name", ["decode", "stream", "colors", "meshes"])
def test_one_check_for_every_request(backend, garment, request_name, arrays):
    """An empty batch ended the backend by a segmentation fault, in the one request without a check of its own."""
    channel = open_channel(backend)
    surface = "points" if request_name == "meshes" else "mesh"
    fields = {"garment": garment, "surface": surface, "part": "clothes", "push_out": True, "normals": "faces"}
    with pytest.raises(BackendError) as caught:
        channel.receive(channel.send(request_name, arrays, **fields))
    assert caught.value.kind == "user" and backend.alive
    channel.close()


def test_requests_that_do_not_fit(backend, garment, garment_file, tmp_path):
    rotations, translation = poses(2)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(Path(garment_file).read_bytes()[:5000])
    text = tmp_path / "text.safetensors"
    text.write_text("no garment")
    cases = {
        "offers the surfaces": lambda: backend.decode(garment, Poses(rotations), DecodeOptions("smoke")),
        "has no colours": lambda: backend.decode_colors(garment, Poses(poses(1)[0])),
        "offers the parts": lambda: backend.topology(garment, "mesh", "shoes"),
        r"\[2, 3\] is needed": lambda: backend.decode(garment, Poses(rotations, translation[:1])),
        r"\[2, S\] is needed": lambda: backend.decode(garment, Poses(rotations, translation, np.zeros((3, 10)))),
        "There is no file": lambda: backend.open_garment(tmp_path / "absent.safetensors"),
        "There is no garment 'absent'; give the path": lambda: backend.open_garment("absent"),
        "cut.safetensors is cut short": lambda: backend.open_garment(cut),
        "text.safetensors is cut short or no garment": lambda: backend.open_garment(text),
        "absent.npz": lambda: backend.open_garment(garment_file, tmp_path / "absent.npz"),
        "skirt.safetensors could not be read": lambda: backend.open_garment(garment_file, garment_file),
        "it must be from 1 to": lambda: next(backend.decode_stream(garment, Poses(rotations), batch=0)),
        "needs the text 'surface'": lambda: backend.decode(garment, Poses(rotations), DecodeOptions(3)),
        "normals must be faces or decoded, not 'up'": lambda: backend.decode(
            garment, Poses(rotations), DecodeOptions(normals="up")
        ),
        "needs the text 'normals'": lambda: backend.decode(garment, Poses(rotations), DecodeOptions(normals=[1])),
    }
    for sentence, request in cases.items():
        with pytest.raises(BackendError, match=sentence) as caught:
            request()
        assert caught.value.kind == "user" and "\n" not in str(caught.value)
    assert len(backend.decode(garment, Poses(rotations))[0]) == 2
    with pytest.raises(BackendError, match=r"'nothing' is not open in this backend.* open its file again") as caught:
        backend.decode("nothing", Poses(rotations))
    assert caught.value.kind == "not open"  # the add-on does so by itself


def test_a_garment_for_another_body(backend, garment_file, tmp_path):
    from scale_backend.formats.assets import find_body

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
    assert len(backend.decode(garment, Poses(poses(1)[0]))[0]) == 1


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


def test_a_stranger_may_not_fill_the_memory(backend):
    """Before the greeting nothing but a short text is read."""
    with Client(backend._address) as stranger:
        receive_message(stranger)
        before = memory_of(backend.pid)
        entry = {"name": "a", "dtype": "uint8", "shape": [300 << 20]}
        text = json.dumps({"protocol": PROTOCOL, "challenge": "c", "proof": "p", "arrays": [entry]}).encode()
        with contextlib.suppress(OSError):
            stranger.send_bytes(text)
            stranger.send_bytes(bytes(300 << 20))
        assert memory_of(backend.pid) < before + (50 << 20)


def memory_of(pid: int) -> int:  # bytes
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_malformed_greetings_get_a_sentence(backend):
    for text in (b"nonsense", b"[]", b'{"protocol": 3}', b" " * (MAX_GREETING + 1)):
        with Client(backend._address) as stranger:
            receive_message(stranger)
            stranger.send_bytes(text)
            assert stranger.poll(5) and receive_message(stranger)[0]["error"]


def test_half_messages_and_half_greetings_are_dropped(monkeypatch, garment_file):
    """Whoever stops in the middle is no longer served; 60 of 60 stood for as long as their clients did."""
    monkeypatch.setenv("PYTHONPATH", str(HALVES))
    with start() as hurried:
        strangers = [Client(hurried._address) for _ in range(5)]
        for stranger in strangers:
            receive_message(stranger)
            os.write(stranger.fileno(), b"\0\0")  # half of a length
        channels = [open_channel(hurried) for _ in range(5)]
        for channel in channels:
            os.write(channel.connection.fileno(), b"\0\0\1\0{")
        for connection in (*strangers, *(channel.connection for channel in channels)):
            assert connection.poll(15)
            with pytest.raises(EOFError):
                while True:
                    connection.recv_bytes()
        assert hurried.open_garment(garment_file)["id"]


def test_an_error_without_an_id_reaches_whoever_waits(backend):
    channel = open_channel(backend)
    channel.connection.send_bytes(b"{nonsense")
    with pytest.raises(BackendError, match="not JSON"):
        channel.receive(1)
    channel.close()


@posix_only
def test_a_backend_that_stops_in_the_middle_of_a_message_is_ended(garment_file):
    """SIGSTOP before a large request, which no socket's buffer holds."""
    with start() as backend:
        garment = backend.open_garment(garment_file)["id"]
        backend._channel.silence = 2.0
        os.kill(backend.pid, signal.SIGSTOP)
        rotations = np.broadcast_to(np.eye(3, dtype=np.float32), (20_000, 24, 3, 3))
        began = time.monotonic()
        with pytest.raises(BackendDied, match="has not answered for 2 seconds and was ended"):
            backend.decode(garment, Poses(rotations))
        assert time.monotonic() - began < 10


def test_silent_clients_keep_nobody_waiting(backend):
    strangers = [Client(backend._address) for _ in range(5)]
    channel = open_channel(backend)
    assert "device" in channel.receive(channel.send("info"))[0]
    for connection in (*strangers, channel.connection):
        connection.close()
