"""What people do, sampled: calm and wild motions with random timing and amounts, each from a seed of its own.

Every kind is a function of a random generator and gives keys or poses; `sample` puts them on the ground. The motions
that results are measured on are of the same kinds (`held_out`), from seeds that training never draws.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from .motion import Array, Key, Motion, interpolate, on_the_ground
from .moving_cloth import FRAME_RATE
from .poses import INDEX, KINDS, SIDES, penetrates, random_pose, set_arm, set_leg, within_limits
from .skinning import SkinnedBody, joint_positions

Random = np.random.Generator
FASTEST = 7.0  # m/s, of a hand or foot against the pelvis
CALM_POSES = ("walk", "stand", "step", "reach", "stand")


def yaw(angle: float) -> Rotation:
    return Rotation.from_rotvec([0, angle, 0])


def pitch(angle: float) -> Rotation:
    """Positive leans forward, face down at 90 degrees."""
    return Rotation.from_rotvec([angle, 0, 0])


def standing(random: Random, bend: float = 0.0) -> Array:
    """Upright with hanging arms; `bend` 1 is a deep bend of the knees."""
    pose, looseness = np.zeros((24, 3)), random.normal(0, 0.04, (24, 3))
    for side, _ in SIDES:
        set_leg(pose, side, 0.03 + 1.0 * bend, 0.06 + 0.1 * bend, 0.0, 0.08 + 1.35 * bend, -0.05 - 0.33 * bend)
        set_arm(pose, side, -1.05 + 0.3 * bend, 0.1 + 0.6 * bend, 0.0, 0.3 + 0.4 * bend)
    for joint in ("spine1", "spine2", "spine3"):
        pose[INDEX[joint]] = 0.02 + 0.12 * bend, 0, 0
    return within_limits(pose + looseness * (pose != 0))


def possible_pose(body: SkinnedBody, random: Random, kinds: tuple[str, ...] = KINDS) -> Array:
    """A random pose [24, 3] in which limbs do not run into each other."""
    while True:
        pose = random_pose(random, str(random.choice(kinds)))
        if not penetrates(joint_positions(body, pose)):
            return pose


def wander(body: SkinnedBody, random: Random, seconds: float) -> list[Key]:
    """From pose to pose, calm or lively, with turns, leaning, and rests in between."""
    pace, lively = random.uniform(0.35, 1.3), random.random() < 0.5
    keys, time, turn = [], 0.0, random.uniform(-np.pi, np.pi)
    while time < seconds + pace:
        pose = possible_pose(body, random, KINDS if lively else CALM_POSES)
        lean = random.normal(0, 0.25 if lively else 0.08, 2)
        root = yaw(turn) * Rotation.from_rotvec([lean[0], 0, lean[1]])
        keys.append(Key(time, pose, root))
        time += random.uniform(0.6, 1.5) * pace
        if random.random() < 0.25:  # stand still for a while
            keys.append(Key(time, pose, root))
            time += random.uniform(0.3, 1.5)
        turn += random.normal(0, 1.0 if lively else 0.4)
    return keys


def tumble(body: SkinnedBody, random: Random, seconds: float) -> list[Key]:
    """Poses with the root turned any way, as in water: gravity comes from everywhere."""
    keys: list[Key] = []
    time = 0.0
    while time < seconds + 1:
        root = Rotation.random(random_state=random)
        if keys:
            time += (keys[-1].root.inv() * root).magnitude() / random.uniform(1.2, 2.5) + 0.3
        keys.append(Key(time, possible_pose(body, random), root))
        time += random.uniform(0.2, 1.2)
        keys.append(Key(time, keys[-1].pose, root))
    return keys


def spin(body: SkinnedBody, random: Random, seconds: float) -> list[Key]:
    """Turns on the spot, from a look over the shoulder to a pirouette."""
    pose, time, turn = standing(random), random.uniform(0.1, 0.5), 0.0
    keys = [Key(0.0, pose, yaw(0))]
    while time < seconds + 1:
        keys.append(Key(time, pose, yaw(turn)))
        speed, angle = random.uniform(1.0, 7.0), random.choice((-1, 1)) * random.uniform(0.8, 2 * np.pi)
        before, pose = pose, possible_pose(body, random, ("stand", "dance", "reach"))
        parts = int(np.ceil(abs(angle) / 1.5)) + 1  # shortest ways add up to the whole turn
        for part in range(1, parts + 1):
            time += (abs(angle) / speed + 0.3) / parts
            keys.append(Key(time, before + (pose - before) * part / parts, yaw(turn + angle * part / parts)))
        time, turn = time + random.uniform(0.3, 1.0), turn + angle
    return keys


def sit(body: SkinnedBody, random: Random, seconds: float) -> list[Key]:
    """Sit down as on a chair, stay, and get up."""
    down, stay, up, start = (random.uniform(*span) for span in ((0.7, 1.6), (0.5, 2.0), (0.7, 1.5), (0.1, 0.8)))
    seat, between, stand = np.zeros((24, 3)), standing(random, 0.5), standing(random)
    flex, knee, spread = random.uniform(1.3, 1.65), random.uniform(1.2, 1.7), random.uniform(0.02, 0.25)
    for side, _ in SIDES:
        set_leg(seat, side, flex, spread, 0.0, knee)
        set_arm(seat, side, -0.8, random.uniform(0.2, 0.7), 0.0, random.uniform(0.4, 1.3))
    times = np.cumsum([start, 0.5 * down, 0.5 * down, stay, 0.5 * up, 0.5 * up, 0.5])
    lean = pitch(random.uniform(0.3, 0.6))
    poses = (stand, between, within_limits(seat), within_limits(seat), between, stand, stand)
    roots = (yaw(0), lean, yaw(0), yaw(0), lean, yaw(0), yaw(0))
    return [Key(0.0, stand), *(Key(float(t), p, r) for t, p, r in zip(times, poses, roots, strict=True))]


def lie(body: SkinnedBody, random: Random, seconds: float, rise: bool = False) -> list[Key]:
    """Down to the floor, by squatting and sitting, onto the back or (turned over) the front; `rise` is the way up."""
    squat, seated, flat = standing(random, 1.0), np.zeros((24, 3)), np.zeros((24, 3))
    for side, _ in SIDES:
        set_leg(seated, side, random.uniform(1.1, 1.5), 0.1, 0.0, random.uniform(0.3, 1.2))
        set_arm(seated, side, -0.9, random.uniform(-0.4, 0.3), 0.0, 0.3)
        set_leg(flat, side, random.uniform(0.0, 0.5), random.uniform(0.03, 0.2), 0.0, random.uniform(0.05, 0.8))
        set_arm(flat, side, random.uniform(-0.9, 0.3), 0.0, 0.0, random.uniform(0.1, 0.8))
    lean = random.uniform(-0.4, 0.4)
    over = Rotation.from_rotvec([0, 0, lean])
    stages = [
        (standing(random), yaw(0)),
        (squat, pitch(0.35)),
        (seated, pitch(-0.35)),
        (flat, pitch(-np.pi / 2) * over),
    ]
    if random.random() < 0.3:  # on over the side to the front
        half = yaw(np.pi / 2) * Rotation.from_rotvec([0, 0, np.pi / 2])
        stages += [(within_limits(flat * 0.7), half), (flat, pitch(np.pi / 2))]
    gaps = random.uniform(0.5, 1.1, len(stages) - 1)
    if rise:
        stages.reverse()
    times = np.concatenate([[random.uniform(0.2, 1.0)], gaps]).cumsum()
    keys = [Key(float(t), within_limits(pose), root) for t, (pose, root) in zip(times, stages, strict=True)]
    last = keys[-1]
    return [Key(0.0, keys[0].pose, keys[0].root), *keys, Key(max(seconds, last.time) + 1, last.pose, last.root)]


def get_up(body: SkinnedBody, random: Random, seconds: float) -> list[Key]:
    return lie(body, random, seconds, rise=True)


def cartwheel(body: SkinnedBody, random: Random, seconds: float) -> list[Key]:
    """Sideways over the hands, legs apart; to the left or the right."""
    side, spread = random.choice((-1.0, 1.0)), random.uniform(0.4, 0.75)
    ready, wheel = standing(random), np.zeros((24, 3))
    for name, _ in SIDES:
        set_leg(wheel, name, 0.05, spread, 0.0, 0.05)
        set_arm(wheel, name, 1.2, 0.0, 0.0, 0.05)
    wheel, start, whole = within_limits(wheel), random.uniform(0.6, 1.0), random.uniform(1.3, 2.0)
    keys = [Key(0.0, ready), Key(start, wheel, Rotation.from_rotvec([0, 0, side * 0.15]))]
    for part in range(1, 6):
        keys.append(Key(start + whole * part / 5, wheel, Rotation.from_rotvec([0, 0, side * 2 * np.pi * part / 5])))
    return [*keys, Key(keys[-1].time + 0.5, standing(random, 0.2)), Key(keys[-1].time + 1.2, ready)]


def walk(body: SkinnedBody, random: Random, seconds: float) -> Array:
    """Poses [F, 24, 3] of a walk, from a stroll to a hurry, straight or along a bend."""
    rate, stride, arm = random.uniform(0.7, 1.15), random.uniform(0.2, 0.5), random.uniform(0.2, 0.6)
    bend, bounce, shift = random.normal(0, 0.5), random.uniform(0.5, 0.9), random.random()
    poses = []
    for time in np.arange(round(seconds * FRAME_RATE)) / FRAME_RATE:
        pose, growth = np.zeros((24, 3)), smoothstep_from_rest(time)
        for (side, _), half in zip(SIDES, (0.0, 0.5), strict=True):
            phase = 2 * np.pi * (rate * time + half + shift)
            swing, lift = growth * np.sin(phase), growth * max(0.0, np.cos(phase))
            set_leg(pose, side, 0.06 + stride * swing, 0.02, 0.0, 0.12 + bounce * lift**2, -0.1 + 0.12 * swing)
            set_arm(pose, side, -1.05, -arm * swing, 0.0, 0.35 - 0.2 * arm * swing)
        twist = growth * np.sin(2 * np.pi * (rate * time + 0.5 + shift))
        for joint in ("spine1", "spine2", "spine3"):
            pose[INDEX[joint]] = 0.02, 0.05 * twist, 0.015 * twist
        pose = within_limits(pose)
        pose[0] = 0, bend * time, 0
        poses.append(pose)
    return np.stack(poses)


def dance(body: SkinnedBody, random: Random, seconds: float) -> Array:
    """Poses [F, 24, 3]: joints swing with the beat or slower, each about its own angle; the body turns and sways."""
    beat, centre = random.uniform(0.8, 1.6), 0.5 * possible_pose(body, random, ("dance", "stand"))
    other = possible_pose(body, random, ("dance", "reach", "step"))
    times = np.arange(round(seconds * FRAME_RATE)) / FRAME_RATE
    speed = beat * random.choice((0.25, 0.5, 0.5, 1.0), (24, 1))
    wave = np.sin(2 * np.pi * (speed * times[:, None, None] + random.random((24, 1))))
    poses = within_limits(centre + 0.8 * (other - centre) * wave * smoothstep_from_rest(times)[:, None, None])
    turn = random.normal(0, 0.8) * times + random.uniform(0.1, 0.8) * np.sin(np.pi * beat * times)
    sway = random.uniform(0.0, 0.15) * np.sin(np.pi * beat * times + random.random())
    poses[:, 0] = (
        Rotation.from_rotvec(turn[:, None] * [0, 1, 0]) * Rotation.from_rotvec(sway[:, None] * [0, 0, 1])
    ).as_rotvec()
    return poses


def smoothstep_from_rest(time: Array | float) -> Array:
    """0 to 1 within the first half second."""
    share = np.clip(np.asarray(time) / 0.5, 0, 1)
    return share * share * (3 - 2 * share)


def jump(body: SkinnedBody, random: Random, seconds: float) -> tuple[list[Key], list[tuple[float, float]]]:
    """Jumps with landing, some with a turn: keys, and from when to when each flies."""
    keys, flights, time, turn = [Key(0.0, standing(random))], [], random.uniform(0.2, 0.6), 0.0
    while time < seconds - 0.6:
        flight, bend = 2 * np.sqrt(2 * random.uniform(0.08, 0.4) / 9.81), random.uniform(0.5, 1.0)
        stretched = standing(random)
        for side, _ in SIDES:
            set_arm(stretched, side, random.uniform(-0.6, 0.9), random.uniform(0, 0.8), 0.0, 0.3)
        air = 0.5 * (stretched + possible_pose(body, random, ("dance", "stand", "step")))
        keys.append(Key(time, standing(random), yaw(turn)))
        keys.append(Key(time + 0.35, standing(random, bend), yaw(turn)))
        off = time + 0.35 + random.uniform(0.2, 0.3)
        turn += random.choice((0.0, 0.0, random.normal(0, 1.2)))
        keys.append(Key(off, within_limits(stretched), keys[-1].root))
        keys.append(Key(off + 0.5 * flight, within_limits(air), keys[-1].root))
        keys.append(Key(off + flight, standing(random, 0.15), yaw(turn)))
        keys.append(Key(off + flight + 0.18, standing(random, random.uniform(0.4, 0.9)), yaw(turn)))
        flights.append((off, off + flight))
        time = off + flight + 0.18 + random.uniform(0.4, 0.9)
    return [*keys, Key(time + 0.3, standing(random), yaw(turn)), Key(time + 1, standing(random), yaw(turn))], flights


KEYED: dict[str, Callable[[SkinnedBody, Random, float], list[Key]]] = {
    "wander": wander,
    "tumble": tumble,
    "spin": spin,
    "sit": sit,
    "lie": lie,
    "get-up": get_up,
    "cartwheel": cartwheel,
}
POSED: dict[str, Callable[[SkinnedBody, Random, float], Array]] = {"walk": walk, "dance": dance}
MOTION_KINDS = (*KEYED, *POSED, "jump")
# What training draws, in this order, again and again: any beginning of it is a balanced sample.
ORDER = (
    "wander",
    "walk",
    "dance",
    "jump",
    "tumble",
    "wander",
    "sit",
    "spin",
    "lie",
    "dance",
    "walk",
    "wander",
    "get-up",
    "cartwheel",
)


def sample(body: SkinnedBody, kind: str, random: Random, seconds: float = 4.5) -> Motion:
    """A motion of a kind, on the ground. Raises KeyError for a kind that is not in `MOTION_KINDS`."""
    times = np.arange(round(seconds * FRAME_RATE)) / FRAME_RATE
    if kind in POSED:
        return on_the_ground(body, POSED[kind](body, random, seconds))
    if kind == "jump":
        keys, flights = jump(body, random, seconds)
        airborne = np.any([(times > start) & (times < end) for start, end in flights], 0)
        return on_the_ground(body, interpolate(keys, times), airborne)
    poses = unhurried(body, KEYED[kind](body, random, seconds), times)
    if kind == "tumble":  # in the air
        return Motion(poses, np.broadcast_to([0.0, 0.5, 0.0], (len(poses), 3)))
    return on_the_ground(body, poses)


def unhurried(body: SkinnedBody, keys: list[Key], times: Array) -> Array:
    """Poses [F, J, 3] of the keys, all of them later if a joint would be faster about the pelvis than people's are."""
    poses = interpolate(keys, times)
    joints = np.stack([joint_positions(body, pose) for pose in poses])
    speed = FRAME_RATE * np.linalg.norm(np.diff(joints, axis=0), axis=-1).max()
    slower = max(1.0, speed / FASTEST)
    return poses if slower == 1 else interpolate(keys, times / slower)
