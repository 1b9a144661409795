"""Motions that results are measured on: a walk and a dance of formulas, and four that are sampled from seeds of their
own, which training never draws. For the two-pasts limit each can be had with another past.

Beside them: the walk on other bodies, the dance in the air with gravity from elsewhere, and a pose that is held.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from scale_backend.formats.assets import find_motion
from scale_backend.formats.motions import load_motion

from .motion import Array, Motion, joined, led_in
from .motion_kinds import sample
from .skinning import SkinnedBody

SEED = 990_000  # and what follows it
RESTING = 30  # frames in the first pose, before what is measured
PAST = 45  # frames of the other past
BLEND = 15  # frames in which it gives way
SHIPPED = {"walk": slice(0, 72), "dance": slice(150, 260)}  # frames of the motions in assets; the dance's hold its turn
TURNED_FRAMES = 60
LIFTED = (0.0, 1.0, 0.0)  # metres
SAMPLED = {"jump": 90, "sit": 90, "lie": 100, "cartwheel": 100}  # frames
HELD_OUT = (*SHIPPED, *SAMPLED)
SHAPES = {"walk-narrow": -2.0, "walk-wide": 2.0}  # of the body's first shape component, standard deviations
TURNS = {"dance-on-its-side": 0.5 * np.pi, "dance-upside-down": np.pi}  # radians about the line of sight
HELD = "dance-held"  # its beginning, slowing down to a pose that is held
SLOWING, HOLDING = 45, 60  # frames
BESIDE = (*SHAPES, *TURNS, HELD)
TWO_PASTS = (*HELD_OUT, HELD)  # those with another past


def held_out_motion(body: SkinnedBody, name: str) -> Motion:
    """One of `HELD_OUT` or `BESIDE`, without a past. Raises KeyError for another name."""
    if name in SHAPES:
        return held_out_motion(body, "walk")
    if name in TURNS:
        return turned(held_out_motion(body, "dance")[:TURNED_FRAMES], TURNS[name])
    if name == HELD:
        return held(held_out_motion(body, "dance"))
    if name in SAMPLED:
        seed = SEED + HELD_OUT.index(name)
        return sample(body, name, np.random.default_rng(seed), SAMPLED[name] / 30)
    shipped = load_motion(find_motion(name))
    poses = np.zeros((len(shipped.rotations), 24, 3))
    shared = min(22, shipped.rotations.shape[1])  # hands touch no cloth
    poses[:, :shared] = shipped.rotations[:, :shared]
    upright = Rotation.from_rotvec([-0.5 * np.pi, 0, 0])  # Z up, as AMASS has it, to Y up
    poses[:, 0] = (upright * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
    pelvis = upright.apply(body.joints[0] + shipped.translation)
    return Motion(poses, pelvis - body.joints[0])[SHIPPED[name]]


def held_out_betas(name: str) -> Array:
    """The body's shape coefficients [10] in a held-out motion."""
    return np.array([SHAPES.get(name, 0.0), *np.zeros(9)])


def turned(motion: Motion, angle: float) -> Motion:
    """The motion turned about the body's own depth and lifted into the air; gravity stays where it is."""
    turn = Rotation.from_rotvec([0, 0, angle])
    poses = motion.pose.copy()
    poses[:, 0] = (turn * Rotation.from_rotvec(motion.pose[:, 0])).as_rotvec()
    return Motion(poses, turn.apply(motion.translation - motion.translation[0]) + LIFTED)


def held(motion: Motion) -> Motion:
    """Its beginning slowing down, and the pose at which it comes to stand."""
    share = np.arange(SLOWING + HOLDING).clip(0, SLOWING) / SLOWING
    at = 0.5 * SLOWING * (2 * share - share**2)  # frames; at its own speed to begin with
    before = np.floor(at).astype(int)
    part = (at - before)[:, None]
    poses = motion.pose[before] * (1 - part[..., None]) + motion.pose[before + 1] * part[..., None]
    every = np.arange(len(motion))
    poses[:, 0] = Slerp(every, Rotation.from_rotvec(motion.pose[:, 0]))(at).as_rotvec()
    return Motion(poses, motion.translation[before] * (1 - part) + motion.translation[before + 1] * part)


def with_rest(motion: Motion) -> tuple[Motion, int]:
    """The motion after a second at rest in its first pose, and the frame at which it begins."""
    whole = led_in(motion, resting=RESTING)
    return whole, len(whole) - len(motion)


def with_other_past(body: SkinnedBody, name: str, motion: Motion) -> tuple[Motion, int]:
    """The motion after something else, which gives way within `BLEND` frames, and the frame at which it begins. A
    second after those the two pasts lie farther back than a network sees."""
    seed = [SEED, TWO_PASTS.index(name)]
    past = sample(body, "wander", np.random.default_rng(seed), (PAST + BLEND) / 30)
    whole = led_in(joined(past, motion, BLEND))
    return whole, len(whole) - len(motion)
