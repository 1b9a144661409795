"""Garment files: what is written is read, and what is broken is refused with a sentence."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from scale_backend.formats.garment_header import METADATA_KEY, GarmentError, garment_metadata
from scale_backend.model.garment import load_garment
from tests.making import make_garment, write_garment


@pytest.mark.parametrize("kind", ["garment", "body"])
def test_round_trip(tmp_path, kind):
    garment = make_garment(kind)
    path = write_garment(tmp_path / "g.safetensors", kind)
    back = load_garment(path)
    assert back.metadata() == garment.metadata() == garment_metadata(path)
    for name, value in garment.network.state_dict().items():
        assert torch.allclose(back.network.state_dict()[name].float(), value.float(), rtol=1e-3, atol=1e-4), name
    assert torch.equal(back.layout.triangle_index, garment.layout.triangle_index)
    if kind == "garment":
        assert torch.equal(back.carrier.template, garment.carrier.template)
    else:
        assert torch.equal(back.cloth, garment.cloth)
    assert [p.name for p in tmp_path.iterdir()] == ["g.safetensors"]  # nothing left beside it


@pytest.mark.parametrize("keep", [0.99, 0.5, 0.01, 0.0])
def test_cut_short(tmp_path, keep):
    path = write_garment(tmp_path / "dress.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    for read in (garment_metadata, load_garment):
        with pytest.raises(GarmentError, match=r"dress\.safetensors is cut short or no garment"):
            read(path)


def rewrite(path, change_tensors=None, change_metadata=None):
    tensors, metadata = load_file(path), garment_metadata(path)
    if change_tensors:
        change_tensors(tensors)
    if change_metadata:
        change_metadata(metadata)
    save_file(tensors, path, {METADATA_KEY: json.dumps(metadata)})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("carrier.triangles", torch.full((704, 3), 10_000)),
        ("pins", torch.zeros(7, dtype=torch.bool)),
        ("layout.triangle_index", torch.full((32, 32), 99_999)),
        ("layout.barycentrics", torch.zeros(16, 16, 3)),
        ("carrier.template", torch.full((384, 3), float("nan"))),
        ("network.mlp.skip.conv.weight", torch.zeros(3, 3, 1)),
    ],
)
def test_wrong_tensors(tmp_path, name, value):
    path = write_garment(tmp_path / "g.safetensors")
    rewrite(path, lambda tensors: tensors.update({name: value}))
    with pytest.raises(GarmentError, match="does not hold a usable garment"):
        load_garment(path)


def test_missing_tensor_future_format_and_strangers(tmp_path):
    path = write_garment(tmp_path / "g.safetensors")
    rewrite(path, lambda tensors: tensors.pop("network.latent"))
    with pytest.raises(GarmentError, match="latent"):
        load_garment(path)
    rewrite(path, change_metadata=lambda metadata: metadata.update(format=9))
    with pytest.raises(GarmentError, match="format 9"):
        load_garment(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(GarmentError, match="no garment"):
        load_garment(path)
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(GarmentError, match="cut short"):
        load_garment(path)
    with pytest.raises(GarmentError, match="There is no garment file"):
        load_garment(tmp_path / "nothing.safetensors")


def test_a_file_overwritten_in_place_changes_no_loaded_garment(tmp_path):
    path = write_garment(tmp_path / "g.safetensors")
    garment = load_garment(path)
    before = garment.carrier.template.clone()
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(garment.carrier.template, before)
