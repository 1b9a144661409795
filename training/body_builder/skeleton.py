"""SMPL's joints on MakeHuman's rig: where each starts, which bones move with it, and the skin's blend weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scale_backend.formats.joints import SMPL, SMPL_PARENTS
from training.body_builder.makehuman import Array, Index, MakeHuman

JOINTS = {name: number for number, name in enumerate(SMPL)}
PARENTS = SMPL_PARENTS


def _other_side(name: str) -> str:
    side, _, rest = name.partition("_")
    return {"left": f"right_{rest}", "right": f"left_{rest}"}.get(side, name)


MIRRORED = np.array([JOINTS[_other_side(name)] for name in SMPL])

# Bones of MakeHuman's default rig, without their side; those not named move with their parent.
JOINT_OF_BONE = {
    "root": "pelvis", "pelvis": "pelvis", "spine05": "pelvis", "spine04": "spine1", "spine03": "spine1",
    "spine02": "spine2", "spine01": "spine3", "breast": "spine3", "neck01": "neck", "neck02": "neck",
    "neck03": "neck", "head": "head", "clavicle": "collar", "shoulder01": "collar", "upperarm01": "shoulder",
    "upperarm02": "shoulder", "lowerarm01": "elbow", "lowerarm02": "elbow", "wrist": "wrist",
    "upperleg01": "hip", "upperleg02": "hip", "lowerleg01": "knee", "lowerleg02": "knee", "foot": "ankle",
}  # fmt: skip
# Where the joints start, as shares of where bones start.
MIDDLE_STARTS: dict[str, Mapping[str, float]] = {
    "pelvis": {"spine05": 0.75, "spine04": 0.25},
    "spine1": {"spine04": 1},
    "spine2": {"spine02": 1},
    "spine3": {"spine01": 0.75, "spine02": 0.25},
    "neck": {"neck01": 1},
    "head": {"head": 1},
}
SIDE_STARTS: dict[str, Mapping[str, float]] = {
    "hip": {"upperleg01": 1},
    "knee": {"lowerleg01": 1},
    "ankle": {"foot": 1},
    "foot": {f"toe{toe}-1": 1 / 5 for toe in range(1, 6)},
    "collar": {"clavicle": 0.5, "shoulder01": 0.5},
    "shoulder": {"upperarm01": 1},
    "elbow": {"lowerarm01": 1},
    "wrist": {"wrist": 1},
    "hand": {f"finger{finger}-1": 1 / 4 for finger in range(2, 6)},
}
LEAST_WEIGHT = 1e-3
INFLUENCES = 4  # joints a vertex follows; a tie keeps a fifth


def joint_of_bone(human: MakeHuman, bone: str) -> int:
    base, _, side = bone.partition(".")
    prefix = {"L": "left_", "R": "right_"}.get(side, "")
    if base.startswith("toe"):
        return JOINTS[f"{prefix}foot"]
    if base.startswith("finger"):
        return JOINTS[f"{prefix}wrist" if base[6] == "1" else f"{prefix}hand"]  # the thumb moves with the palm
    if base in JOINT_OF_BONE:
        name = JOINT_OF_BONE[base]
        return JOINTS[name if name in JOINTS else prefix + name]
    return joint_of_bone(human, human.bones[bone]["parent"])


def bone_start(human: MakeHuman, bone: str) -> Array:  # [N]
    """Weights of the base mesh's vertices whose sum is where a bone starts."""
    row = np.zeros(len(human.vertices))
    row[human.bone_head(bone)] = 1 / len(human.bone_head(bone))
    return row


def joint_starts(human: MakeHuman) -> Array:  # [J, N]
    rows = np.zeros((len(SMPL), len(human.vertices)))
    for name, shares in MIDDLE_STARTS.items():
        rows[JOINTS[name]] = sum(share * bone_start(human, bone) for bone, share in shares.items())
    for prefix, side in (("left_", ".L"), ("right_", ".R")):
        for name, shares in SIDE_STARTS.items():
            starts = (share * bone_start(human, bone + side) for bone, share in shares.items())
            rows[JOINTS[prefix + name]] = sum(starts)
    return rows


def skin_weights(human: MakeHuman, order: Index, mirror: Index) -> tuple[Array, Array]:
    """Blend weights [V, J] of the ordered skin, and how far each vertex turns with the hand about the forearm [V].

    `mirror` [V] is in the skin's own numbers.
    """
    weights, twist = np.zeros((len(human.vertices), len(SMPL))), np.zeros(len(human.vertices))
    for bone in human.bones:
        joint, share = joint_of_bone(human, bone), _twist_share(bone)
        for vertex, weight in human.bone_weights.get(bone, ()):
            weights[vertex, joint] += weight
            twist[vertex] += weight * share
    total = weights.sum(1)
    total[total == 0] = 1
    weights, twist = (weights / total[:, None])[order], (twist / total)[order]
    weights = (weights + weights[mirror][:, MIRRORED]) / 2
    twist = (twist + twist[mirror]) / 2
    weights[weights < LEAST_WEIGHT] = 0
    weights[weights < np.sort(weights, 1)[:, -INFLUENCES, None]] = 0
    return weights / weights.sum(1, keepdims=True), twist


def _twist_share(bone: str) -> float:
    if any(part in bone for part in ("wrist", "finger", "metacarpal")):
        return 1.0
    return 0.5 if "lowerarm02" in bone else 0.0
