"""Malformed messages to a real backend: each gets one reply, or its connection is closed, within two seconds of the
backend's work; the backend lives, and what it answers is finite."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings, strategies

from scale_backend.client.protocol import DTYPES, receive_message
from tests.backend.serving import open_channel, poses
from tests.fuzz import EXAMPLES
from tests.fuzz.damage import texts, values

SECONDS = 2.0  # of the backend's own work
PATIENCE = 10.0  # seconds of a machine that may be busy: a backend that stands still does no work
MEMORY = 200 << 20  # bytes that all messages together may leave behind
REQUESTS = ("info", "open", "topology", "decode", "stream", "colors", "meshes", "fit", "cancel", "doctor?")

POSES = {
    "rotations": (2, 24, 3, 3),
    "translation": (2, 3),
    "shape": (2, 10),
    "past_rotations": (2, 2, 24, 3, 3),
    "past_translation": (2, 2, 3),
    "down": (2, 3),
}  # fmt: skip -- right ones
NAMES = (*POSES, "joints", "turns", "vertices", "triangles", "weights")
FIELDS = ("garment", "surface", "part", "push_out", "normals", "batch", "path", "body", "id", "request",
          "motion", "fabrics", "settle")  # fmt: skip

shapes = strategies.lists(strategies.sampled_from([0, 1, 2, 3, 10, 22, 24, 55]), max_size=5)
kinds = strategies.sampled_from(sorted(DTYPES))
fillings = strategies.sampled_from(["zeros", "ones", "eye", "nan", "inf", "huge", "negative", "true"])
arrays = strategies.dictionaries(
    strategies.sampled_from(NAMES),
    strategies.tuples(shapes, kinds, fillings), max_size=5,
)  # fmt: skip
# poses that are right but for some of their arrays: so that a message comes as far as the decoder
nearly = strategies.fixed_dictionaries(
    {name: strategies.just((shape, "float32", "right")) for name, shape in POSES.items()}
)
mended = strategies.builds(lambda right, wrong: right | wrong, nearly, strategies.dictionaries(
    strategies.sampled_from(list(POSES)), strategies.tuples(
        strategies.one_of(shapes, strategies.sampled_from(list(POSES.values()))), kinds, fillings), max_size=2,
))  # fmt: skip
fields = strategies.dictionaries(
    strategies.sampled_from(FIELDS),
    values, max_size=4,
)  # fmt: skip


def filled(shape: list[int], kind: str, filling: str) -> np.ndarray:
    if filling == "true":
        return poses(1)[0].astype(DTYPES[kind])
    if filling == "right":
        unit = np.eye(3) if list(shape[-2:]) == [3, 3] else np.eye(3)[1] if shape[-1] == 3 else 0.5
        return np.broadcast_to(unit, shape).astype(DTYPES[kind])
    if filling == "eye" and shape[-2:] == [3, 3]:
        return np.broadcast_to(np.eye(3), shape).astype(DTYPES[kind])
    value = {"nan": np.nan, "inf": np.inf, "huge": 1e300, "negative": -3, "ones": 1, "eye": 1}.get(filling, 0)
    with np.errstate(all="ignore"):
        return np.full(shape, value).astype(DTYPES[kind])


def work_of(pid: int) -> float:  # seconds of processor time
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> int:  # bytes
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_malformed_messages(backend, garment):
    channel = [open_channel(backend)]
    before = memory_of(backend.pid)

    @settings(max_examples=5 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        strategies.sampled_from(REQUESTS),
        fields,
        strategies.one_of(arrays, mended),
        strategies.sampled_from(["", "cut", "longer", "text"]),
        texts,
    )
    def send(request, more, described, fault, text) -> None:
        known = {"garment": garment, "surface": "points" if request == "meshes" else "mesh", "part": "clothes"}
        sent = {name: filled(*entry) for name, entry in described.items()}
        if (
            request == "meshes"
        ):  # a frame of Poisson reconstruction takes about a second, also for a message that is right
            sent = {name: array[:1] if array.shape[:1] == (2,) else array for name, array in sent.items()}
        listed = [{"name": n, "dtype": a.dtype.name, "shape": list(a.shape)} for n, a in sent.items()]
        header = json.dumps({"request": request, "id": 1, **known, **more, "arrays": listed}).encode()
        connection = channel[0].connection
        began = work_of(backend.pid)
        channel[0].deadline = time.monotonic() + PATIENCE
        try:
            if fault == "text":
                connection.send_bytes(text.encode("utf-8", "surrogatepass"))
            else:
                connection.send_bytes(header[: len(header) // 2] if fault == "cut" else header)
            for array in sent.values() if fault in ("", "longer") else ():
                connection.send_bytes(array.tobytes() + (b"more" if fault == "longer" else b""))
            is_cancel = fault not in ("text", "cut") and json.loads(header)["request"] == "cancel"
            while not is_cancel:
                reply, received = receive_message(connection, channel[0]._wait)
                assert all(np.isfinite(array).all() for array in received.values())
                assert len(str(reply.get("error", ""))) < 1500 and reply.get("kind") != "internal", reply
                if "first" not in reply and "done" not in reply:
                    break
        except (EOFError, OSError):  # out of step: the backend has closed it
            channel[0].close()
            channel[0] = open_channel(backend)
        assert backend.alive and work_of(backend.pid) - began < SECONDS

    send()
    channel[0].close()
    assert memory_of(backend.pid) - before < MEMORY
