"""Every field of a garment's header is of the kind and size that menus and decoders rely on, or the file is refused."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from scale_backend.formats.garment_header import METADATA_KEY, GarmentError, garment_metadata
from scale_backend.model.garment import load_garment
from tests.making import make_garment, write_garment


@pytest.fixture(scope="module")
def skirt(tmp_path_factory) -> Path:
    return write_garment(tmp_path_factory.mktemp("header") / "skirt.safetensors")


def rewritten(path: Path, into: Path, header=None, metadata=None) -> Path:
    """A garment file with its header, or its description, changed by a function; tensors stay as they are."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    content = json.loads(data[8 : 8 + length])
    if metadata is not None:
        described = json.loads(content["__metadata__"][METADATA_KEY])
        metadata(described)
        content["__metadata__"][METADATA_KEY] = json.dumps(described)
    if header is not None:
        content = header(content) or content
    text = json.dumps(content).encode()
    into.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return into


BAD = {
    "network no settings": {"network": []},
    "network in network": {"network": {"hidden": {"hidden": 1}}},
    "network without bounds": {"network": {"hidden": 10**12}},
    "a number of 400 digits": {"network": {"hidden": 10**400}},
    "lags of 400 digits": {"format": 2, "window": {"lags": [10**400]}},
    "lags for ever": {"format": 2, "window": {"lags": [float("inf")]}},
    "lags to come": {"format": 2, "window": {"lags": [-0.1]}},
    "lags no numbers": {"format": 2, "window": {"lags": ["soon"]}},
    "fabrics twice": {"format": 2, "fabrics": ["cotton", "cotton"]},
    "a fabric without a name": {"format": 2, "fabrics": [""]},
    "sweeps without end": {"format": 2, "settling": [{"sweeps": 10**10}]},
    "parts a number": {"parts": 5},
    "no parts": {"parts": []},
    "other parts": {"parts": ["shoes"]},
    "half a letter": {"title": "\ud800"},
    "a zero": {"title": "a\0b"},
    "two lines": {"title": "a\nb"},
    "a long title": {"title": "x" * 600},
    "a long description": {"description": "x" * 30_000},
    "author a list": {"author": ["me"]},
    "a name of a path": {"name": "../escaped"},
    "body a text": {"body": "neutral"},
    "long body": {"body": {"name": "x" * 5000, "vertices": 1, "digest": "0" * 64}},
    "body up": {"body": {"name": "../../etc/passwd", "vertices": 1, "digest": "0" * 64}},
    "body absolute": {"body": {"name": "/etc/passwd", "vertices": 1, "digest": "0" * 64}},
    "body elsewhere": {"body": {"name": "\\\\host\\share\\body", "vertices": 1, "digest": "0" * 64}},
    "digest a number": {"body": {"name": "neutral", "vertices": 1, "digest": 5}},
    "vertices a truth": {"body": {"name": "neutral", "vertices": True, "digest": "0" * 64}},
    "regions a text": {"region_names": "upper"},
    "many regions": {"region_names": ["x"] * 10_000},
    "training a list": {"training": [1]},
    "another carrier": {"carrier": "horse"},
    "another mode": {"mode": ["patch"]},
    "window a list": {"window": [1]},
    "lags of texts": {"window": {"lags": ["1"]}},
    "far lags": {"window": {"lags": [1e9]}},
    "fabrics a text": {"fabrics": "silk"},
    "settling a number": {"settling": 3},
    "format a list": {"format": [1]},
    "format a truth": {"format": True},
    "patches negative": {"patches": -1},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_field_of_another_kind_or_size_is_refused(skirt, tmp_path, change):
    path = rewritten(skirt, tmp_path / "bad.safetensors", metadata=lambda described: described.update(change))
    with pytest.raises(GarmentError, match=r"bad\.safetensors") as caught:
        garment_metadata(path)
    assert len(str(caught.value)) < 400


def with_entry(**change):
    def changed(header: dict) -> None:
        header["cloth"] = {"dtype": "BOOL", "shape": [0], "data_offsets": [0, 0]} | change

    return changed


HEADERS = {
    "one offset": with_entry(data_offsets=[0]),
    "offsets turned round": with_entry(data_offsets=[5, 0]),
    "a far offset": with_entry(data_offsets=[0, 10**30]),
    "an offset no number": with_entry(data_offsets=["0", 0]),
    "a shape no list": with_entry(shape=0),
    "a shape too large": with_entry(shape=[10**9, 10**9]),
    "another type": with_entry(dtype=["F32"]),
    "no entry": lambda header: header.update(cloth=5),
    "a list": lambda header: ["no", "object"],
    "description a list": lambda header: header.update(__metadata__=[1]),
    "description a number": lambda header: header.update(__metadata__={METADATA_KEY: 7}),
}


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS)
def test_a_header_that_is_none_is_refused(skirt, tmp_path, change):
    with pytest.raises(GarmentError, match="bad"):
        garment_metadata(rewritten(skirt, tmp_path / "bad.safetensors", header=change))


@pytest.mark.parametrize("text", [b"[" * 5000, b'{"a":' * 5000, b"", b"\xff" * 20, b'{"__metadata__":{"x":NaN}}'])
def test_texts_that_are_no_header_are_refused_at_once(tmp_path, text):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    began = time.monotonic()
    with pytest.raises(GarmentError):
        garment_metadata(path)
    assert time.monotonic() - began < 2


def changed_tensors(path: Path, into: Path, **changes) -> Path:
    """A garment file with other tensors; None leaves one out."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    tensors = load(data)
    for name, value in changes.items():
        name = name.replace("__", ".")
        changed = value(tensors[name]) if callable(value) else value
        tensors.pop(name, None)
        if changed is not None:
            tensors[name] = changed.contiguous()
    into.write_bytes(save(tensors, metadata))
    return into


ARRAYS = {
    "triangles of floats": {"carrier__triangles": lambda t: t.float()},
    "triangles of four": {"carrier__triangles": lambda t: torch.cat([t, t[:, :1]], 1)},
    "triangles out of range": {"carrier__triangles": lambda t: t + 10_000},
    "no triangles": {"carrier__triangles": None},
    "layout of floats": {"layout__triangle_index": lambda t: t.float()},
    "layout out of range": {"layout__triangle_index": lambda t: t + 100_000},
    "layout of nothing": {"layout__triangle_index": lambda t: torch.full_like(t, -1)},
    "layout far below": {"layout__triangle_index": lambda t: t - 5},
    "barycentrics of two": {"layout__barycentrics": lambda t: t[..., :2]},
    "weights of zero": {"carrier__blend_weights": torch.zeros_like},
    "weights negative": {"carrier__blend_weights": lambda t: -t},
    "weights of bytes": {"carrier__blend_weights": lambda t: t.to(torch.uint8)},
    "weights too few": {"carrier__blend_weights": lambda t: t[1:]},
    "a template far away": {"carrier__template": lambda t: t * 1e6},
    "regions without a name": {"carrier__region": lambda t: t + 100},
    "uv of three": {"carrier__uv": lambda t: torch.cat([t, t[:, :1]], 1)},
    "another tensor": {"carrier__more": torch.zeros(3)},
    "not finite": {"carrier__template": lambda t: t * float("nan")},
}


@pytest.mark.parametrize("changes", ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_do_not_belong_together_are_refused(skirt, tmp_path, changes):
    with pytest.raises(GarmentError, match=r"does not hold a usable garment \(.*\); train or copy it again"):
        load_garment(changed_tensors(skirt, tmp_path / "bad.safetensors", **changes))


def test_settings_that_would_take_all_memory_are_held_against_the_weights_there(skirt, tmp_path):
    grown = rewritten(
        skirt, tmp_path / "bad.safetensors", metadata=lambda m: m["network"].update(hidden=8192, unet_width=1024)
    )
    began = time.monotonic()
    with pytest.raises(GarmentError, match="fewer than its network's settings say"):
        load_garment(grown)
    assert time.monotonic() - began < 2


def test_what_nobody_could_read_is_not_written(tmp_path):
    from dataclasses import replace

    from scale_backend.model.garment import save_garment

    for change in ({"body_name": "../up"}, {"title": "a\0"}, {"training": {"loss": float("nan")}}):
        with pytest.raises(GarmentError, match="cannot be written"):
            save_garment(tmp_path / "bad.safetensors", replace(make_garment(), **change))
    assert list(tmp_path.iterdir()) == []
