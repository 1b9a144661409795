"""Motions that are sampled: on the ground, no faster than people, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from training.simulate.held_out import (
    BLEND,
    HELD,
    HELD_OUT,
    HOLDING,
    TURNS,
    held_out_motion,
    with_other_past,
    with_rest,
)
from training.simulate.motion import Key, Motion, interpolate, joined, led_in
from training.simulate.motion_kinds import MOTION_KINDS, ORDER, sample
from training.simulate.poses import ALL_LIMITS
from training.simulate.skinning import SkinnedBody, posed_joints, skin_body


def lowest(body: SkinnedBody, motion: Motion) -> np.ndarray:
    """Height [F] of the lowest vertex."""
    frames = zip(motion.pose, motion.translation, strict=True)
    return np.array([(skin_body(body, pose) + body.joints[0] + place)[:, 1].min() for pose, place in frames])


@pytest.mark.parametrize("kind", MOTION_KINDS)
def test_motions_touch_the_ground_and_are_no_faster_than_people(skinned_body, kind):
    motion = sample(skinned_body, kind, np.random.default_rng(5), 3.0)
    assert len(motion) == 90
    joints = np.stack([posed_joints(skinned_body, pose)[1] for pose in motion.pose])
    assert 30 * np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() < 9  # m/s against the pelvis
    limits = ALL_LIMITS[1:]
    assert (motion.pose[:, 1:] >= limits[..., 0] - 1e-9).all()
    assert (motion.pose[:, 1:] <= limits[..., 1] + 1e-9).all()
    if kind != "tumble":  # in the air
        height = lowest(skinned_body, motion[::6])
        assert height.min() > -0.05
        assert np.median(np.abs(height)) < 0.02


def test_a_jump_falls_as_bodies_do(skinned_body):
    motion = sample(skinned_body, "jump", np.random.default_rng(5), 3.0)
    flying = lowest(skinned_body, motion) > 0.05
    inside = flying[2:] & flying[1:-1] & flying[:-2]
    fall = 900 * np.diff(motion.translation[:, 1], 2)[inside]
    assert inside.any()
    np.testing.assert_allclose(fall, -9.81, atol=0.1)


def test_a_seed_gives_the_same_motion_and_others_others(skinned_body):
    first, again, other = (sample(skinned_body, "wander", np.random.default_rng(s), 1.0) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.pose, again.pose)
    assert np.abs(first.pose - other.pose).max() > 0.1
    assert set(ORDER) == set(MOTION_KINDS)


def test_interpolation_meets_its_keys_and_turns_the_short_way():
    poses = np.random.default_rng(1).normal(0, 0.3, (3, 24, 3))
    poses[:, 0] = 0
    roots = [Rotation.from_rotvec([0, angle, 0]) for angle in (3.0, -3.0, -2.0)]
    keys = [Key(t, pose, root) for t, pose, root in zip((0.0, 0.5, 1.2), poses, roots, strict=True)]
    at_keys = interpolate(keys, np.array([0.0, 0.5, 1.2]))
    np.testing.assert_allclose(at_keys[:, 1:], poses[:, 1:], atol=1e-12)
    between = Rotation.from_rotvec(interpolate(keys, np.linspace(0, 1.2, 60))[:, 0])
    assert (between[1:] * between[:-1].inv()).magnitude().sum() == pytest.approx(2 * np.pi - 6 + 1, abs=0.05)
    np.testing.assert_allclose(between[-1].as_rotvec(), [0, -2.0, 0], atol=1e-9)


def test_a_lead_begins_upright_in_the_t_pose(skinned_body):
    motion = sample(skinned_body, "get-up", np.random.default_rng(3), 1.0)
    whole = led_in(motion, 20, 5)
    assert len(whole) == 55
    np.testing.assert_allclose(whole.pose[0, 1:], 0)
    np.testing.assert_allclose(Rotation.from_rotvec(whole.pose[0, 0]).apply([0, 1, 0]), [0, 1, 0], atol=1e-9)
    np.testing.assert_allclose(whole.pose[20:26], np.broadcast_to(motion.pose[0], (6, 24, 3)), atol=1e-6)


def test_another_past_gives_way_to_the_same_motion(skinned_body):
    motion = held_out_motion(skinned_body, "jump")
    (rested, start), (other, begins) = with_rest(motion), with_other_past(skinned_body, "jump", motion)
    np.testing.assert_allclose(rested.pose[start:], motion.pose)
    np.testing.assert_allclose(other.pose[begins + BLEND :], motion.pose[BLEND:])
    np.testing.assert_allclose(other.translation[begins + BLEND :], motion.translation[BLEND:])
    assert np.abs(other.pose[begins - 10] - motion.pose[0]).max() > 0.3
    step = np.linalg.norm(np.diff(other.translation, axis=0), axis=1)
    assert step.max() < 0.2  # metres a frame: the way over is no leap


def test_pasts_line_up_in_place_and_heading():
    poses = np.zeros((30, 24, 3))
    poses[:, 0, 1] = 1.0
    past = Motion(poses, np.cumsum(np.full((30, 3), 0.01), 0))
    motion = Motion(np.zeros((20, 24, 3)), np.zeros((20, 3)))
    whole = joined(past, motion, 10)
    assert len(whole) == 40
    np.testing.assert_allclose(whole.pose, 0, atol=1e-9)  # turned to face the same way
    np.testing.assert_allclose(whole.translation[30:], 0)


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_motions_stand_on_the_ground(skinned_body, name):
    motion = held_out_motion(skinned_body, name)
    assert 60 <= len(motion) <= 120
    assert motion.pose.shape[1:] == (24, 3)
    assert Rotation.from_rotvec(motion.pose[0, 0]).apply([0, 1, 0])[1] > 0.9  # it begins upright
    assert np.median(np.abs(lowest(skinned_body, motion[::10]))) < 0.03


@pytest.mark.parametrize("name", TURNS)
def test_turned_dances_are_the_dance_with_gravity_from_elsewhere(skinned_body, name):
    motion, upright = held_out_motion(skinned_body, name), held_out_motion(skinned_body, "dance")[:60]
    np.testing.assert_allclose(motion.pose[:, 1:], upright.pose[:, 1:])
    up = Rotation.from_rotvec(motion.pose[:, 0]).apply([0, 1, 0])
    assert (up[:, 1] < 0.5).all() and len(motion) == len(upright)
    steps = [np.linalg.norm(np.diff(each.translation, axis=0), axis=1) for each in (motion, upright)]
    np.testing.assert_allclose(*steps, atol=1e-9)


def test_a_held_pose_is_reached_without_a_jerk(skinned_body):
    motion = held_out_motion(skinned_body, HELD)
    assert np.ptp(motion.pose[-HOLDING:], axis=0).max() < 1e-9
    turns = Rotation.from_rotvec(motion.pose[:, 0])
    speed = (turns[1:] * turns[:-1].inv()).magnitude()
    assert speed[0] > 0.01 and np.abs(np.diff(speed)).max() < 0.5 * speed.max()


@pytest.mark.parametrize("kind", ["walk", "dance", "wander"])
def test_nobody_is_carried_along_by_jerks(skinned_body, kind):
    """No push along the floor of more than a third of gravity on average; the path of a foot alone has 8 m/s²."""
    motion = sample(skinned_body, kind, np.random.default_rng(5), 4.0)
    along = 900 * np.linalg.norm(np.diff(motion.translation[:, [0, 2]], 2, axis=0), axis=1)
    assert along.mean() < 9.81 / 3
