"""Scans without correspondence: sampling on the device, and learning from raw and from packed frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scale_backend.formats.point_files import read_points
from scale_backend.model.garment import load_garment
from scale_backend.model.network import NetworkSettings
from tests.training.synthetic import write_raw_folder
from training.config import ConfigError, Recipe
from training.frames.clothed_body import clothed_body, sample_scan
from training.frames.pack import PackSettings
from training.frames.pack import run as pack
from training.frames.packed_frames import PackedFrameError, read_packed, write_packed
from training.learning.dataset import read_groundwork
from training.learning.packed_poses import pose_packed
from training.learning.scans import read_scans
from training.learning.train import with_colors
from training.learning.trainer import Trainer

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
    points, normals, is_cloth = sample_scan(surface, cloth, body, every, 6000, [torch.Generator().manual_seed(0)])
    assert abs(float(is_cloth.float().mean()) - 1 / 3) < 0.03
    assert torch.allclose(points[..., 2], torch.where(is_cloth, 0.0, -1.0))
    assert torch.allclose(normals, torch.tensor([0.0, 0, 1]).expand_as(normals), atol=1e-6)
    hidden = every.clone()
    hidden[0, 1] = False  # only the second triangle of the body is left
    points, _, is_cloth = sample_scan(surface, cloth, body, hidden, 4000, [torch.Generator().manual_seed(0)])
    skin = points[~is_cloth]
    assert abs(float(is_cloth.float().mean()) - 0.5) < 0.03 and (skin[:, 0] <= 2 * skin[:, 1] + 1e-6).all()


@pytest.mark.parametrize("kind", [0, 1])
def test_learning_from_raw_and_from_packed_frames(folders, tmp_path, kind):
    recipe = replace(RECIPE, data=str(folders[kind]))
    groundwork = read_groundwork(recipe)
    data = read_scans(groundwork, recipe, tmp_path)
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


def test_raw_and_packed_frames_pose_the_same_patches(folders, tmp_path):
    raw, packed = (replace(RECIPE, data=str(folder)) for folder in folders)
    groundwork = read_groundwork(raw)
    first, second = (read_scans(groundwork, r, tmp_path).posed for r in (raw, packed))
    assert torch.allclose(first.maps, second.maps, atol=1e-6)
    assert torch.allclose(first.base, second.base, atol=1e-6)
    assert torch.allclose(first.frames, second.frames, atol=1e-6)


def test_what_is_visible_is_kept(folders, tmp_path):
    recipe = replace(RECIPE, data=str(folders[0]))
    groundwork = read_groundwork(recipe)
    cache = tmp_path / "visible-skin.npz"
    first = read_scans(groundwork, recipe, tmp_path).scans.visible
    stamp = cache.read_bytes()
    assert torch.equal(read_scans(groundwork, recipe, tmp_path).scans.visible, first)
    assert cache.read_bytes() == stamp
    assert 0.5 < float(first.float().mean()) < 0.98


def test_a_folder_of_neither_kind_is_told(tmp_path):
    recipe = replace(RECIPE, data=str(tmp_path))
    with pytest.raises(PackedFrameError, match="no packed frames of the split 'train' \\(splits there: none\\)"):
        read_scans(read_groundwork(recipe), recipe, tmp_path)


HARM = {
    "rows-0001.npy": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "maps.npy": Path.unlink,
    "index.json": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "inde?.json": lambda path: path.write_text("[" * 5000),
}


def test_shards_hold_the_frames_and_are_read_from_disk(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("training.learning.scan_shards.SHARD_FRAMES", 3)  # four frames: two shards
    recipe = replace(RECIPE, data=str(folders[1]))
    groundwork = read_groundwork(recipe)
    data = read_scans(groundwork, recipe, tmp_path)
    files = sorted((folders[1] / "train").glob("*.npz"))
    assert len(data.scans.rows) == 2 and all(isinstance(rows, np.memmap) for rows in data.scans.rows)
    for number, path in enumerate(files):
        frame = read_packed(path)
        points, normals = data.scans.scan(number)
        assert np.array_equal(points.numpy(), frame.points) and np.array_equal(normals.numpy(), frame.normals)
        assert data.names[number] == frame.name
    ready = {name: np.load(tmp_path / "scans" / f"{name}.npy") for name in ("maps", "base", "frames")}
    fresh = pose_packed(groundwork, [read_packed(path) for path in files])
    for name, values in ready.items():
        assert np.array_equal(values, getattr(fresh, name).numpy())
        mapped = getattr(data.posed, name)
        assert np.array_equal(values, mapped.numpy())
        mapped.zero_()  # in memory alone
        assert np.array_equal(values, np.load(tmp_path / "scans" / f"{name}.npy"))
    written = (tmp_path / "scans" / "rows-0000.npy").stat().st_mtime_ns
    read_scans(groundwork, recipe, tmp_path)
    assert (tmp_path / "scans" / "rows-0000.npy").stat().st_mtime_ns == written
    # what is cut, lost or damaged is made anew, and is the same
    content = {path.name: path.read_bytes() for path in (tmp_path / "scans").iterdir()}
    for name, harm in HARM.items():
        (path,) = (tmp_path / "scans").glob(name)
        harm(path)
        assert read_scans(groundwork, recipe, tmp_path).names == data.names
        assert {path.name: path.read_bytes() for path in (tmp_path / "scans").iterdir()} == content
    fewer = read_scans(groundwork, replace(recipe, frames=2), tmp_path)
    assert fewer.names == (data.names[0], data.names[3])  # other frames: other shards


def test_a_frame_gets_the_same_points_in_any_part_of_a_batch(folders, tmp_path):
    for folder in folders:
        recipe = replace(RECIPE, data=str(folder))
        data = read_scans(read_groundwork(recipe), recipe, tmp_path)
        whole = data.sample(torch.tensor([2, 0, 3, 1]), 7)
        part = data.sample(torch.tensor([3, 1]), 7, first=2)
        for name in ("points", "normals", "cloth"):
            assert torch.equal(getattr(whole, name)[2:], getattr(part, name))


def test_colours_are_learned_and_holes_are_not(folders, tmp_path):
    """Left half red, right half blue, and a hole that must not show."""
    from training.cli import main

    for split in ("train", "test"):
        for path in sorted((folders[1] / "train").glob("*.npz")):
            frame = read_packed(path)
            right = frame.points[:, :1] < 0
            colors = np.where(right, [[0.1, 0.1, 0.9]], [[0.9, 0.1, 0.1]])
            colors[np.random.default_rng(0).random(len(colors)) < 0.3] = np.nan
            write_packed(tmp_path / "packed" / split / path.name, replace(frame, colors=colors))
    (tmp_path / "c.yaml").write_text(
        "name: shirt\ndata_root: packed\nscan_npoints: 2000\nbatch_size: 2\nlr: 5e-3\nepochs: 30\nhsize: 32\nnf: 8\n"
        "npoints: 4\nw_rgl: 10\n"
    )
    assert main(["train", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    garment = tmp_path / "out" / "shirt.safetensors"
    assert main(["test", str(garment), "--packed", str(tmp_path / "packed"), "--out", str(tmp_path / "r")]) == 0
    file = read_points(next((tmp_path / "r").glob("*_pred_texture.ply")))
    away = np.abs(file.points[:, 0]) > 0.05
    left = file.points[away, 0] > 0
    redder = file.colors[away, 0].astype(int) > file.colors[away, 2]
    assert (left == redder).mean() > 0.9
    assert load_garment(garment).network.settings.colors
    plain = replace(RECIPE, data=str(folders[1]), network=replace(RECIPE.network, colors=True))
    with pytest.raises(ConfigError, match="have no colours"):
        with_colors(plain, read_scans(read_groundwork(plain), plain, tmp_path / "plain"))
