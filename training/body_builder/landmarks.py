"""Landmark vertices (finger tips, nose, ears, toes, heels) and the numbers that the `smplx` package wants them at."""

from __future__ import annotations

import numpy as np

from training.body_builder.makehuman import MakeHuman
from training.body_builder.topology import Skin

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
# A vertex of a body in SMPL's format has these numbers by convention; left and right.
SMPL_NUMBERS = {
    "nose": (332, 332), "eye": (2800, 6260), "ear": (583, 4071), "thumb": (2746, 6191), "index": (2319, 5782),
    "middle": (2445, 5905), "ring": (2556, 6016), "pinky": (2673, 6133), "big toe": (3216, 6617),
    "small toe": (3226, 6624), "heel": (3387, 6787),
}  # fmt: skip


def find_landmarks(human: MakeHuman, skin: Skin) -> dict[str, int]:
    """The left and middle landmarks among the vertices of the skin's left half, from its form."""
    shape, ours = skin.shape, np.unique(skin.half)
    head, foot = (ours[skin.region[ours] == region] for region in ("head", "foot"))
    profile = head[skin.middle[head]]
    ears = head[(shape[head, 0] > 0.05) & (shape[head, 1] > shape[skin.left_eye, 1] - 0.06)]
    found = {
        "nose": profile[shape[profile, 2].argmax()],
        "eye": skin.left_eye,
        "ear": ears[shape[ears, 0].argmax()],
    }
    members = set(ours.tolist())

    def led_by(bone: str) -> np.ndarray:
        return np.array([vertex for vertex, weight in human.bone_weights[bone] if weight > 0.5 and vertex in members])

    for number, name in enumerate(FINGERS, 1):
        bone = f"finger{number}-3.L"
        start = shape[human.bone_head(bone)].mean(0)
        tip = led_by(bone)
        found[name] = tip[np.linalg.norm(shape[tip] - start, axis=1).argmax()]
    big, small = led_by("toe1-2.L"), led_by("toe5-3.L")
    sole = foot[shape[foot, 1] < shape[foot, 1].min() + 0.05]
    found["big toe"] = big[shape[big, 2].argmax()]
    found["small toe"] = small[(shape[small, 2] + shape[small, 0]).argmax()]
    found["heel"] = sole[shape[sole, 2].argmin()]
    return {name: int(vertex) for name, vertex in found.items()}


def vertex_order(vertices: np.ndarray, landmarks: dict[str, int], mirror: np.ndarray) -> np.ndarray:
    """The skin's vertices [V] (ascending) put in order: landmarks at SMPL's numbers, the rest as they come."""
    order = np.full(len(vertices), -1)
    for name, vertex in landmarks.items():
        left, right = SMPL_NUMBERS[name]
        order[right], order[left] = mirror[vertex], vertex
    order[order < 0] = np.setdiff1d(vertices, order)
    return order
