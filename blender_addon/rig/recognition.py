"""Recognise humanoid rigs by the names of their bones, whatever stands before them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from bpy.types import Armature, Object

from scale_backend.formats import joints

from ..blender.objects import armature_of
from ..messages import AddonError
from . import bone_tables
from .bone_tables import Family, plain

BODY_JOINTS = len(joints.BODY)
MAPPING = "scale_clothing_bones"  # custom property of an armature's data: joint -> bone, as its user says
SPINE, TRUNK_TOP = (0, 3, 6, 9), (9, 12, 15)  # chains in which a missing joint lies between its neighbours
NEEDED = ("pelvis", *(f"{side}_{part}" for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
                      for side in ("left", "right")))  # fmt: skip
ONE_OF = (("spine1", "spine2", "spine3"), ("head", "neck"))
MODELS = {24: "SMPL", 52: "SMPL-H", 55: "SMPL-X"}
NAMED_MISSING = 6
NEAR = 5  # bones of NEEDED that a rig must have for a family to be named


NUMBER = re.compile(r"_\d+$")

Said = tuple[tuple[str, str], ...]
Fitness = tuple[bool, bool, int, int, int]


class RigError(AddonError):
    """An object that cannot drive clothes; the sentence names what is missing."""


@dataclass(frozen=True)
class RigJoints:
    """Which bone is which joint, in the order of the body model with 24, 52 or 55 joints."""

    family: str
    bones: tuple[str | None, ...]  # J names; None: the rig has no such bone
    is_smpl: bool = True  # the bones are SMPL's own joints
    turned: tuple[tuple[int, str], ...] = ()  # joints whose own bone lacks the twist, and the bone that has it all

    @property
    def parents(self) -> tuple[int, ...]:  # J; root: -1
        return PARENTS[len(self.bones)]

    @property
    def joint_names(self) -> tuple[str, ...]:  # J
        return joints.JOINT_NAMES[len(self.bones)]

    def bone(self, joint: str) -> str | None:
        """The bone that is a joint of any model of the family; None where the rig has none."""
        return self.bones[self.joint_names.index(joint)] if joint in self.joint_names else None

    @cached_property
    def between(self) -> tuple[tuple[int, int, int, float], ...]:
        """Joints without a bone that are interpolated: joint, the two it lies between, and how far along.

        All others without a bone follow their parents.
        """
        interpolated = []
        for chain in (SPINE, TRUNK_TOP):
            there = [place for place, joint in enumerate(chain) if self.bones[joint] is not None]
            for place, joint in enumerate(chain):
                below, above = [p for p in there if p < place], [p for p in there if p > place]
                if place not in there and below and above:
                    start, end = below[-1], above[0]
                    interpolated.append((joint, chain[start], chain[end], (place - start) / (end - start)))
        return tuple(interpolated)

    def source(self, joint: int) -> str:
        """Where a joint's rotation comes from, in words."""
        name = self.bones[joint]
        if name is not None:
            return name
        for number, start, end, _ in self.between:
            if number == joint:
                return f"between {self.joint_names[start]} and {self.joint_names[end]}"
        return f"follows {self.joint_names[self.parents[joint]]}"


@dataclass(frozen=True, eq=False)
class Guess:
    """What the bones of a rig come nearest to."""

    family: str
    bones: Mapping[str, str]  # joint: bone
    missing: tuple[str, ...]  # bones that would be needed, by their names in the family
    is_smpl: bool
    turned: Mapping[str, str]  # joint: the bone that turns as it does, where its own has no twist


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
    """The joints of a rig by the names of its bones and by what its user has said of them. Raises RigError."""
    if rig is None or rig.type != "ARMATURE":
        raise RigError("No armature is chosen: select a character's armature, or add the sample character.")
    armature = armature_of(rig)
    rig_joints, problem = _matched(tuple(armature.bones.keys()), said_of(armature), bone_tables.stamp())
    if rig_joints is None:
        raise RigError(f"'{rig.name}' {problem}")
    return rig_joints


def is_rig(candidate: Object | None) -> bool:
    try:
        recognise(candidate)
    except RigError:
        return False
    return True


def problem(candidate: Object | None) -> str:
    """Why an object cannot drive clothes, in a sentence; empty where it can."""
    try:
        recognise(candidate)
    except RigError as error:
        return str(error)
    return ""


def said_of(armature: Armature) -> Said:
    """What the user has said of a rig's bones: joint and bone, "" for none."""
    kept = armature.get(MAPPING)
    return () if kept is None else tuple(kept.items())


def say(armature: Armature, joint: str, bone: str) -> None:
    """Let a bone be a joint, "" for none, whatever is guessed; kept in the file with the armature."""
    said = dict(said_of(armature)) | {joint: bone}
    if guessed(armature, ()).bones.get(joint, "") == bone:
        del said[joint]
    if said:
        armature[MAPPING] = said
    else:
        forget(armature)


def forget(armature: Armature) -> None:
    """Go back to what is guessed."""
    if armature.get(MAPPING) is not None:
        del armature[MAPPING]


def guessed(armature: Armature, said: Said | None = None) -> Guess:
    """What the bones of a rig come nearest to, complete or not, the user's corrections put in."""
    said = said_of(armature) if said is None else said
    return _guess(tuple(armature.bones.keys()), said, bone_tables.stamp())


@lru_cache(maxsize=64)
def _matched(names: tuple[str, ...], said: Said, stamp: bone_tables.Stamp) -> tuple[RigJoints | None, str]:
    """The joints, or the rest of a sentence that begins with the rig's name. Live update asks for every frame."""
    gone = [bone for _, bone in said if bone and bone not in names]
    if gone:
        return None, f"has no bone '{gone[0]}', which its Bone Mapping names; choose another there."
    guess = _guess(names, said, stamp)
    if guess.missing:
        listed = ", ".join(guess.missing[:NAMED_MISSING])
        rest = len(guess.missing) - NAMED_MISSING
        more = f" and {rest} more" if rest > 0 else ""
        if sum(joint in NEEDED for joint in guess.bones) < NEAR:
            return None, "is no humanoid rig that is known: choose its bones in Bone Mapping, or choose another."
        return None, f"looks like {guess.family}, but has no {listed}{more}: choose them in Bone Mapping."
    model = [name.removesuffix("_smplhf") for name in _model(guess.bones)]
    order = tuple(guess.bones.get(name) for name in model)
    turned = tuple((joint, guess.turned[name]) for joint, name in enumerate(model) if name in guess.turned)
    return RigJoints(guess.family, order, guess.is_smpl, turned), ""


def _model(bones: Mapping[str, str]) -> tuple[str, ...]:  # J
    """The joints of the smallest body model that has them all."""
    if any(joint in bones for joint in ("jaw", "left_eye", "right_eye")):
        return joints.SMPL_X
    return joints.SMPL_H if any(joint in bones for joint in joints.FINGERS) else joints.SMPL


@lru_cache(maxsize=64)
def _guess(names: tuple[str, ...], said: Said, stamp: bone_tables.Stamp) -> Guess:
    """The family that fits best, one of the user's own first; the user's corrections put in."""
    fits = [fit for present in _spellings(names) for fit in _fits(present)]
    _, family, bones, turned = max(fits, key=lambda fit: fit[0])  # of like ones the first
    turned = {joint: bone for joint, bone in turned.items() if joint in bones and joint not in dict(said)}
    bones = {joint: bone for joint, bone in (bones | dict(said)).items() if bone}
    missing = [family.bones.get(joint, (joint,))[0] for joint in _missing(bones)]
    name = MODELS[len(_model(bones))] if family.is_smpl else family.name
    return Guess(name, bones, tuple(missing), family.is_smpl, turned)


def _spellings(names: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Bones by their plain names; and by these without the numbers that some programs append to all ("Hips_01")."""
    present: dict[str, str] = {}
    unnumbered: dict[str, str] = {}
    for name in names:
        present.setdefault(plain(name), name)
        unnumbered.setdefault(NUMBER.sub("", plain(name)), name)
    return present, unnumbered


def _fits(present: dict[str, str]) -> Iterator[tuple[Fitness, Family, dict[str, str], dict[str, str]]]:
    """How well each family fits, its bones that are there, and those that turn as joints do."""
    for family in bone_tables.families().families:
        for prefix in _prefixes(family, present):
            bones, turned = (_bones_of(names, prefix, present) for names in (family.bones, family.turned))
            known = sum(1 if prefix + plain(name) in present else -1 for name in family.known)
            yield (not _missing(bones), family.is_own, known, len(bones), -len(prefix)), family, bones, turned


def _prefixes(family: Family, present: dict[str, str]) -> set[str]:
    """What may stand before the names: what stands before the pelvis's."""
    prefixes = {""}
    for pelvis in map(plain, family.bones.get("pelvis", ())):
        prefixes |= {name[: -len(pelvis)] for name in present if name.endswith(pelvis)}
    return prefixes


def _bones_of(table: Mapping[str, tuple[str, ...]], prefix: str, present: dict[str, str]) -> dict[str, str]:
    bones = {}
    for joint, names in table.items():
        bone = next((present[prefix + plain(name)] for name in names if prefix + plain(name) in present), None)
        if bone is not None:
            bones[joint] = bone
    return bones


def _missing(bones: dict[str, str]) -> list[str]:
    """Joints that clothes cannot do without; of those of which one will do, the first."""
    missing = [joint for joint in NEEDED if joint not in bones]
    return missing + [choice[0] for choice in ONE_OF if not any(joint in bones for joint in choice)]
