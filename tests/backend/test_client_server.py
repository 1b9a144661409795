"""The client with a real backend process over its real socket: answers and long requests."""

import sys
import threading
import time

import numpy as np
import pytest
import torch

from scale_backend.client.backend import BackendCancelled, BackendStartError
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import load_garment
from tests.backend.serving import open_channel, poses, start
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
        topology, expected = backend.topology(garment, surface), decoder.topology(surface, "clothes").arrays()
        assert topology.arrays().keys() == expected.keys()
        assert all(np.array_equal(topology.arrays()[k], expected[k]) for k in expected)
        points, normals = backend.decode(garment, Poses(rotations, translation, shape), DecodeOptions(surface))
        tensors = [torch.from_numpy(a).float() for a in (rotations, translation, shape)]
        there, there_normals = decoder.decode(Poses(*tensors), DecodeOptions(surface))
        assert points.dtype == np.float32 and points.shape == (3, len(topology.patch), 3)
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
    sizes = [len(backend.topology(opened["id"], "points", part).patch) for part in opened["parts"]]
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
