"""Coarse cloth: it falls the same in torch and in code of our own, alone and in company, and never without end."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from scale_backend.coarse.coarse_cloth import CoarseCloth, coarse_cloth
from scale_backend.coarse.faller import Faller, compiled
from scale_backend.coarse.falling import FARTHEST, colours_of
from scale_backend.coarse.sheet import CoarseSettings, CoarseSheet
from scale_backend.coarse.surroundings import times_between
from scale_backend.decoding.decoder import Decoder
from scale_backend.formats.garment_header import GarmentError
from scale_backend.formats.poses import DecodeOptions, Poses
from scale_backend.formats.window import Window
from scale_backend.geometry.body import joint_transforms, load_body
from scale_backend.model.garment import load_garment, save_garment
from tests.backend.test_garment_header import rewritten
from tests.backend.test_window import walk
from tests.making import coarse_skirt, make_moving_garment, random_correction, skirt_carrier

LAGS = (0.1, 0.2, 0.3)
DOWN = torch.tensor([[0.0, -1.0, 0.0]])


@pytest.fixture(scope="module")
def body():
    return load_body("neutral")


@pytest.fixture(scope="module")
def sheet(body) -> CoarseSheet:
    return coarse_skirt(skirt_carrier(body))


def of(sheet: CoarseSheet, body, **settings) -> CoarseCloth:
    return coarse_cloth(sheet, CoarseSettings(**{"seconds": LAGS[-1]} | settings), body, LAGS)


def moments(body, frames: int = 3, speed: float = 1.0) -> torch.Tensor:  # [F, 4, J, 3, 4]
    """Somebody who moves, about where the pelvis is now."""
    rotations, places = walk(40)
    chosen = torch.tensor([[k + 3, k + 2, k + 1, k] for k in range(0, frames * 4, 4)]).flip(1)
    rotations[:, 0] = torch.eye(3).numpy()
    transforms = joint_transforms(body, torch.from_numpy(rotations), torch.from_numpy(places) * speed)[:, :, :3]
    return transforms[chosen] - torch.nn.functional.pad(transforms[chosen[:, -1:]][..., :1, :, 3:] * 1.0, (3, 0))


def plain(cloth: CoarseCloth) -> CoarseCloth:
    return replace(cloth, faller=None, order=torch.arange(len(cloth.sheet.template)))


def test_known_moments_are_met_and_even_motion_stays_even():
    settings = CoarseSettings(seconds=0.4)
    weights = times_between((0.4, 0.1, 0.25), settings)  # in any order
    knots = [-0.4, -0.1, -0.25, 0.0]
    times = np.linspace(-0.4, 0, settings.groups + 1)
    assert weights.shape == (49, 4) and abs(weights.sum(1) - 1).max() < 1e-12
    assert abs(weights @ knots - times).max() < 1e-12
    for column, knot in enumerate(knots):
        row = abs(times - knot).argmin()
        assert weights[row, column] == pytest.approx(1, abs=1e-9)


def test_no_two_vertices_of_a_colour_share_an_edge(sheet, body):
    edges = of(sheet, body).constraints.edges
    colour = torch.empty(len(sheet.template), dtype=torch.long)
    for number, rows in enumerate(colours_of(of(sheet, body).constraints)):
        colour[rows] = number
    real = edges.inverse > 0
    assert not (colour[edges.index] == colour[:, None])[real].any()


@pytest.mark.parametrize("lanes", [0, 8, 4])
def test_the_code_computes_what_torch_does(sheet, body, lanes, monkeypatch):
    """Over few steps: later, rounding grows with every fold."""
    if lanes:
        monkeypatch.setattr("scale_backend.cpu.llvm_jit.vector_lanes", lambda: lanes)
    cloth = coarse_cloth(sheet, CoarseSettings(seconds=0.05), body, (0.05,))
    transforms = moments(body)[:, 2:]
    assert cloth.faller is not None and (not lanes or cloth.faller.blocks.lanes == lanes)
    shape = torch.linspace(-1, 1, 30).view(3, 10)
    for asked in (None, shape):
        expected = plain(cloth).displacements(transforms, DOWN.expand(3, 3), asked)
        fallen = cloth.displacements(transforms, DOWN.expand(3, 3), asked)
        assert expected.norm(dim=-1).max() > 5e-3
        assert (fallen - expected).abs().max() < 1e-4


def test_alone_and_in_company_it_falls_the_same(sheet, body):
    cloth, transforms = of(sheet, body), moments(body)
    together = cloth.displacements(transforms, DOWN.expand(3, 3))
    alone = torch.cat([cloth.displacements(t[None], DOWN) for t in transforms])
    assert torch.equal(together, alone)


def test_what_is_held_stays_and_free_cloth_falls_down(sheet, body):
    turned = torch.tensor([[0.0, 0.0, 1.0]])
    still = moments(body)[:1, -1:].expand(-1, 4, -1, -1, -1)
    for down in (DOWN, -DOWN, turned):
        fallen = of(sheet, body).displacements(still, down)[0]
        assert fallen[sheet.held == 1].abs().max() < 1e-6
    long = coarse_cloth(sheet, CoarseSettings(seconds=0.7), body, (0.2, 0.7))
    hung, upward = (long.displacements(still[:, :3], down)[0][-16:, 1].mean() for down in (DOWN, -DOWN))
    assert upward > hung + 0.1  # the hem of one who stands on the head


def test_cloth_keeps_its_length(sheet, body):
    cloth = of(sheet, body)
    transforms = moments(body)
    place = cloth.displacements(transforms, DOWN.expand(3, 3))
    targets = torch.einsum("vj,fjab->fvab", sheet.blend_weights, transforms[:, -1])
    rest = torch.nn.functional.pad(sheet.template, (0, 1), value=1.0)
    place = place + (targets @ rest[..., None])[..., 0]
    edges = cloth.constraints.edges
    ratio = ((place[:, edges.index] - place[:, :, None]).square().sum(-1) * edges.inverse)[:, edges.inverse > 0].sqrt()
    assert 0.9 < ratio.mean() < 1.05 and ratio.quantile(0.95) < 1.2


@pytest.mark.parametrize("speed", [30.0, 1e4])
def test_no_motion_makes_it_fly_away(sheet, body, speed):
    cloth = of(sheet, body, stretch=1.9, air=0.0)
    fallen = cloth.displacements(moments(body, speed=speed), 1e3 * DOWN.expand(3, 3))
    assert fallen.isfinite().all() and fallen.norm(dim=-1).max() <= FARTHEST * 1.001


def test_a_file_holds_it_and_says_so(tmp_path):
    window = Window(LAGS, gravity=True, coarse=True)
    garment = make_moving_garment(window)
    save_garment(tmp_path / "g.safetensors", garment)
    read = load_garment(tmp_path / "g.safetensors")
    assert read.format == 3 and read.window == window and read.coarse_settings == garment.coarse_settings
    assert read.coarse is not None and garment.coarse is not None
    for name, value in vars(garment.coarse).items():
        assert name == "correction" or torch.equal(getattr(read.coarse, name), value)
    assert read.coarse.correction is not None and garment.coarse.correction is not None
    for name, value in garment.coarse.correction.tensors().items():
        assert torch.allclose(read.coarse.correction.tensors()[name], value, atol=1e-2, rtol=1e-3)  # 16 bits


@pytest.mark.parametrize("change", [
    {"index": 96}, {"triangles": -1}, {"held": 2.0}, {"weights": 0.7}, {"blend_weights": -1.0}, {"template": 1e5},
])  # fmt: skip
def test_coarse_cloth_that_is_none_is_refused(tmp_path, change):
    garment = make_moving_garment(Window(LAGS, gravity=True, coarse=True))
    assert garment.coarse is not None
    ((name, value),) = change.items()
    tensor = getattr(garment.coarse, name).clone()
    tensor.view(-1)[0] = value
    save_garment(tmp_path / "g.safetensors", replace(garment, coarse=replace(garment.coarse, **{name: tensor})))
    with pytest.raises(GarmentError, match="coarse cloth"):
        load_garment(tmp_path / "g.safetensors")


@pytest.mark.parametrize(("name", "shape"), [
    ("first", (16, 30)), ("fabric", (16, 3)), ("last", (30, 16)), ("second", (8, 16)), ("last_bias", (0,)),
])  # fmt: skip
def test_a_correction_of_another_cloth_is_refused(tmp_path, name, shape):
    garment = make_moving_garment(Window(LAGS, gravity=True, coarse=True))
    assert garment.coarse is not None and garment.coarse.correction is not None
    other = replace(garment.coarse.correction, **{name: torch.zeros(shape)})
    save_garment(tmp_path / "g.safetensors", replace(garment, coarse=replace(garment.coarse, correction=other)))
    with pytest.raises(GarmentError, match=name):
        load_garment(tmp_path / "g.safetensors")


def test_a_correction_moves_no_further_than_it_may_and_differs_by_fabric(sheet, body):
    correction = random_correction(sheet, len(LAGS), fabrics=2)
    cloth = coarse_cloth(replace(sheet, correction=correction), CoarseSettings(seconds=LAGS[-1]), body, LAGS, fabrics=2)
    transforms, down = moments(body), DOWN.expand(3, 3)
    fallen = cloth.fallen(transforms, down)
    first, named, other = (each.displacements(transforms, down) for each in
                           (cloth, cloth.made_of((2.0, 0.0)), cloth.made_of((0.0, 1.0))))  # fmt: skip
    assert torch.equal(first, named) and (first - fallen).abs().max() > 1e-2 < (first - other).abs().max()
    wild = replace(correction, last=1e6 * correction.last)
    moved = wild(cloth.features(transforms, down, None, fallen), cloth.fabric)
    assert moved.norm(dim=-1).max() <= 0.3 * 1.001


@pytest.mark.parametrize("settings", [
    {"seconds": 1e9}, {"seconds": 0.0}, {"stretch": 2.5}, {"air": -1.0}, {"margin": 5}, {"speed": 3}, {"air": "thick"},
])  # fmt: skip
def test_settings_without_end_are_refused(tmp_path, settings):
    save_garment(tmp_path / "g.safetensors", make_moving_garment(Window(LAGS, gravity=True, coarse=True)))

    def change(described: dict) -> None:
        described["coarse"] |= settings

    path = rewritten(tmp_path / "g.safetensors", tmp_path / "h.safetensors", metadata=change)
    with pytest.raises(GarmentError):
        load_garment(path)


def test_decoded_cloth_swings_with_it_and_rests_without_motion():
    window = Window(LAGS, gravity=True, coarse=True)
    decoder = Decoder(make_moving_garment(window), load_body("neutral"))
    rotations, places = walk(12)
    chosen = [11, 8, 5, 2]
    past = rotations[None, chosen[1:]], places[None, chosen[1:]]
    now = rotations[None, 11], places[None, 11], None
    moving = decoder.decode(Poses(*now, *past))[0]
    half = decoder.decode(Poses(*now, *past), DecodeOptions(motion=0.5))[0]
    still = decoder.decode(Poses(*now, *past), DecodeOptions(motion=0))[0]
    assert torch.equal(still, decoder.decode(Poses(*now))[0])
    for one, other in ((moving, still), (half, still), (moving, half)):
        assert (one - other).norm(dim=-1).mean() > 5e-3


def test_code_is_made_once_for_a_kind_of_processor(sheet, body):
    assert compiled(4) is compiled(4)
    assert isinstance(of(sheet, body).faller, Faller)


def test_the_header_of_a_garment_without_it_says_nothing_of_it(tmp_path):
    save_garment(tmp_path / "g.safetensors", make_moving_garment(Window(LAGS, gravity=True)))
    read = load_garment(tmp_path / "g.safetensors")
    assert read.format == 2 and read.coarse is None and "coarse" not in json.dumps(read.metadata())
