"""Recognise SMPL-family rigs by the names of their bones."""

from __future__ import annotations

from dataclasses import dataclass

from bpy.types import Object

from scale_backend.formats import joints

from ..messages import AddonError

# The names that the SMPL add-ons and the Maya, Unity and SURREAL files give the joints.
SHORT_NAMES = (
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist", "L_Hand", "R_Hand",
)  # fmt: skip
OTHER_NAMES = {"left_eye_smplhf": "left_eye", "right_eye_smplhf": "right_eye"}
BODY_JOINTS = len(joints.BODY)
NAMED_MISSING = 6


class RigError(AddonError):
    """An object that cannot drive clothes; the sentence names what is missing."""


@dataclass(frozen=True)
class RigJoints:
    """Which bone is which joint, in the model's order."""

    bones: tuple[str | None, ...]  # J names; None: the rig has no such bone, the joint stays still
    parents: tuple[int, ...]  # J; root: -1

    @property
    def family(self) -> str:
        return {24: "SMPL", 52: "SMPL-H", 55: "SMPL-X"}[len(self.bones)]

    @property
    def joint_names(self) -> tuple[str, ...]:  # J
        return joints.JOINT_NAMES[len(self.bones)]

    def bone(self, joint: str) -> str | None:
        """The bone that is a joint of any model of the family; None where the rig has none."""
        return self.bones[self.joint_names.index(joint)] if joint in self.joint_names else None


def hand_parents(count: int) -> tuple[int, ...]:
    """The tree of 24, 52 or 55 joints: fingers hang on the wrists, jaw and eyes on the head."""
    if count == 24:
        return joints.SMPL_PARENTS
    tree = list(joints.SMPL_PARENTS[:BODY_JOINTS])
    names = joints.JOINT_NAMES[count]
    for index in range(BODY_JOINTS, count):
        name = names[index]
        if name == "jaw" or "eye" in name:
            tree.append(names.index("head"))
        elif name.endswith("1"):
            tree.append(names.index(f"{name.split('_')[0]}_wrist"))
        else:
            tree.append(index - 1)
    return tuple(tree)


PARENTS = {count: hand_parents(count) for count in (24, 52, 55)}


def recognise(rig: Object | None) -> RigJoints:
    """The joints of a rig by the names of its bones, whatever stands before them. Raises RigError."""
    if rig is None or rig.type != "ARMATURE":
        raise RigError("No armature is chosen: select a character's armature, or add the sample character.")
    present = {bone.name for bone in rig.data.bones}
    lowered = {name.lower(): name for name in present}
    prefixes = {name[: -len("pelvis")] for name in lowered if name.endswith("pelvis")} | {""}
    best_missing: list[str] | None = None
    for prefix in sorted(prefixes, key=len, reverse=True):
        for names in (SHORT_NAMES[:BODY_JOINTS], joints.BODY):
            missing = [prefix + name for name in names if prefix + name.lower() not in lowered]
            if not missing:
                return _joints_named(lowered, prefix, short=names is not joints.BODY)
            if best_missing is None or len(missing) < len(best_missing):
                best_missing = missing
    listed = ", ".join(best_missing[:NAMED_MISSING])
    more = f" and {len(best_missing) - NAMED_MISSING} more" if len(best_missing) > NAMED_MISSING else ""
    raise RigError(
        f"'{rig.name}' is no SMPL rig: it lacks the bones {listed}{more}; choose an SMPL, SMPL-H or SMPL-X armature "
        "or add the sample character."
    )


def _joints_named(lowered: dict[str, str], prefix: str, short: bool) -> RigJoints:
    def bone(name: str) -> str | None:
        found = lowered.get(prefix + name.lower())
        return found or lowered.get(prefix + OTHER_NAMES.get(name, name))

    if short:
        names = SHORT_NAMES
    elif bone("jaw"):
        names = joints.SMPL_X
    elif bone("left_index1"):
        names = joints.SMPL_H
    else:
        names = joints.SMPL
    return RigJoints(tuple(bone(name) for name in names), PARENTS[len(names)])


def is_rig(candidate: Object | None) -> bool:
    try:
        recognise(candidate)
    except RigError:
        return False
    return True
