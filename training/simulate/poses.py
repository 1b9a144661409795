"""Joint-limited random poses for simulation. numpy only; SMPL's 24 joints, axis-angle, the root at rest.

Signs: a positive rotation about x bends a knee and leans the spine forward, about y turns left, about z tilts to the
right hand; left and right limbs mirror y and z. So a hip flexes with -x, spreads with +z left and -z right; an arm
hangs down with -z left and +z right, and reaches forward with -y left and +y right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Pose = NDArray[np.float64]  # [24, 3]

JOINTS = (
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
)
INDEX = {name: number for number, name in enumerate(JOINTS)}
SIDES = (("left", 1.0), ("right", -1.0))
KINDS = ("walk", "dance", "between", "step", "reach", "dance", "squat", "walk", "between", "stand", "sit", "step")

# Limits in radians per joint as ((x low, x high), (y ..), (z ..)) of the left side; the right side mirrors y and z.
LIMITS = {
    "hip": ((-1.75, 0.6), (-0.5, 0.5), (-0.2, 0.75)),
    "knee": ((0.0, 2.0), (0.0, 0.0), (0.0, 0.0)),
    "ankle": ((-0.5, 0.5), (-0.2, 0.2), (-0.2, 0.2)),
    "spine": ((-0.25, 0.35), (-0.35, 0.35), (-0.25, 0.25)),
    "collar": ((-0.15, 0.15), (-0.25, 0.25), (-0.25, 0.3)),
    "shoulder": ((-0.9, 0.9), (-1.5, 0.7), (-1.2, 1.25)),
    "elbow": ((-0.5, 0.5), (-2.2, 0.0), (-0.1, 0.1)),
    "neck": ((-0.4, 0.4), (-0.6, 0.6), (-0.3, 0.3)),
}


def limits_of(joint: str) -> NDArray[np.float64]:
    """Lowest and highest axis-angle components [3, 2] of a joint; zero for the root, feet and hands."""
    side, _, part = joint.rpartition("_")
    kind = "spine" if joint.startswith("spine") else "neck" if joint == "head" else part
    bounds = np.array(LIMITS.get(kind, np.zeros((3, 2))), float)
    if side == "right":
        bounds[1:] = -bounds[1:, ::-1]
    return bounds


ALL_LIMITS = np.stack([limits_of(name) for name in JOINTS])  # [24, 3, 2]


def within_limits(pose: Pose) -> Pose:
    return np.clip(pose, ALL_LIMITS[..., 0], ALL_LIMITS[..., 1])


def set_leg(pose: Pose, side: str, flex: float, spread: float, turn: float, knee: float, ankle: float = 0.0) -> None:
    mirror = 1.0 if side == "left" else -1.0
    pose[INDEX[f"{side}_hip"]] = -flex, mirror * turn, mirror * spread
    pose[INDEX[f"{side}_knee"]] = knee, 0, 0
    pose[INDEX[f"{side}_ankle"]] = ankle, 0, 0


def set_arm(pose: Pose, side: str, lift: float, forward: float, twist: float, bend: float) -> None:
    """Lift 0 is out to the side, -1.2 hanging, 1.2 up."""
    mirror = 1.0 if side == "left" else -1.0
    pose[INDEX[f"{side}_shoulder"]] = twist, -mirror * forward, mirror * lift
    pose[INDEX[f"{side}_elbow"]] = 0, -mirror * bend, 0


def random_pose(random: np.random.Generator, kind: str) -> Pose:
    """One pose of a kind, inside the joint limits; whether it is possible says `penetrates`."""
    if kind == "between":
        first, second = (random_pose(random, str(random.choice(KINDS[:2] + KINDS[3:8]))) for _ in range(2))
        share = random.uniform(0.25, 0.75)
        return within_limits(first * (1 - share) + second * share)
    pose = np.zeros((24, 3))
    _random_legs(random, pose, kind)
    _random_spine(random, pose, kind)
    _random_arms(random, pose, kind)
    return within_limits(pose)


def _random_legs(random: np.random.Generator, pose: Pose, kind: str) -> None:
    uniform, normal = random.uniform, random.normal
    ankles = uniform(-0.25, 0.25, 2)
    if kind == "walk":
        phase, stride = uniform(0, 2 * np.pi), uniform(0.2, 0.7)
        for (side, _), angle, ankle in zip(SIDES, (phase, phase + np.pi), ankles, strict=True):
            knee = max(0.05, 0.6 * stride * (1 + np.cos(angle + 0.6)) + normal(0, 0.08))
            set_leg(pose, side, stride * np.sin(angle) + 0.05, uniform(-0.04, 0.14), normal(0, 0.1), knee, ankle)
    elif kind == "step":
        forward, chosen = uniform(0.3, 1.4), int(random.integers(2))
        for number, ((side, _), ankle) in enumerate(zip(SIDES, ankles, strict=True)):
            if number == chosen:
                set_leg(pose, side, forward, uniform(-0.05, 0.4), normal(0, 0.15), uniform(0.05, 1.5), ankle)
            else:
                set_leg(pose, side, uniform(-0.5, 0.15), uniform(-0.05, 0.35), normal(0, 0.12), uniform(0, 0.8), ankle)
    elif kind == "sit":
        flex, knee = uniform(1.15, 1.65), uniform(0.9, 1.7)
        for (side, _), ankle in zip(SIDES, ankles, strict=True):
            set_leg(
                pose, side, flex + normal(0, 0.1), uniform(0.0, 0.35), normal(0, 0.1), knee + normal(0, 0.15), ankle
            )
    elif kind == "squat":
        flex, kneeling = uniform(0.3, 1.5), int(random.integers(4))
        for number, ((side, _), ankle) in enumerate(zip(SIDES, ankles, strict=True)):
            if number == kneeling:
                set_leg(pose, side, uniform(-0.2, 0.3), uniform(0, 0.25), normal(0, 0.1), uniform(1.2, 1.8), ankle)
            else:
                knee = max(0.0, 1.25 * flex + normal(0, 0.2))
                set_leg(pose, side, flex + normal(0, 0.12), uniform(0.02, 0.55), normal(0, 0.18), knee, ankle)
    else:
        wide = 0.45 if kind == "dance" else 0.22
        swing = 0.55 if kind == "dance" else 0.15
        for (side, _), ankle in zip(SIDES, ankles, strict=True):
            flex = uniform(-0.35, 1.0) * swing + (0.12 if kind == "dance" else 0.0)
            knee = max(0.0, flex * uniform(0.6, 1.8) + uniform(0, 0.35))
            set_leg(pose, side, flex, uniform(-0.12, wide), normal(0, 0.16), knee, ankle)


def _random_spine(random: np.random.Generator, pose: Pose, kind: str) -> None:
    lively = 1.0 if kind in ("dance", "reach") else 0.6
    lean, twist, side = random.uniform(-0.10, 0.22), random.uniform(-0.26, 0.26), random.uniform(-0.17, 0.17)
    for joint in ("spine1", "spine2", "spine3"):
        pose[INDEX[joint]] = lively * (np.array([lean, twist, side]) + random.normal(0, 0.04, 3))
    for joint in ("neck", "head"):
        pose[INDEX[joint]] = random.normal(0, (0.12, 0.20, 0.10))


def _random_arms(random: np.random.Generator, pose: Pose, kind: str) -> None:
    low, high = {"walk": (-1.15, -0.2), "reach": (-0.6, 1.2), "dance": (-0.95, 1.1)}.get(kind, (-1.1, 0.4))
    for side, mirror in SIDES:
        forward = random.uniform(-0.5, 1.3) if kind != "walk" else random.uniform(-0.6, 0.6)
        lift = random.uniform(low, high)
        set_arm(pose, side, lift, forward, random.normal(0, 0.25), random.uniform(0, 1.9))
        pose[INDEX[f"{side}_collar"]] = (
            0,
            random.normal(0, 0.05),
            mirror * (0.15 * max(lift, 0) + random.normal(0, 0.06)),
        )


# Limbs as capsules: from joint, to joint, share of that way (hands reach on beyond the wrist), radius in metres.
CAPSULES = {
    "torso": ("pelvis", "spine3", 1.0, 0.115),
    "chest": ("spine3", "neck", 1.0, 0.10),
    "skull": ("neck", "head", 1.9, 0.09),
    **{
        f"{side}_{part}": (f"{side}_{start}", f"{side}_{end}", reach, radius)
        for side, _ in SIDES
        for part, start, end, reach, radius in (
            ("upper_arm", "shoulder", "elbow", 1.0, 0.042),
            ("forearm", "elbow", "wrist", 1.6, 0.036),
            ("thigh", "hip", "knee", 1.0, 0.070),
            ("shin", "knee", "ankle", 1.1, 0.048),
        )
    },
}
SKIRT_CLEARANCE = 0.05  # between arms and thighs: the skirt hangs there


def _clearances() -> dict[tuple[str, str], float]:
    pairs = {
        ("left_shin", "right_shin"): 0.0,
        ("left_thigh", "right_shin"): 0.0,
        ("left_shin", "right_thigh"): 0.0,
        ("left_forearm", "right_forearm"): 0.0,
        ("left_forearm", "right_upper_arm"): 0.0,
        ("left_upper_arm", "right_forearm"): 0.0,
    }
    for side, _ in SIDES:
        pairs |= {(f"{side}_forearm", part): 0.0 for part in ("torso", "chest", "skull")}
        pairs |= {
            (f"{side}_forearm", f"{other}_{part}"): SKIRT_CLEARANCE for other, _ in SIDES for part in ("thigh", "shin")
        }
    return pairs


CLEARANCES = _clearances()


def penetrates(positions: NDArray[np.float64]) -> bool:
    """Whether limbs run into each other, into the torso or where a skirt hangs; posed joints [24, 3] metres."""
    ends = {}
    for name, (start, end, reach, radius) in CAPSULES.items():
        first, second = positions[INDEX[start]], positions[INDEX[end]]
        ends[name] = first, first + reach * (second - first), radius
    if (
        ends["left_thigh"][1][0] - ends["right_thigh"][1][0] < -0.02
        and _distance(*ends["left_thigh"][:2], *ends["right_thigh"][:2]) < 0.13
    ):
        return True
    return any(
        _distance(*ends[a][:2], *ends[b][:2]) < ends[a][2] + ends[b][2] + clearance
        for (a, b), clearance in CLEARANCES.items()
    )


def _distance(a: NDArray, b: NDArray, c: NDArray, d: NDArray, samples: int = 9) -> float:
    """Distance of the segments ab and cd, to a centimetre or so."""
    share = np.linspace(0, 1, samples)[:, None]
    return float(np.linalg.norm((a + share * (b - a))[:, None] - (c + share * (d - c))[None], axis=-1).min())


def random_poses(seed: int, positions: Callable[[Pose], NDArray[np.float64]]) -> Iterator[tuple[str, Pose]]:
    """Endless possible poses with their kinds; any prefix is a balanced sample.

    `positions` gives the posed joints [24, 3] of a pose, in metres.
    """
    random = np.random.default_rng(seed)
    number = 0
    while True:
        kind = KINDS[number % len(KINDS)]
        pose = random_pose(random, kind)
        if not penetrates(positions(pose)):
            number += 1
            yield kind, pose
