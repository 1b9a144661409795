"""Fields of windows, fabrics, settling and wearers that would give nonsense, or take time or memory without end."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scale_backend.client.protocol import receive_message
from scale_backend.formats.poses import PoseError, Poses
from scale_backend.formats.wearer import Wearer, WearerError
from scale_backend.formats.window import Window
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import GarmentError, load_garment, save_garment
from scale_backend.settling.sweeps import Settling
from scale_backend.wearer.fit import fit
from tests.backend.serving import open_channel
from tests.backend.test_garment_header import rewritten
from tests.making import make_garment
from tests.strangers import someone

WINDOW = Window((0.1, 0.4), gravity=True)
SETTLING = Settling(sweeps=4, smoothed=2)


@pytest.fixture(scope="module")
def moving():
    made = make_garment(inputs=WINDOW.channels, codes=2)
    return replace(made, window=WINDOW, fabrics=("cotton", "denim"), settling=(SETTLING, SETTLING))


@pytest.fixture(scope="module")
def garment_file(moving, tmp_path_factory):
    path = tmp_path_factory.mktemp("garments") / "moving.safetensors"
    save_garment(path, moving)
    return path


@pytest.mark.parametrize(
    "change",
    [{"sweeps": 6.5}, {"smoothed": 2.0}, {"sweeps": 10**9}, {"pull": 1e8}, {"pull": -1.0}, {"reach": 1e8},
     {"stretch": 1e8}, {"bend": -0.1}, {"sweeps": "many"}, {"shear": 1.0}],
)  # fmt: skip
def test_settling_that_never_ends_or_flies_off_is_refused(garment_file, tmp_path, change):
    def changed(described: dict) -> None:
        described["settling"][1].update(change)

    path = rewritten(garment_file, tmp_path / "g.safetensors", metadata=changed)
    with pytest.raises(GarmentError):
        load_garment(path)


def test_a_small_file_that_would_unfold_into_gigabytes_is_refused(moving, tmp_path):
    made = make_garment("body", unet_width=4, hidden=16, map_size=64, points_per_patch=4096)
    save_garment(tmp_path / "g.safetensors", replace(made, cloth=None))
    with pytest.raises(GarmentError, match="points, over"):
        load_garment(tmp_path / "g.safetensors")


def right(**change) -> dict[str, np.ndarray]:
    turns = np.broadcast_to(np.eye(3, dtype=np.float32), (2, 2, 24, 3, 3))
    poses = {
        "rotations": turns[:, 0], "translation": np.zeros((2, 3)), "past_rotations": turns,
        "past_translation": np.zeros((2, 2, 3)), "down": np.tile([0.0, -1.0, 0.0], (2, 1)),
    }  # fmt: skip
    return poses | change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"past_rotations": np.zeros((2, 2, 24, 3, 3))}, "past_rotations are no rotations"),
        ({"past_rotations": np.full((2, 2, 24, 3, 3), 1e6)}, "past_rotations are no rotations"),
        ({"past_rotations": -right()["past_rotations"]}, "past_rotations mirror"),
        ({"past_rotations": np.full((2, 2, 24, 3, 3), np.nan)}, "not finite"),
        ({"past_rotations": right()["past_rotations"][:1]}, "Past rotations have the shape"),
        ({"past_translation": np.zeros((2, 3, 3))}, "Past translations have the shape"),
        ({"past_translation": np.full((2, 2, 3), 1e30)}, "over 1,000,000"),
        ({"down": np.zeros((2, 3))}, "must be of the length one"),
        ({"down": np.full((2, 3), 1e5)}, "must be of the length one"),
        ({"down": np.full((2, 3), np.nan)}, "not finite"),
        ({"down": np.zeros((0, 3))}, "Directions of down have the shape"),
    ],
)
def test_moments_that_are_none(change, sentence):
    Poses.of(right())
    with pytest.raises(PoseError, match=sentence):
        Poses.of(right(**change))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"fabrics": [0, 0]}, "one more than 0"),
        ({"fabrics": [1e-300, 1e-300]}, "one more than 0"),
        ({"fabrics": [1e300, 1]}, "one more than 0"),
        ({"fabrics": [2, -1]}, "one more than 0"),
        ({"fabrics": [1] * 100_000}, "each needs a weight"),
        ({"fabrics": [float("nan"), 1]}, "it holds NaN"),
        ({"fabrics": [10**400, 1]}, "number that is too large"),
        ({"fabrics": "cotton"}, "must be a list of weights"),
        ({"motion": 10**400}, "number that is too large"),
        ({"motion": -1}, "from 0 to 1"),
        ({"settle": 1}, "true or false"),
        ({"id": "x" * 500_000}, "may have 100 letters"),
        ({"id": [[]]}, "a number or a text"),
    ],
)
def test_options_that_are_none_are_told_shortly_and_the_connection_lives_on(backend, garment, fields, sentence):
    channel = open_channel(backend)
    given = {name: np.asarray(value, np.float32) for name, value in right().items()}
    listed = [{"name": name, "dtype": "float32", "shape": value.shape} for name, value in given.items()]
    asked = {"request": "decode", "id": 1, "garment": garment, "surface": "mesh", "part": "clothes"}
    channel.connection.send_bytes(json.dumps(asked | {"arrays": listed} | fields).encode())
    if "too large" not in sentence and "NaN" not in sentence:  # of such a header it is not known how many will come
        for value in given.values():
            channel.connection.send_bytes(np.ascontiguousarray(value).tobytes())
        reply, _ = receive_message(channel.connection, channel._wait)
        assert sentence in reply["error"] and len(reply["error"]) < 1600
        channel.send("info")
        assert "torch" in receive_message(channel.connection, channel._wait)[0]
    else:
        reply, _ = receive_message(channel.connection, channel._wait)
        assert sentence in reply["error"]
    channel.close()


@pytest.fixture(scope="module")
def person():
    return someone(load_body("neutral"), "heavy").arrays()


BROKEN = {
    "a far vertex": lambda them: {"vertices": them["vertices"] + [1e30, 0, 0]},
    "far away": lambda them: {"vertices": them["vertices"] + 1e6, "joints": them["joints"] + 1e6},
    "no surface": lambda them: {"triangles": np.tile(them["triangles"], (8, 1))},
    "indices too high": lambda them: {"triangles": them["triangles"] + len(them["vertices"])},
    "indices below zero": lambda them: {"triangles": them["triangles"] - 5},
    "a mirror": lambda them: {"turns": -them["turns"]},
    "no weights": lambda them: {"weights": np.zeros_like(them["weights"])},
    "nan": lambda them: {"weights": np.full_like(them["weights"], np.nan)},
    "no vertices": lambda them: {"vertices": them["vertices"][:0], "weights": them["weights"][:0]},
    "texts": lambda them: {"joints": np.full((22, 3), "a")},
    "a joint in a point": lambda them: {"joints": np.zeros((22, 3))},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_wearers_that_are_none(person, change):
    with pytest.raises(WearerError):
        Wearer.of_arrays(person | change(person))


ODD = {
    "no area": lambda them: {"triangles": them["triangles"][:, [0, 0, 0]]},
    "a mesh in a point": lambda them: {"vertices": np.zeros_like(them["vertices"]) + them["joints"][0]},
    "no limbs": lambda them: {"joints": them["joints"][[0] * 21 + [15]]},
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_odd_wearers_are_dressed_in_finite_clothes_or_refused(person, change):
    body = load_body("neutral")
    carrier = make_garment(unet_width=4, hidden=16).carrier_on(body)
    try:
        fitted = fit(body, carrier, Wearer.of_arrays(person | change(person)))
    except WearerError:
        return
    for tensor in (fitted.template, fitted.blend_weights, fitted.joints, fitted.skin, fitted.skin_weights):
        assert torch.isfinite(tensor).all()
    assert all(np.isfinite([fitted.report.gap, fitted.report.inside, fitted.report.unmatched, fitted.report.size]))
