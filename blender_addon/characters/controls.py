"""Controls that steer a rig's deforming bones, as those of a generated Rigify rig: keyed in their place.

Which control steers which joint is in the family's table. What turns a control along is found by trying: the rig is put
into some poses, and looked at. Where its bones do not arrive as they should, its controls are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import bpy
import numpy as np
from bpy.types import Object, PoseBone
from mathutils import Matrix

from scale_backend.formats.motion import matrices_from_axis_angle

from ..blender.objects import armature_of
from ..present import present
from ..rig import bone_tables
from ..rig.pose import deformations
from ..rig.recognition import BODY_JOINTS
from ..rig.rest import Rest
from .retargeting import RigMotion

TRIALS = 6
TURN = 0.35  # radians, of each joint in a trial about each axis
SAME = 0.05  # degrees between a control at rest and as a joint turns it along
OFF = 0.5  # degrees that a limb may point elsewhere
ASTRAY = 1e-3  # of the legs' length, that the pelvis may be off
TRUNK = (0, 3, 6, 9)  # joints whose turns move the pelvis about the control that travels


@dataclass(frozen=True)
class Steered:
    """A bone to key, and what its key is seen from."""

    bone: str
    joint: int  # that it is to turn as; bones between joints are numbered after these
    above: int | None  # the joint that turns it along; None: it is not turned along


@dataclass(frozen=True)
class Steering:
    """The controls to key. The first one travels."""

    controls: tuple[Steered, ...]
    offset: np.ndarray  # [4, 3] from that one to the pelvis, parts that turn with each of TRUNK

    def moving(self, moved: RigMotion) -> tuple[Steered, ...]:
        """Those of joints that move; none that does not move turns one of these along."""
        return tuple(each for each in self.controls if each.joint in moved.turned)

    def head(self, moved: RigMotion) -> np.ndarray:  # [F, 3]
        """Where the control that travels is to be."""
        return moved.pelvis - _turned_offsets(moved.turned, self.offset)


def steering_of(target: Object, rest: Rest) -> Steering | None:
    """The controls of a rig whose deforming bones arrive by them; None where it has none, or where these do not.

    Then the rig is as before. Else its other bones are at rest, and its switches such that the controls steer.
    """
    family = next((f for f in bone_tables.families().families if f.name == rest.rig_joints.family), None)
    if family is None or any(name not in present(target.pose).bones for name in family.controls):
        return None
    controls = _numbered(family, rest)
    if not controls:
        return None
    with _as_before_unless(target, family) as done:
        steering = _tried(target, rest, controls)
        done.append(steering is not None)
    return steering


def _numbered(family: bone_tables.Family, rest: Rest) -> dict[str, int]:
    """What each control is to turn as. The last of several of a joint is the joint's; those before it are of the bones
    that lead to it, if there are any, and else the joint's too."""
    joints, count = rest.rig_joints.joint_names, len(rest.rig_joints.bones)
    controls: dict[str, int] = {}
    for number, joint in enumerate(joints):
        names = [name for name, of in family.controls.items() if of == joint]
        inner = [count + place for place, each in enumerate(rest.between) if each.end == number]
        order = [number, *reversed(inner), *[number] * len(names)]
        controls |= dict(zip(reversed(names), order, strict=False))
    return {name: controls[name] for name in family.controls if name in controls}


@contextmanager
def _as_before_unless(target: Object, family: bone_tables.Family) -> Iterator[list[bool]]:
    """The rig at rest, without animation and with its switches set; as it was, unless the list ends with True."""
    bones, data, done = present(target.pose).bones, target.animation_data, list[bool]()
    bases = {bone.name: bone.matrix_basis.copy() for bone in bones}
    switches = {(name, key): bones[name][key] for name, keys in family.switches.items() if name in bones
                for key in keys if bones[name].get(key) is not None}  # fmt: skip
    action, slot = (None, None) if data is None else (data.action, getattr(data, "action_slot", None))
    try:
        if data is not None and action is not None:
            data.action = None
        for (name, key), value in switches.items():
            bones[name][key] = type(value)(family.switches[name][key])
        for bone in bones:
            bone.matrix_basis = Matrix.Identity(4)
        _evaluate(target)
        yield done
    finally:
        if not done or not done[-1]:
            for (name, key), value in switches.items():
                bones[name][key] = value
            for name, basis in bases.items():
                bones[name].matrix_basis = basis
        if data is not None and action is not None:
            data.action = action
            if slot is not None:
                data.action_slot = slot
        _evaluate(target)


def _tried(target: Object, rest: Rest, controls: dict[str, int]) -> Steering | None:
    """In poses that no motion has. The first tells what turns each control along, the others whether that is all."""
    generator = np.random.default_rng(0)
    count = len(rest.rig_joints.bones) + len(rest.between)
    trials = [matrices_from_axis_angle(generator.normal(0, TURN, (count, 3))) for _ in range(TRIALS)]
    bones = []
    for name, joint in controls.items():
        steered = _turned_along_by(present(target.pose).bones[name], joint, trials[0])
        if steered is None:
            return None
        bones.append(steered)
        _turn(present(target.pose).bones[name], steered, trials[0])
        _evaluate(target)
    seen, parts, offsets = present(target.pose).bones, [], []
    for turned in trials:
        for steered in bones:
            _turn(seen[steered.bone], steered, turned)
        _evaluate(target)
        moved = deformations(target, rest.rig_joints)
        if not _point_right(target, rest, controls, moved, turned):
            return None
        pelvis = moved[0, :3, :3] @ rest.joints[0] + moved[0, :3, 3]
        parts.append(np.concatenate([turned[joint] for joint in TRUNK], 1))
        offsets.append(pelvis - np.array(seen[bones[0].bone].matrix)[:3, 3])
    for steered in bones:
        seen[steered.bone].matrix_basis = Matrix.Identity(4)
    offset = np.linalg.lstsq(np.concatenate(parts), np.concatenate(offsets), rcond=None)[0]
    astray = np.abs(np.concatenate(parts) @ offset - np.concatenate(offsets)).max()
    if bones[0].above is not None or astray > ASTRAY * np.ptp(rest.joints, axis=0).max():
        return None
    return Steering(tuple(bones), offset.reshape(len(TRUNK), 3))


def _turned_along_by(bone: PoseBone, joint: int, turned: np.ndarray) -> Steered | None:  # [J, 3, 3]
    """By comparing where the control is, at rest in itself, with where each joint would take it."""
    along = np.array(bone.matrix @ bone.matrix_basis.inverted())[:3, :3]
    at_rest = np.array(bone.bone.matrix_local)[:3, :3]
    candidates = np.concatenate([np.eye(3)[None], turned]) @ at_rest
    degrees = np.degrees(np.linalg.norm(candidates - along, axis=(1, 2)) / np.sqrt(2))
    best = int(degrees.argmin())
    return None if degrees[best] > SAME else Steered(bone.name, joint, best - 1 if best else None)


def _turn(bone: PoseBone, steered: Steered, turned: np.ndarray) -> None:  # [J, 3, 3]
    at_rest = np.array(bone.bone.matrix_local)[:3, :3]
    local = turned[steered.joint] if steered.above is None else turned[steered.above].T @ turned[steered.joint]
    bone.matrix_basis = Matrix((at_rest.T @ local @ at_rest).tolist()).to_4x4()


def _point_right(
    target: Object, rest: Rest, controls: dict[str, int], moved: np.ndarray, turned: np.ndarray
) -> bool:  # [J, 4, 4], [J, 3, 3]
    """Whether each deforming bone of the body that is steered points where its joint does."""
    for joint in set(controls.values()):
        name = rest.rig_joints.bones[joint] if joint < BODY_JOINTS else None
        if name is None:
            continue
        along = np.array(armature_of(target).bones[name].matrix_local)[:3, 1]
        here, wanted = moved[joint, :3, :3] @ along, turned[joint] @ along
        if here @ wanted < np.cos(np.radians(OFF)) * np.linalg.norm(here):
            return False
    return True


def _turned_offsets(turned: dict[int, np.ndarray], offset: np.ndarray) -> np.ndarray:  # [F, 3, 3] each -> [F, 3]
    return np.sum([turned[joint] @ part for joint, part in zip(TRUNK, offset, strict=True)], axis=0)


def _evaluate(target: Object) -> None:
    target.update_tag()
    present(bpy.context.view_layer).update()
