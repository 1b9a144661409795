"""The research release's own folder: its configs, its checkpoint, its UV template and its frames, and no SMPL file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scale_backend.cli import main as backend
from scale_backend.formats.point_files import read_points
from scale_backend.geometry.body import Body, load_body, pose_vertices
from scale_backend.geometry.positional_map import positional_map, rasterise
from scale_backend.geometry.rotations import matrix_from_axis_angle
from scale_backend.model.network import NetworkSettings
from tests.backend import reference
from tests.backend.test_import_checkpoint import write_checkpoint, write_obj
from training.cli import main

NAME = "SCALE_demo_00000_simuskirt"
DEMO = f"""name: {NAME}
dataroot: 00000_simuskirt
data_spacing: 1
npoints: 16
save_all_results: 1
mode: test
"""
# as it comes, but for a smaller network and batch, which keep the test short
TRAIN_DEMO = """name: SCALE_train_demo_00000_simuskirt
data_root: 00000_simuskirt
data_spacing: 1
val_every: 10
npoints: 16 # a square number
pos_encoding: 0
save_all_results: 1
mode: train
hsize: 32
nf: 4
batch_size: 2
"""


def foreign_body() -> Body:
    """A body that no file here has: the free one, its vertices and triangles in another order."""
    body = load_body("neutral")
    order = torch.randperm(len(body.template), generator=torch.Generator().manual_seed(0))
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    return replace(
        body, name="foreign", template=body.template[order], blend_weights=body.blend_weights[order],
        joint_regressor=body.joint_regressor[:, order], shape_components=body.shape_components[order],
        triangles=place[body.triangles].flip(0), uv_triangles=body.uv_triangles.flip(0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The folder, the foreign body, and the checkpoint's weights under our names."""
    root, body = tmp_path_factory.mktemp("SCALE"), foreign_body()
    for folder in ("configs", "assets", f"checkpoints/{NAME}"):
        (root / folder).mkdir(parents=True)
    (root / "configs" / "config_demo.yaml").write_text(DEMO)
    (root / "configs" / "config_train_demo.yaml").write_text(TRAIN_DEMO)
    write_obj(root / "assets" / "template_mesh_uv.obj", body)
    model, latent, state = write_checkpoint(root / "checkpoints" / NAME, NetworkSettings(unet_width=4, hidden=32))
    for file in (model, latent):
        file.rename(file.with_name(file.name.replace("demo", NAME, 1)))
    layout, rng = rasterise(body.uv, body.uv_triangles, 32), np.random.default_rng(0)
    for split, count in {"train": 3, "val": 1, "test": 2}.items():
        folder = root / "data" / "packed" / "00000_simuskirt" / split
        folder.mkdir(parents=True)
        for frame in range(count):
            pose = torch.from_numpy(rng.normal(0, 0.2, (1, 24, 3)).astype(np.float32))
            pose[:, 0] = 0
            posed = pose_vertices(body, matrix_from_axis_angle(pose), -body.mean_joints[:1])
            scan = posed[0].numpy()[rng.integers(0, 6890, 500)] + rng.normal(0, 0.01, (500, 3))
            normals = rng.normal(size=(500, 3))
            np.savez(folder / f"skirt_walk.{frame:06d}.npz", posmap32=positional_map(posed, body.triangles, layout)[0]
                     .permute(1, 2, 0).numpy(), body_verts=posed[0].numpy(), scan_pc=scan,
                     scan_n=normals / np.linalg.norm(normals, axis=1, keepdims=True),
                     scan_name=f"skirt_walk.{frame:06d}")  # fmt: skip
    return root, body, state


def test_the_demo_config_tests_the_checkpoint(release, monkeypatch, capsys):
    root, body, state = release
    monkeypatch.chdir(root)
    assert main(["test", "--config", "configs/config_demo.yaml", "--device", "cpu"]) == 0
    told = capsys.readouterr()
    assert f"checkpoints/{NAME}" in told.out and "left aside" not in told.err
    results = root / "results" / NAME
    assert len(list(results.glob("*_pred.ply"))) == 2
    frame = np.load(root / "data/packed/00000_simuskirt/test/skirt_walk.000001.npz")
    layout = rasterise(body.uv, body.uv_triangles, 32)
    points, _ = reference.decode_patches(
        state, torch.from_numpy(frame["body_verts"])[None], body.triangles, layout.triangle_index, layout.barycentrics
    )
    written = read_points(results / f"{NAME}_skirt_walk.000001_pred.ply").points
    np.testing.assert_allclose(written, points[0].flatten(0, 1).numpy(), atol=2e-5)


def test_the_training_config_trains_and_its_garment_decodes_and_renders(release, monkeypatch, capsys):
    root, _, _ = release
    monkeypatch.chdir(root)
    arguments = ["train", "configs/config_train_demo.yaml", "--steps", "1", "--device", "cpu", "--threads", "1"]
    assert main(arguments) == 0
    garment = next((root / "runs").glob("SCALE_train*/*.safetensors"))
    packed, out = root / "data" / "packed" / "00000_simuskirt", root / "decoded"
    options = ["--body", "assets/template_mesh_uv.obj", "--device", "cpu", "--out", str(out)]
    assert backend(["decode", str(garment), "--packed", str(packed), *options]) == 0
    assert len(list(out.glob("*_pred.ply"))) == 2
    assert main(["render", str(out), "--size", "64", "--no-film"]) == 0
    capsys.readouterr()
    assert backend(["decode", str(garment), "--motion", "walk", *options[:4], "--out", str(root / "posed")]) == 2
    assert "is a surface from a UV template and cannot follow a pose" in capsys.readouterr().err


def test_frames_of_another_body_are_refused(release, monkeypatch, capsys, tmp_path):
    root, _, _ = release
    monkeypatch.chdir(tmp_path)
    recipe = Path("own.yaml")
    recipe.write_text(f"name: own\ndata: {root}/data/packed/00000_simuskirt\ncarrier: body\nnetwork: {{hidden: 16}}\n")
    assert main(["train", str(recipe), "--steps", "1", "--device", "cpu"]) != 0
    error = capsys.readouterr().err
    assert "whose vertices lie in another order" in error and "packed on another body than 'neutral'" in error
