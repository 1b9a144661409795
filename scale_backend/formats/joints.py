"""Joint names of the SMPL family, in the order of the models. No dependencies: Blender imports this."""

from __future__ import annotations

BODY = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
FINGERS = tuple(
    f"{side}_{finger}{knuckle}"
    for side in ("left", "right")
    for finger in ("index", "middle", "pinky", "ring", "thumb")
    for knuckle in (1, 2, 3)
)
FACE = ("jaw", "left_eye_smplhf", "right_eye_smplhf")

SMPL = (*BODY, "left_hand", "right_hand")
SMPL_H = (*BODY, *FINGERS)
SMPL_X = (*BODY, *FACE, *FINGERS)
JOINT_NAMES = {24: SMPL, 52: SMPL_H, 55: SMPL_X}
SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
