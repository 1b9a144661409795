"""Motions that results are measured on: a walk and a dance of formulas, and four that are sampled from seeds of their
own, which training never draws. For the two-pasts limit each can be had with another past."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from scale_backend.formats.assets import find_motion
from scale_backend.formats.motions import load_motion

from .motion import Motion, joined, led_in
from .motion_kinds import sample
from .skinning import SkinnedBody

SEED = 990_000  # and what follows it
RESTING = 30  # frames in the first pose, before what is measured
PAST = 45  # frames of the other past
BLEND = 15  # frames in which it gives way
SHIPPED = {"walk": slice(0, 72), "dance": slice(150, 260)}  # frames of the motions in assets; the dance's hold its turn
SAMPLED = {"jump": 90, "sit": 90, "lie": 100, "cartwheel": 100}  # frames
HELD_OUT = (*SHIPPED, *SAMPLED)


def held_out_motion(body: SkinnedBody, name: str) -> Motion:
    """One of `HELD_OUT`, without a past. Raises KeyError for another name."""
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


def with_rest(motion: Motion) -> tuple[Motion, int]:
    """The motion after a second at rest in its first pose, and the frame at which it begins."""
    whole = led_in(motion, resting=RESTING)
    return whole, len(whole) - len(motion)


def with_other_past(body: SkinnedBody, name: str, motion: Motion) -> tuple[Motion, int]:
    """The motion after something else, which gives way within `BLEND` frames, and the frame at which it begins. A
    second after those the two pasts lie farther back than a network sees."""
    seed = [SEED, HELD_OUT.index(name)]
    past = sample(body, "wander", np.random.default_rng(seed), (PAST + BLEND) / 30)
    whole = led_in(joined(past, motion, BLEND))
    return whole, len(whole) - len(motion)
