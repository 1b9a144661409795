"""Packed frames decoded: from the file alone, equal to the plain reference, in place, under the release's names."""

import numpy as np
import pytest
import torch

from scale_backend.cli import main
from scale_backend.formats.point_files import read_points
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body, pose_vertices
from scale_backend.geometry.positional_map import positional_map
from scale_backend.model.garment import load_garment
from tests.backend import reference
from tests.backend.test_engine import random_pose
from tests.making import write_garment


@pytest.fixture(scope="module")
def body():
    return load_body("neutral")


@pytest.fixture(scope="module")
def garment_file(tmp_path_factory):
    return write_garment(tmp_path_factory.mktemp("garments") / "g.safetensors", "body", colors=True)


def write_frames(folder, body, layout, count=3, **added):
    """Frames as the release has them: no pose; the map is not quite what rasterising gives."""
    folder.mkdir(parents=True, exist_ok=True)
    rotations = random_pose(count)
    rotations[:, 0] = torch.eye(3)
    bodies = pose_vertices(body, rotations, -body.mean_joints[:1].expand(count, 3)) * 1.03  # another body shape
    maps = positional_map(bodies, body.triangles, layout) + 0.001
    for frame in range(count):
        np.savez(folder / f"{frame:03d}.npz", posmap32=maps[frame].permute(1, 2, 0).numpy(),
                 body_verts=bodies[frame].numpy(), scan_name=f"tee_walk.{frame:06d}",
                 **{k: v[frame] for k, v in added.items()})  # fmt: skip
    return bodies, maps, rotations


def decode(*arguments):
    return main(["decode", *map(str, arguments), "--device", "cpu", "--threads", "1", "--precision", "float32"])


def test_every_frame_equals_the_reference_under_the_releases_names(tmp_path, body, garment_file, capsys):
    garment = load_garment(garment_file)
    bodies, maps, _ = write_frames(tmp_path / "packed" / "test", body, garment.layout)
    out = tmp_path / "out"
    arguments = [garment_file, "--packed", tmp_path / "packed", "--out", out, "--part", "whole-body"]
    assert decode(*arguments) == 0
    kinds = ("pred", "pred_patchcolor", "pred_texture")
    names = {f"test-body_tee_walk.{frame:06d}_{kind}.ply" for frame in range(3) for kind in kinds}
    assert {path.name for path in out.glob("*.ply")} == names
    points, normals, colors = reference.decode_patches(
        garment.network.state_dict(), bodies, body.triangles, garment.layout.triangle_index,
        garment.layout.barycentrics, posmap=maps,
    )  # fmt: skip
    for frame in range(3):
        files = {kind: read_points(out / f"test-body_tee_walk.{frame:06d}_{kind}.ply") for kind in kinds}
        for file in files.values():
            assert np.abs(file.points - points[frame].flatten(0, 1).numpy()).max() < 1e-5
            assert np.abs(file.normals - normals[frame].flatten(0, 1).numpy()).max() < 1e-3
        by_normal = files["pred"].normals * 127.5 + 128
        assert np.abs(files["pred"].colors - by_normal).max() <= 1
        by_patch = files["pred_patchcolor"].colors.reshape(-1, 16, 3)
        assert (by_patch == by_patch[:, :1]).all() and len(np.unique(by_patch[:, 0], axis=0)) > 1000
        assert np.abs(files["pred_texture"].colors - colors[frame].flatten(0, 1).numpy() * 255).max() < 1

    # stopped after the second file of a frame, it goes on with that frame
    gone, kept = out / "test-body_tee_walk.000001_pred_texture.ply", out / "test-body_tee_walk.000000_pred.ply"
    stamp = kept.stat().st_mtime_ns
    gone.unlink()
    capsys.readouterr()
    assert decode(*arguments) == 0 and gone.exists() and kept.stat().st_mtime_ns == stamp
    assert "2 of 3 frames are there already" in capsys.readouterr().err


def test_cloth_in_place_every_second_frame(tmp_path, body, garment_file):
    garment = load_garment(garment_file)
    root = np.tile(np.eye(4, dtype=np.float32), (3, 1, 1))
    root[:, :3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    root[:, :3, 3] = [1, 2, 3]
    write_frames(tmp_path / "a", body, garment.layout)
    write_frames(tmp_path / "b", body, garment.layout, root=root)
    for folder in "ab":
        assert decode(garment_file, "--packed", tmp_path / folder, "--out", tmp_path / f"out-{folder}",
                      "--every", "2", "--format", "npz") == 0  # fmt: skip
    files = [sorted((tmp_path / f"out-{folder}").glob("*.npz")) for folder in "ab"]
    assert [f.name for f in files[0]] == [f"test-body_tee_walk.{frame:06d}.npz" for frame in (0, 2)]
    for plain, placed in zip(*files, strict=True):
        with np.load(plain) as a, np.load(placed) as b:
            assert len(a["points"]) == int(garment.cloth.sum())
            assert np.allclose(b["points"], a["points"] @ root[0, :3, :3].T + [1, 2, 3], atol=1e-5)
            assert np.allclose(b["normals"], a["normals"] @ root[0, :3, :3].T, atol=1e-5)
            assert np.array_equal(a["colors"], b["colors"]) and 0 <= a["colors"].min() < a["colors"].max() <= 1


def test_a_garment_on_its_own_surface_takes_the_frames_pose(tmp_path, body, capsys):
    from scale_backend.decoding.decoder import Decoder
    from scale_backend.geometry.rotations import matrix_from_axis_angle

    skirt = write_garment(tmp_path / "skirt.safetensors")
    layout = load_garment(skirt).layout
    torch.manual_seed(1)
    pose = torch.randn(2, 24, 3) * 0.2
    write_frames(tmp_path / "posed", body, layout, 2, pose=pose.numpy())
    assert decode(skirt, "--packed", tmp_path / "posed", "--out", tmp_path / "out", "--surface", "mesh") == 0
    rotations = matrix_from_axis_angle(pose)
    rotations[:, 0] = torch.eye(3)
    points, _ = Decoder(load_garment(skirt), body).decode(
        Poses(rotations, -body.mean_joints[:1].expand(2, 3)), DecodeOptions(push_out=False)
    )
    for frame, file in enumerate(sorted((tmp_path / "out").glob("*.ply"))):
        assert np.abs(read_points(file).points - points[frame].numpy()).max() < 1e-5
    write_frames(tmp_path / "release", body, layout, 1)
    assert decode(skirt, "--packed", tmp_path / "release", "--out", tmp_path / "none") == 2
    assert "does not say its pose" in capsys.readouterr().err


@pytest.mark.parametrize(("sentence", "change"), [
    ("lacks posmap32", {"posmap64": np.zeros((64, 64, 3))}),
    ("lacks body_verts", {"posmap32": np.zeros((32, 32, 3))}),
    ("'posmap32' in 000.npz has another shape", {"posmap32": np.zeros((32, 32)), "body_verts": np.zeros((5, 3))}),
    ("has a body of 5 vertices", {"posmap32": np.zeros((32, 32, 3)), "body_verts": np.zeros((5, 3))}),
    ("is not finite", {"posmap32": np.full((32, 32, 3), np.nan), "body_verts": np.zeros((6890, 3))}),
    ("cannot be read as a packed frame", None),
])  # fmt: skip
def test_frames_that_are_none(tmp_path, garment_file, sentence, change, capsys):
    (tmp_path / "packed").mkdir()
    path = tmp_path / "packed" / "000.npz"
    path.write_bytes(b"PK cut short") if change is None else np.savez(path, **change)
    assert decode(garment_file, "--packed", tmp_path / "packed", "--out", tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert sentence in told and "Traceback" not in told
    assert not list(tmp_path.glob("out/*.ply"))


def test_frames_of_a_body_with_equal_counts_are_refused(tmp_path, body, garment_file, capsys):
    """As SMPL and the free body have them: other vertices, or other UVs, or a map of something else."""
    garment = load_garment(garment_file)
    bodies, maps, _ = write_frames(tmp_path / "good", body, garment.layout, 1)
    vertices, places = bodies[0].numpy(), maps[0].permute(1, 2, 0).numpy()
    shuffled = vertices[np.random.default_rng(0).permutation(len(vertices))]
    holes = places.copy()
    holes[:4] = 0
    for number, (told, change) in enumerate({
        "whose vertices lie in another order": {"body_verts": shuffled},
        "has another UV layout: 896 pixels of its map are covered, 1024 of this body's": {"posmap32": holes},
        "has a map that is not of its body": {"posmap32": places[::-1].copy()},
    }.items()):  # fmt: skip
        folder = tmp_path / f"frames-{number}"
        folder.mkdir()
        np.savez(folder / "0.npz", **({"posmap32": places, "body_verts": vertices} | change))
        assert decode(garment_file, "--packed", folder, "--out", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert told in error and "packed on another body than 'neutral'" in error
