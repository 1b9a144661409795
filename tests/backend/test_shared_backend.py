"""A backend that another program has started can be used, and is left running."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys

import pytest

from scale_backend.client.backend import Backend, BackendDied, BackendStartError


@pytest.fixture(scope="module")
def served():
    """`scale-backend serve` as it is started by hand: its process, address and key."""
    key = secrets.token_bytes(32)
    command = [sys.executable, "-m", "scale_backend", "serve", "--device", "cpu"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write(key.hex() + "\n")
    process.stdin.flush()
    yield process, json.loads(process.stdout.readline())["address"], key
    process.stdin.close()
    assert process.wait(20) == 0


def test_it_is_used_by_several_and_outlives_them(served):
    process, address, key = served
    with Backend.connect(address, key) as one, Backend.connect(address, key) as other:
        assert one.info["device"] == other.info["device"] == "cpu"
        assert one.pid is None  # it is not theirs
        one.close()
        assert other.doctor()
    assert process.poll() is None and os.path.exists(address)


def test_with_another_key_nobody_gets_in(served):
    _, address, _ = served
    with pytest.raises(BackendStartError):
        Backend.connect(address, secrets.token_bytes(32))


def test_where_there_is_none_one_sentence_says_so(tmp_path):
    with pytest.raises(BackendStartError, match=r"does not answer: .* no longer answers.* Check that it still runs"):
        Backend.connect(str(tmp_path / "backend"), secrets.token_bytes(32))


def test_when_it_dies_its_clients_hear_of_it():
    with Backend.start(sys.executable, device="cpu") as owner:
        guest = Backend.connect(owner.address, owner.key)
        os.kill(owner.pid, 9)
        with pytest.raises(BackendDied, match="no longer answers; start another"):
            guest.doctor()
        assert not guest.alive
