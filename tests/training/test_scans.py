"""Scans without correspondence: sampling on the device, and learning from raw and from packed frames."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from scale_backend.network import NetworkSettings
from tests.training.synthetic import write_raw_folder
from training.clothed_body import clothed_body, sample_scan
from training.config import Recipe
from training.dataset import read_groundwork
from training.pack import PackSettings
from training.pack import run as pack
from training.packed_frames import PackedFrameError
from training.scans import read_scans
from training.trainer import Trainer

RECIPE = Recipe(
    name="skirt", data="", carrier="body", batch=2, grid_points=4, scan_points=3000, steps=25, warm_up=5,
    network=NetworkSettings(unet_width=8, hidden=32, activation="silu"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    write_raw_folder(folder / "raw", {"train": 4})
    pack(PackSettings(raw=folder / "raw", out=folder / "packed", points=4000))
    return folder / "raw", folder / "packed"


def squares() -> tuple[torch.Tensor, torch.Tensor]:
    cloth = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]])[None]
    return cloth, cloth * torch.tensor([2.0, 1.0, 1.0]) + torch.tensor([0, 0, -1.0])


def test_scan_points_are_spread_by_area_over_what_is_visible():
    cloth, body = squares()
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    surface = clothed_body(faces, 4, faces, 4)
    every = torch.ones(1, 4, dtype=torch.bool)
    points, normals, is_cloth = sample_scan(surface, cloth, body, every, 6000, torch.Generator().manual_seed(0))
    assert abs(float(is_cloth.float().mean()) - 1 / 3) < 0.03
    assert torch.allclose(points[..., 2], torch.where(is_cloth, 0.0, -1.0))
    assert torch.allclose(normals, torch.tensor([0.0, 0, 1]).expand_as(normals), atol=1e-6)
    hidden = every.clone()
    hidden[0, 1] = False  # only the second triangle of the body is left
    points, _, is_cloth = sample_scan(surface, cloth, body, hidden, 4000, torch.Generator().manual_seed(0))
    skin = points[~is_cloth]
    assert abs(float(is_cloth.float().mean()) - 0.5) < 0.03 and (skin[:, 0] <= 2 * skin[:, 1] + 1e-6).all()


@pytest.mark.parametrize("kind", [0, 1])
def test_learning_from_raw_and_from_packed_frames(folders, kind):
    recipe = replace(RECIPE, data=str(folders[kind]))
    groundwork = read_groundwork(recipe)
    data = read_scans(groundwork, recipe)
    trainer = Trainer(recipe, data, torch.device("cpu"))
    losses = []
    while trainer.progress < 1:
        losses.append(trainer.train_step()["loss"])
    assert losses[-1] < 0.8 * losses[0]
    flags = data.cloth_flags(trainer.finished_network())
    assert flags.shape == (len(data.queries),) and 0.05 < float(flags.float().mean()) < 0.8
    # patches on the head are never cloth
    posed = data.posed.base[0]
    head = posed[:, 1] > 0.35
    assert not flags.view(len(posed), -1)[head].any()


def test_raw_and_packed_frames_pose_the_same_patches(folders):
    raw, packed = (replace(RECIPE, data=str(folder)) for folder in folders)
    groundwork = read_groundwork(raw)
    first, second = read_scans(groundwork, raw).posed, read_scans(groundwork, packed).posed
    assert torch.allclose(first.maps, second.maps, atol=1e-6)
    assert torch.allclose(first.base, second.base, atol=1e-6)
    assert torch.allclose(first.frames, second.frames, atol=1e-6)


def test_what_is_visible_is_kept(folders, tmp_path):
    recipe = replace(RECIPE, data=str(folders[0]))
    groundwork = read_groundwork(recipe)
    cache = tmp_path / "visible.npz"
    first = read_scans(groundwork, recipe, cache).scans.visible
    stamp = cache.read_bytes()
    assert torch.equal(read_scans(groundwork, recipe, cache).scans.visible, first)
    assert cache.read_bytes() == stamp
    assert 0.5 < float(first.float().mean()) < 0.98


def test_a_folder_of_neither_kind_is_told(tmp_path):
    recipe = replace(RECIPE, data=str(tmp_path))
    with pytest.raises(PackedFrameError, match="no packed frames of the split 'train' \\(splits there: none\\)"):
        read_scans(read_groundwork(recipe), recipe)
