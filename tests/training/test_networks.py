"""Other networks than the paper's: map sizes with the U-Nets that match, encoded uv, other patch grids."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.point_files import read_points
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body
from scale_backend.model.garment import load_garment
from tests.training.synthetic import write_raw_folder
from training.cli import main

CONFIG = """
name: g
data_root: {data}
epochs: 2
batch_size: 2
scan_npoints: 300
hsize: 16
nf: 2
pix_feat_dim: 8
img_size: {size}
{more}
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    write_raw_folder(folder / "raw", {"train": 2, "test": 1})
    return folder / "raw"


@pytest.mark.parametrize(("size", "more", "expected"), [
    (32, "npoints: 9\npq_include_end: False\npqmin: -1\npqmax: 2", {"pq_min": -1, "pq_max": 2, "uv_frequencies": 0}),
    (32, "npoints: 4\npos_encoding: True\nnum_emb_freqs: 3\nposemb_incl_input: False",
     {"uv_frequencies": 3, "uv_include_input": False}),
    (64, "npoints: 4\nup_mode: upsample\npos_encoding: True", {"up_mode": "upsample", "uv_frequencies": 6}),
    (128, "npoints: 1", {}),
    (256, "npoints: 1", {}),
])  # fmt: skip
def test_from_pack_to_decoded_frames(raw, tmp_path, monkeypatch, size, more, expected):
    """Two steps of training, through the command line; then the engine that users decode with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(CONFIG.format(data="packed", size=size, more=more))
    assert main(["pack", str(raw), "--out", "packed", "--points", "500", "--map-size", str(size)]) == 0
    assert main(["train", "c.yaml", "--device", "cpu"]) == 0
    garment, body = load_garment("runs/g/g.safetensors"), load_body()
    settings = garment.network.settings
    assert settings.map_size == size and garment.training["steps"] == 2
    assert all(getattr(settings, name) == value for name, value in expected.items())
    # as many steps down as lead to one pixel, and as many up
    assert 2 ** len(garment.network.unet.downs) == size and len(garment.network.unet.ups) == len(
        garment.network.unet.downs
    )
    patches, count = int(garment.layout.mask.sum()), settings.points_per_patch
    assert 0.9 * size**2 < patches <= size**2
    rest = torch.eye(3).expand(1, body.joint_count, 3, 3)
    points, normals = Decoder(garment, body).decode(Poses(rest), DecodeOptions("points", "whole body", push_out=False))
    assert points.shape == normals.shape == (1, patches * count, 3)
    assert torch.allclose(normals.norm(dim=-1), torch.ones(1, patches * count), atol=1e-3)
    assert torch.cdist(points[0, ::31], body.template).amin(1).mean() < 0.05  # two steps lead nowhere far
    assert main(["test", "--config", "c.yaml", "--device", "cpu"]) == 0
    assert len(read_points(next(Path("results/g").glob("*_pred.ply"))).points) == patches * count
