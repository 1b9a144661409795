"""Requests that cannot be answered, to a real backend process: one sentence, and the connection lives on."""

from pathlib import Path

import numpy as np
import pytest

from scale_backend.client.backend import BackendError
from scale_backend.formats.poses import DecodeOptions, Poses
from tests.backend.serving import open_channel, poses


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
