"""Decoding with motion, gravity, fabrics and settling: each frame by itself, from its own window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scale_backend.decoding.decoder import Decoder, decode_world
from scale_backend.formats.errors import UserError
from scale_backend.formats.motion import matrices_from_axis_angle
from scale_backend.formats.poses import DecodeOptions, PoseError, Poses
from scale_backend.formats.window import Window, moments
from scale_backend.geometry.body import load_body
from scale_backend.machine.cores import Cores
from scale_backend.settling.constraints import sheet_constraints
from scale_backend.settling.sweeps import Settling
from tests.making import make_garment

WINDOW = Window((0.1, 0.4), gravity=True, shape=True)
QUICK = Settling(sweeps=6, smoothed=4, stretch=1.2, smooth=0.15)


@pytest.fixture(scope="module")
def body():
    return load_body("neutral")


@pytest.fixture(scope="module")
def garment():
    made = make_garment(inputs=WINDOW.channels, codes=2)
    with torch.no_grad():
        made.network.mlp.residual[-1].conv.weight.mul_(8)  # so that what the network sees shows in the cloth
    soft = replace(QUICK, stretch=0.8, smooth=0.5)
    return replace(made, window=WINDOW, fabrics=("cotton", "denim"), settling=(QUICK, soft))


@pytest.fixture(scope="module")
def decoder(garment, body):
    return Decoder(garment, body)


@pytest.fixture(scope="module")
def poses() -> Poses:
    """Ten frames of somebody who turns and walks, out of twenty."""
    random = np.random.default_rng(3)
    time = np.arange(20)[:, None, None] / 30
    pose = 0.3 * np.sin(random.uniform(0, 6, (24, 3)) + random.uniform(1, 4, (24, 3)) * time)
    rotations = matrices_from_axis_angle(pose).astype(np.float32)
    places = np.sin(time[:, 0] * [1.0, 2.0, 3.0]).astype(np.float32)
    past = moments(rotations, places, time[:, 0, 0], WINDOW.lags, np.arange(10, 20))
    return Poses(rotations[10:], places[10:], random.normal(0, 1, 10).astype(np.float32), *past)


def decode(decoder, poses, **options):
    return decoder.decode(poses, DecodeOptions(**options))[0]


def test_a_frame_is_the_same_to_the_bit_in_any_company(decoder, garment, body, poses):
    together = decode(decoder, poses)
    for frame in (0, 4, 9):
        assert torch.equal(together[frame], decode(decoder, poses[frame : frame + 1])[0])
    assert torch.equal(together[3:8], decode(decoder, poses[3:8]))
    two = Decoder(garment, body, cores=Cores(2))
    assert torch.equal(together[:4], decode(two, poses[:4])) and torch.equal(together[:1], decode(two, poses[:1]))


def test_what_moved_is_felt_and_can_fade(decoder, poses):
    moved, half, still = (decode(decoder, poses, motion=motion) for motion in (1.0, 0.5, 0.0))
    assert (moved - still).abs().max() > 2e-5 and (half - still).abs().max() > 2e-5
    stood = replace(poses, past_rotations=None, past_translation=None)
    assert torch.equal(still, decode(decoder, stood))
    turns, places = (np.stack([array] * 2, 1) for array in (poses.rotations, poses.translation))
    again = replace(stood, past_rotations=turns, past_translation=places)
    assert (decode(decoder, again) - still).abs().max() < 1e-4


def test_cloth_falls_where_down_is(decoder, poses):
    plain = decode(decoder, poses)
    down = np.broadcast_to(np.float32([0, -1, 0]), (10, 3))
    assert torch.equal(plain, decode(decoder, replace(poses, down=down)))
    assert (plain - decode(decoder, replace(poses, down=-down))).abs().max() > 2e-5


def test_fabrics_and_what_lies_between(decoder, poses):
    weights = (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)
    cotton, denim, between = (decode(decoder, poses, fabrics=each) for each in weights)
    assert (decode(decoder, poses) - cotton).abs().max() < 1e-5
    assert (cotton - denim).abs().max() > 2e-5
    assert torch.equal(between, decode(decoder, poses, fabrics=(1.0, 1.0))) and not torch.equal(between, cotton)
    for wrong in ((1.0,), (0.0, 0.0), (-1.0, 2.0)):
        with pytest.raises(UserError, match="cotton, denim"):
            decode(decoder, poses, fabrics=wrong)


def test_cloth_settles_and_finer_meshes_follow(decoder, poses):
    count = len(decoder.model.carrier.template)
    answer, settled = decode(decoder, poses, settle=False), decode(decoder, poses)
    rest = decoder.model.rest_of(torch.from_numpy(poses.shape)[None])[0]
    edges = sheet_constraints(decoder.model.carrier.triangles, rest).edges

    def off(points):  # mean change of the edges' lengths
        squared = (points[:, edges.index] - points[:, :, None]).square().sum(-1) * edges.inverse
        return float((squared[:, edges.inverse > 0].sqrt() - 1).abs().mean())

    assert off(settled) < 0.8 * off(answer)
    assert (settled - answer).norm(dim=-1).max() < QUICK.reach + 0.01
    fine = decode(decoder, poses[:2], surface="mesh-x4", push_out=False)
    coarse = decode(decoder, poses[:2], push_out=False)
    assert fine.shape[1] > 3 * count and (fine[:, :count] - coarse).abs().max() < 1e-4


def test_settled_cloth_is_out_of_the_body(decoder, poses):
    rotations = poses.rotations[:1].copy()
    rotations[:, 1:3] = matrices_from_axis_angle(np.array([-1.6, 0.0, 0.0]))  # both thighs lifted
    near = replace(poses[:1], rotations=rotations)
    free, out = decode(decoder, near, push_out=False), decode(decoder, near)
    assert (free - out).abs().max() > 1e-4


def test_a_window_of_another_length_is_refused(decoder, poses):
    with pytest.raises(PoseError, match="knows 2 earlier moments"):
        decode(decoder, replace(poses, past_rotations=poses.past_rotations[:, :1],
                                past_translation=poses.past_translation[:, :1]))  # fmt: skip


def test_a_garment_of_the_pose_alone_needs_no_window(body, poses):
    plain = Decoder(make_garment(), body)
    stood = replace(poses, past_rotations=None, past_translation=None)
    assert torch.equal(decode(plain, poses), decode(plain, stood))


def test_poses_that_are_none(poses):
    for wrong, sentence in (
        ({"past_translation": None}, "needed both"),
        ({"past_rotations": poses.past_rotations[:3]}, "Past rotations have the shape"),
        ({"past_translation": poses.past_translation[:, :1]}, "Past translations have the shape"),
        ({"down": poses.translation[:3]}, "Directions of down"),
    ):
        with pytest.raises(PoseError, match=sentence):
            replace(poses, **wrong).check()
    assert Poses.of(poses.arrays())[2:4].past_rotations.shape == (2, 2, 24, 3, 3)


def test_nothing_is_read_back_from_a_gpu(garment, body):
    """On the meta device there is nothing to read: a decode that asks for a value fails."""
    decoder = Decoder(garment, body, "meta")
    prepared = decoder.prepare("mesh", "clothes")
    sizes = (2, 24, 3, 3), (2, 3), (2, 10), (2, 2, 24, 3, 3), (2, 2, 3), (2, 3)
    poses = Poses(*(torch.empty(size, device="meta") for size in sizes))
    points, _ = decode_world(decoder.model, prepared, DecodeOptions(), poses)
    assert points.shape == (2, len(decoder.topology().patch), 3)
