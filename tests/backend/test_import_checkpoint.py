"""Checkpoints as the research release saves them, with random weights: decoded like the plain reference, or refused."""

import os
import shutil

import numpy as np
import pytest
import torch

from scale_backend.cli import main
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.assets import find_body
from scale_backend.formats.foreign_file import ForeignFileError
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.geometry.body import load_body, pose_vertices
from scale_backend.geometry.positional_map import place_pixels, rasterise
from scale_backend.model.garment import load_garment
from scale_backend.model.network import NetworkSettings
from scale_backend.released.import_checkpoint import PatchCoordinates, import_checkpoint
from scale_backend.released.layout import read_body, read_layout
from tests.backend import reference
from tests.backend.test_engine import random_pose
from tests.backend.test_network import RELEASED, released_name
from tests.making import random_network


@pytest.fixture(scope="module")
def body():
    return load_body("neutral")


def write_checkpoint(folder, settings=None, change=lambda state: None, bare=False):
    """A pair of files of the release, and the same weights under our names."""
    network = random_network(settings or NetworkSettings())
    own = network.state_dict()
    latent = own["latent"] * 3  # longer than the ball it is kept in
    state = {released_name(name): value for name, value in own.items() if name != "latent"}
    change(state)
    model, codes = folder / "demo_epoch00500_model.pt", folder / "demo_epoch00500_latent_vecs.pt"
    adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    torch.save({"epoch": 500, "model_state": state, "optimizer_state": adam.state_dict()}, model)
    torch.save({"epoch": 500, "latent_codes": latent[None] if bare else {"weight": latent}}, codes)
    return model, codes, {**own, "latent": latent}


def write_obj(path, body):
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in body.template.tolist()]
    lines += [f"vt {u:.9g} {v:.9g}" for u, v in body.uv.tolist()]
    corners = np.stack([body.triangles.numpy(), body.uv_triangles.numpy()], -1) + 1
    lines += ["f " + " ".join(f"{v}/{t}" for v, t in face) for face in corners]
    path.write_text("\n".join(lines) + "\n")
    return path


def assert_equal_to_reference(garment, state, body, frames=2, **options):
    rotations = random_pose(frames)
    rotations[:, 0] = torch.eye(3)
    decoder = Decoder(garment, body)
    points, normals = decoder.decode(Poses(rotations), DecodeOptions("points", push_out=False))
    posed = pose_vertices(body, rotations, -body.mean_joints[:1].expand(frames, 3))
    layout = garment.layout
    expected = reference.decode_patches(
        state, posed, body.triangles, layout.triangle_index, layout.barycentrics, **options
    )
    assert points.shape == expected[0].flatten(1, 2).shape
    assert (points - expected[0].flatten(1, 2) - body.mean_joints[0]).abs().max() < 1e-5
    assert (normals - expected[1].flatten(1, 2)).abs().max() < 1e-3


def test_the_release_as_it_is(tmp_path, body):
    """The published network with a mask, face numbers and a template, through the command line."""
    model, latent, state = write_checkpoint(tmp_path)
    names = dict(line.split(" ", 1) for line in RELEASED.read_text().splitlines())
    saved = torch.load(model, weights_only=True)["model_state"]
    assert {name: str(list(value.shape)) for name, value in saved.items()} == names
    layout = rasterise(body.uv, body.uv_triangles, 32)
    valid = np.random.default_rng(0).random(1024) < 0.8
    np.save(tmp_path / "mask.npy", valid)
    np.save(tmp_path / "ids.npy", layout.triangle_index.numpy().astype(np.int32))
    out = tmp_path / "new" / "demo.safetensors"
    template = write_obj(tmp_path / "uv.obj", body)
    arguments = ["import-checkpoint", model, latent, "--body", "neutral", "--template", template, "--valid-pixels",
                 tmp_path / "mask.npy", "--face-ids", tmp_path / "ids.npy", "--out", out]  # fmt: skip
    assert main([str(a) for a in arguments]) == 0
    garment = load_garment(out)
    assert garment.training == {"checkpoint": model.name, "epoch": 500} and garment.metadata()["patches"] == valid.sum()
    for name, value in garment.network.state_dict().items():
        assert torch.equal(value, state[name]), name  # not rounded to 16 bits
    assert_equal_to_reference(garment, state, body, valid=torch.from_numpy(valid))


def test_the_body_is_found_by_its_template(tmp_path, monkeypatch, body, capsys):
    """The command without --body: the imported body in the folder, before those that ship; or a question."""
    monkeypatch.chdir(tmp_path)
    model, latent, state = write_checkpoint(tmp_path, NetworkSettings(unet_width=4, hidden=32))
    template = write_obj(tmp_path / "uv.obj", body)
    arguments = ["import-checkpoint", str(model), str(latent), "--template", str(template), "--out", "demo.safetensors"]
    assert main(arguments) == 0  # no body here: the one that ships
    assert load_garment(tmp_path / "demo.safetensors").body_name == "neutral"
    np.savez(tmp_path / "unrelated.npz", a=np.zeros(3))
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    shutil.copy(find_body("neutral"), tmp_path / "mine.npz")
    assert main(arguments) == 0
    garment = load_garment(tmp_path / "demo.safetensors")
    assert garment.body_name == "mine"
    assert_equal_to_reference(garment, state, body, frames=1)

    shutil.copy(find_body("neutral"), tmp_path / "yours.npz")
    assert main(arguments) == 2
    assert "Several bodies have the triangles of uv.obj: mine.npz, yours.npz" in capsys.readouterr().err
    lines = template.read_text().splitlines()
    template.write_text("\n".join(lines[:-1]))  # a face less: another body's
    assert main(arguments) == 0
    assert "No body here has the triangles of uv.obj: its surface alone" in capsys.readouterr().err
    surface = load_body(tmp_path / "demo-body.npz")
    assert not surface.posable and torch.equal(surface.triangles, body.triangles[:-1])
    garment = load_garment(tmp_path / "demo.safetensors")
    assert garment.body_name == "demo-body"
    with pytest.raises(ForeignFileError, match="'demo-body' is a surface from a UV template and cannot follow a pose"):
        Decoder(garment, surface).decode(Poses(random_pose(1)), DecodeOptions("points"))
    assert main(["import-checkpoint", str(model), str(latent), "--out", "demo.safetensors"]) == 2
    assert "name it with --body" in capsys.readouterr().err


@pytest.mark.parametrize(("size", "options"), [
    (32, {"points_per_patch": 9, "pq_include_end": False, "pq_min": -1.0}),
    (32, {"uv_frequencies": 6, "points_per_patch": 4}),
    (32, {"uv_frequencies": 3, "uv_include_input": False, "points_per_patch": 25}),
    (64, {"up_mode": "upsample", "points_per_patch": 4, "pq_max": 0.5}),
    (128, {"points_per_patch": 1, "features": 16, "latent": 32}),
    (256, {"points_per_patch": 1, "features": 8}),
])  # fmt: skip
def test_other_networks(tmp_path, body, size, options):
    settings = NetworkSettings(map_size=size, unet_width=4, hidden=32, **options)
    model, latent, state = write_checkpoint(tmp_path, settings, bare=size == 64)
    coordinates = PatchCoordinates(settings.points_per_patch, settings.pq_include_end, settings.pq_min, settings.pq_max)
    garment = import_checkpoint(model, latent, body, tmp_path / "g.safetensors", coordinates=coordinates)
    assert garment.network.settings == settings
    side = round(settings.points_per_patch**0.5)
    step = (settings.pq_max - settings.pq_min) / max(1, side - 1 if settings.pq_include_end else side)
    assert_equal_to_reference(
        load_garment(tmp_path / "g.safetensors"), state, body, frames=1,
        line=torch.tensor([settings.pq_min + step * i for i in range(side)]),
        frequencies=settings.uv_frequencies, include_input=settings.uv_include_input,
    )  # fmt: skip


def test_names_of_several_gpus_and_of_older_torch(tmp_path, body):
    def change(state):
        for name in list(state):
            value = state.pop(name)
            if not name.endswith("num_batches_tracked"):
                state[f"module.{name.replace('upconvC', 'upconv')}"] = value

    model, latent, state = write_checkpoint(tmp_path, NetworkSettings(unet_width=4, hidden=32), change)
    garment = import_checkpoint(model, latent, body, tmp_path / "g.safetensors")
    assert all(torch.equal(v, state[k]) for k, v in garment.network.state_dict().items() if "num_batches" not in k)


def changes():
    yield "lacks map2Dto3D.bn6N.weight", lambda s: s.pop("map2Dto3D.bn6N.weight")
    yield "lacks unet.conv1.conv.weight; choose", lambda s: s.pop("unet.conv1.conv.weight")
    yield (
        r"has map2Dto3D.conv8.weight \[4, 32, 1\] instead of \[3, 32, 1\]",
        lambda s: s.update({"map2Dto3D.conv8.weight": torch.zeros(4, 32, 1)}),
    )
    yield "also has map2Dto3D.extra", lambda s: s.update({"map2Dto3D.extra": torch.zeros(1)})
    yield "not finite", lambda s: s["map2Dto3D.conv5.bias"].fill_(float("nan"))
    yield (
        "map_size must be",
        lambda s: s.update(
            {f"unet.conv{n}.conv.weight": torch.zeros(1) for n in range(6, 10)}
            | {"unet.upconvC9.up.bias": torch.zeros(64)}
        ),
    )


@pytest.mark.parametrize(("sentence", "change"), list(changes()))
def test_checkpoints_of_other_networks_are_named(tmp_path, body, sentence, change):
    model, latent, _ = write_checkpoint(tmp_path, NetworkSettings(unet_width=4, hidden=32), change)
    with pytest.raises(ForeignFileError, match=sentence):
        import_checkpoint(model, latent, body, tmp_path / "g.safetensors")
    assert not (tmp_path / "g.safetensors").exists()


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_files_that_are_no_checkpoint(tmp_path, body):
    model, latent, _ = write_checkpoint(tmp_path, NetworkSettings(unet_width=4, hidden=32))
    out = tmp_path / "g.safetensors"
    evil = tmp_path / "evil.pt"
    torch.save({"model_state": Attack(tmp_path / "ran")}, evil)
    with pytest.raises(ForeignFileError, match=r"evil\.pt was not opened"):
        import_checkpoint(evil, latent, body, out)
    assert not (tmp_path / "ran").exists()
    cut = tmp_path / "cut.pt"
    cut.write_bytes(model.read_bytes()[:5000])
    with pytest.raises(ForeignFileError, match=r"cut\.pt"):
        import_checkpoint(cut, latent, body, out)
    with pytest.raises(ForeignFileError, match=r"lacks unet\.conv1\.conv\.weight"):
        import_checkpoint(latent, latent, body, out)
    with pytest.raises(ForeignFileError, match="no latent codes of 256"):
        import_checkpoint(model, model, body, out)
    with pytest.raises(ForeignFileError, match="latent codes 0 to 0, not 3"):
        import_checkpoint(model, latent, body, out, latent_index=3)
    with pytest.raises(ForeignFileError, match="points_per_patch"):
        import_checkpoint(model, latent, body, out, coordinates=PatchCoordinates(15))
    assert not out.exists()


def test_pixels_that_do_not_fit_the_template(tmp_path, body):
    layout = rasterise(body.uv, body.uv_triangles, 32)

    def layout_of(valid=None, ids=None, on=body):
        paths = []
        for name, array in (("valid", valid), ("ids", ids)):
            paths.append(None if array is None else tmp_path / f"{name}.npy")
            if array is not None:
                np.save(paths[-1], array)
        return read_layout(on, 32, *paths)

    ids = layout.triangle_index.numpy().astype(np.int32)
    again = layout_of(ids=ids)
    assert torch.allclose(again.barycentrics, layout.barycentrics, atol=1e-5)
    bare = ids.copy()
    bare[3, 5] = -1
    assert int(layout_of(ids=bare).mask.sum()) == 1023
    for sentence, arguments in {
        "lie outside their faces": {"ids": np.roll(ids, 1)},
        "face numbers from -1 to 13776": {"ids": np.where(ids == ids.max(), 13776, bare)},
        "no .npy of 32 x 32": {"ids": ids[:16]},
        "chooses 1024 pixels, 1 of them": {"valid": np.ones(1024, bool), "ids": bare},
        "chooses 0 pixels": {"valid": np.zeros((32, 32), bool)},
        "Python objects instead of numbers": {"valid": np.array([{"a": 1}], dtype=object)},
    }.items():
        with pytest.raises(ForeignFileError, match=sentence):
            layout_of(**arguments)


def test_a_centre_just_beside_its_triangle_is_taken():
    """As where a GPU has rounded: the neighbour's plane, a little beyond its edge."""
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    index = rasterise(uv, triangles, 8).triangle_index
    wrong = index.clone()
    wrong[0, 0], wrong[2, 4] = 1 - index[0, 0], 1 - index[2, 4]
    placed, outside = place_pixels(uv, triangles, wrong)
    u = torch.einsum("hwk,hwkc->hwc", placed.barycentrics, uv[triangles[wrong]])
    assert torch.allclose(u[2, 4], torch.tensor([4.5 / 8, 1 - 2.5 / 8]), atol=1e-6)
    assert float(outside[0, 0]) == pytest.approx(7 / 2**0.5) and float(outside[5, 5]) == 0.0


def test_a_body_without_uvs_needs_a_template(tmp_path, body):
    bare = tmp_path / "bare.npz"
    with np.load(find_body("neutral")) as data:
        np.savez(bare, **{k: data[k] for k in data.files if k not in ("vt", "ft")})
    with pytest.raises(ForeignFileError, match="give the UV template"):
        read_body(bare, None)
    assert torch.allclose(read_body(bare, write_obj(tmp_path / "uv.obj", body)).uv, body.uv)
