"""A window of moments: read out of a motion, seen by the network, kept in the garment file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale_backend.formats.garment_header import GarmentError, garment_metadata
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.window import Window, moments
from scale_backend.geometry.body import load_body
from scale_backend.geometry.carrier import pose_carrier
from scale_backend.geometry.positional_map import rasterise, surface_points
from scale_backend.geometry.window_maps import MOTION_SCALE, Past, pixel_skin, window_maps
from scale_backend.inference.folding import fold
from scale_backend.model.garment import load_garment, save_garment
from scale_backend.model.network import NetworkSettings, ScaleNetwork
from scale_backend.settling.sweeps import Settling
from tests.making import make_garment, skirt_carrier

WINDOW = Window((0.1, 0.4), gravity=True)


@pytest.fixture(scope="module")
def ground():
    body = load_body("neutral")
    carrier = skirt_carrier(body)
    carrier = replace(carrier, uv=carrier.uv * 0.9)  # so that there is some background
    layout = rasterise(carrier.uv, carrier.uv_triangles, 32)
    corners = carrier.triangles[layout.triangle_index.clamp_min(0).flatten()]
    weights = layout.barycentrics.flatten(0, 1)
    skin = pixel_skin(carrier.template[None], carrier.blend_weights, corners, weights)
    return body, carrier, corners, weights, skin


def walk(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth random rotations [F, 24, 3, 3] and places [F, 3]."""
    random = np.random.default_rng(seed)
    phase, speed = random.uniform(0, 6, (24, 3)), random.uniform(1, 4, (24, 3))
    time = np.arange(frames)[:, None, None] / 30
    rotations = matrices_from_axis_angle(0.4 * np.sin(phase + speed * time)).astype(np.float32)
    return rotations, (np.sin(time[:, 0] * [1.0, 2.0, 3.0]) * 0.3).astype(np.float32)


def seen(ground, rotations, translation, past, window=WINDOW, **options):
    body, carrier, corners, weights, skin = ground
    local = rotations.clone()
    local[:, 0] = torch.eye(3)
    posed = pose_carrier(carrier, body, local, -body.mean_joints[:1].expand(len(local), 3))
    now = surface_points(posed, corners, weights)
    return window_maps(now, rotations, translation, past, skin, body, window, **options), now


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(a, np.float32)) for a in arrays]


def test_moments_on_frames_are_the_frames():
    rotations, places = walk(40)
    turns, moved = moments(rotations, places, np.arange(40) / 30, (3 / 30, 12 / 30))
    assert turns.shape == (40, 2, 24, 3, 3) and moved.shape == (40, 2, 3)
    assert np.array_equal(turns[20, 0], rotations[17]) and np.array_equal(moved[20, 1], places[8])
    assert np.array_equal(turns[5, 1], rotations[0])  # before the first frame all stood still


def test_moments_between_frames_are_rotations_on_the_way():
    rotations, places = walk(40)
    turns, moved = moments(rotations, places, np.arange(40) / 24, (0.1,))
    assert np.allclose(turns @ np.swapaxes(turns, -1, -2), np.eye(3), atol=1e-5)
    steps = np.linalg.norm(rotations[1:] - rotations[:-1], axis=(-1, -2)).max()
    assert np.linalg.norm(turns[20, 0] - rotations[18], axis=(-1, -2)).max() < steps
    assert np.allclose(moved[20, 0], places[17] + (places[18] - places[17]) * 0.6, atol=1e-6)


def test_a_window_is_the_same_in_any_part_of_a_motion():
    rotations, places = walk(60)
    times, lags = np.arange(60) / 24, (0.07, 0.33)
    whole = moments(rotations, places, times, lags)
    part = moments(rotations[20:50], places[20:50], times[20:50], lags, np.arange(15, 25))
    assert all(np.array_equal(w[35:45], p) for w, p in zip(whole, part, strict=True))


def test_a_single_pose_has_stood_still():
    rotations, places = walk(1)
    turns, moved = moments(rotations, places, np.zeros(1), (0.1, 0.5))
    assert np.array_equal(turns[0, 1], rotations[0]) and np.array_equal(moved[0, 0], places[0])


def test_a_map_is_one_product(ground):
    (rotations,) = tensors(walk(3)[0])
    still = Past(rotations[:, None], torch.zeros(3, 1, 3))
    maps, now = seen(ground, rotations, torch.zeros(3, 3), still, Window((0.1,)))
    assert now.abs().max() > 0.3
    assert maps[..., 3:].abs().max() < 1e-5  # nothing moved: the product is the map


def test_the_world_may_turn_and_move_about_the_vertical(ground):
    rotations, places = tensors(*walk(20))
    past = Past(rotations[5:15, None].repeat(1, 2, 1, 1, 1), places[5:15, None].repeat(1, 2, 1))
    maps, _ = seen(ground, rotations[10:], places[10:], past)
    assert maps.shape[-1] == WINDOW.channels == 12 and maps[..., 3:9].abs().max() > 0.05

    (turn,) = tensors(matrices_from_axis_angle(np.array([[0.0, 1.3, 0.0]])))
    shift = torch.tensor([3.0, -1.0, 2.0])
    pelvis = ground[0].mean_joints[0]

    def moved(rotations, places):
        turned = rotations.clone()
        turned[..., 0, :, :] = turn @ rotations[..., 0, :, :]
        return turned, (places + pelvis) @ turn[0].T + shift - pelvis

    other = Past(*moved(past.rotations, past.translation))
    again, _ = seen(ground, *moved(rotations[10:], places[10:]), other)
    assert (again - maps).abs().max() < 1e-5


def test_earlier_maps_are_seen_from_the_root_of_now(ground):
    body, carrier, corners, weights, _ = ground
    rotations, places = tensors(*walk(20))
    past = Past(rotations[10:11, None], places[10:11, None])
    maps, now = seen(ground, rotations[15:16], places[15:16], past, Window((1 / 6,)))
    world = surface_points(pose_carrier(carrier, body, rotations[10:11], places[10:11]), corners, weights)
    pelvis = body.mean_joints[0]
    there = (world - pelvis - places[15]) @ rotations[15, 0]
    valid = weights.sum(1) > 0
    assert ((there - now) * MOTION_SCALE - maps[..., 3:])[:, valid].abs().max() < 1e-5
    assert maps[:, ~valid].abs().max() == 0


def test_motion_fades_and_gravity_turns(ground):
    rotations, places = tensors(*walk(20))
    past = Past(rotations[5:15, None].repeat(1, 2, 1, 1, 1), places[5:15, None].repeat(1, 2, 1))
    full, _ = seen(ground, rotations[10:], places[10:], past)
    half, _ = seen(ground, rotations[10:], places[10:], past, motion=0.5)
    rest, _ = seen(ground, rotations[10:], places[10:], None)
    assert torch.allclose(half[..., 3:9], full[..., 3:9] / 2, atol=1e-6) and rest[..., 3:9].abs().max() == 0
    down = rotations[10:, 0].mT @ torch.tensor([0.0, -1.0, 0.0])
    assert torch.allclose(full[:, 7, 9:], down, atol=1e-6)


def moving_garment():
    garment = make_garment(inputs=WINDOW.channels, codes=2)
    fabrics = {"fabrics": ("cotton", "denim"), "settling": (Settling(), Settling(stretch=0.9, smooth=0.4))}
    return replace(garment, window=WINDOW, **fabrics)


def test_a_garment_file_keeps_what_it_was_trained_on(tmp_path):
    garment = moving_garment()
    save_garment(tmp_path / "dress.safetensors", garment)
    read = load_garment(tmp_path / "dress.safetensors")
    assert (read.window, read.fabrics, read.settling) == (garment.window, garment.fabrics, garment.settling)
    assert garment_metadata(tmp_path / "dress.safetensors")["format"] == 2
    save_garment(tmp_path / "old.safetensors", make_garment())
    summary = garment_metadata(tmp_path / "old.safetensors")
    assert summary["format"] == 1 and "window" not in summary


@pytest.mark.parametrize("wrong", [{"window": Window((0.1,))}, {"fabrics": ("cotton",)}, {"settling": (Settling(),)}])
def test_a_file_that_contradicts_its_network_is_refused(tmp_path, wrong):
    save_garment(tmp_path / "wrong.safetensors", replace(moving_garment(), **wrong))
    with pytest.raises(GarmentError, match="does not hold a usable garment"):
        load_garment(tmp_path / "wrong.safetensors")


def test_fabrics_blend_by_their_codes():
    network = moving_garment().network
    torch.manual_seed(0)
    maps = torch.randn(2, WINDOW.channels, 32, 32)

    def features(*weights):
        return fold(network, weights).pose_features(maps)

    first = network.pose_features(maps, torch.tensor([0, 1]))
    assert torch.allclose(features(1, 0)[0], first[0], atol=1e-4)
    assert torch.allclose(features(0, 1)[1], first[1], atol=1e-4)
    assert (features(1, 0) - features(0, 1)).abs().max() > 1e-3
    middle = network.unet(maps, network.codes().mean(0, keepdim=True))
    assert torch.allclose(features(1, 1), middle, atol=1e-4)


def test_lags_are_seconds():
    with pytest.raises(ValueError, match="Lags are seconds"):
        Window((0.0, 0.1))
    assert ScaleNetwork(NetworkSettings(inputs=Window((0.5,)).channels)).unet.downs[0].conv.weight.shape[1] == 6
