"""Whoever reaches a real backend's socket: malformed messages, no key, silence, halves of messages."""

import contextlib
import json
import os
import signal
import time
from multiprocessing.connection import Client
from pathlib import Path

import numpy as np
import pytest

from scale_backend.client.backend import BackendDied, BackendError
from scale_backend.client.protocol import (
    MAX_GREETING,
    MAX_HEADER,
    PROTOCOL,
    ProtocolError,
    greet_backend,
    receive_message,
    send_message,
)
from scale_backend.formats.poses import Poses
from tests.backend.serving import open_channel, poses, posix_only, start
from tests.backend.test_protocol import HOSTILE

# a backend in a hurry: the deadlines of messages are seconds
HALVES = Path(__file__).parent / "hurried"


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
    reply, _ = receive_message(channel.connection)
    assert reply["kind"] == "protocol" and reply["error"]
    assert "device" in channel.receive(channel.send("info"))[0]
    channel.close()


def test_a_message_that_is_too_long_ends_only_its_connection(backend, garment):
    channel = open_channel(backend)
    with contextlib.suppress(OSError):  # the backend may stop reading before all is sent
        channel.connection.send_bytes(b" " * (MAX_HEADER + 1))
    with pytest.raises((EOFError, OSError)):
        while True:
            reply, _ = receive_message(channel.connection)
            assert reply["kind"] == "protocol"
    channel.close()
    assert len(backend.decode(garment, Poses(poses(1)[0]))[0]) == 1


def test_a_client_without_the_key_is_turned_away(backend):
    with Client(backend.address) as stranger, pytest.raises(ProtocolError, match="does not know this backend's key"):
        greet_backend(stranger, bytes(32), lambda connection: connection.poll(5))
    assert backend.doctor()["ok"]


def test_requests_before_the_greeting_are_not_answered(backend):
    with Client(backend.address) as stranger:
        receive_message(stranger)
        send_message(stranger, {"request": "info", "id": 1})
        assert stranger.poll(5)
        assert "install the same version" in receive_message(stranger)[0]["error"]
        with pytest.raises((EOFError, OSError)):
            stranger.recv_bytes()


def test_a_stranger_may_not_fill_the_memory(backend):
    """Before the greeting nothing but a short text is read."""
    with Client(backend.address) as stranger:
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
        with Client(backend.address) as stranger:
            receive_message(stranger)
            stranger.send_bytes(text)
            assert stranger.poll(5) and receive_message(stranger)[0]["error"]


def test_half_messages_and_half_greetings_are_dropped(monkeypatch, garment_file):
    """Whoever stops in the middle is no longer served; 60 of 60 stood for as long as their clients did."""
    monkeypatch.setenv("PYTHONPATH", str(HALVES))
    with start() as hurried:
        strangers = [Client(hurried.address) for _ in range(5)]
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
    strangers = [Client(backend.address) for _ in range(5)]
    channel = open_channel(backend)
    assert "device" in channel.receive(channel.send("info"))[0]
    for connection in (*strangers, channel.connection):
        connection.close()
