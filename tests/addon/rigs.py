"""Rigs as users have them, built from the embedded body's joints; and poses put on them by plain matrices."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix, Vector

from blender_addon.paths import body_file
from blender_addon.rig.body_data import read_body
from blender_addon.rig.recognition import PARENTS
from scale_backend.formats import joints
from scale_backend.formats.motion import matrices_from_axis_angle

# the names that the SMPL add-ons and the Maya, Unity and SURREAL files give the joints
SHORT_NAMES = (
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist", "L_Hand", "R_Hand",
)  # fmt: skip
BLENDER = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
TURNED = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])


def body_joints(count: int = 24) -> np.ndarray:  # [J, 3]
    """Rest joints; hands and faces of the larger families hang a little way from their parents."""
    rest = read_body(body_file("neutral")).joints
    if count == 24:
        return rest
    rest = list(rest[:22])
    generator = np.random.default_rng(1)
    for parent in PARENTS[count][22:]:
        rest.append(rest[parent] + generator.uniform(0.01, 0.04, 3))
    return np.array(rest)


A_POSE = {16: (0.0, -1.0, 0.0), 17: (0.0, -1.0, 0.0), 1: (1.0, 0.0, 0.0), 2: (-1.0, 0.0, 0.0)}  # limbs and where to
LIMB_ENDS = {16: 18, 17: 19, 1: 4, 2: 5}


def a_pose(count: int = 24, degrees: float = 40.0) -> tuple[np.ndarray, np.ndarray]:
    """Rest joints [J, 3] with arms lowered and legs spread, and how each joint is turned against the T-pose."""
    rest, turns, places = body_joints(count), [np.eye(3)], [body_joints(count)[0]]
    for index, parent in list(enumerate(PARENTS[count]))[1:]:
        places.append(places[parent] + turns[parent] @ (rest[index] - rest[parent]))
        turn = turns[parent]
        if index in A_POSE:
            axis = np.cross(rest[LIMB_ENDS[index]] - rest[index], A_POSE[index])
            angle = np.radians(degrees if index in (16, 17) else degrees / 2)
            turn = matrices_from_axis_angle(axis / np.linalg.norm(axis) * angle) @ turn
        turns.append(turn)
    return np.array(places), np.array(turns)


def build_rig(
    names: tuple[str, ...] = joints.SMPL,
    prefix: str = "",
    to_armature: np.ndarray = BLENDER,  # [3, 3] SMPL's axes to the armature's
    unit: float = 1.0,  # armature units in a metre
    seed: int | None = None,  # random directions and rolls of the bones
    root_bone: bool = False,
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0),  # of the whole rest pose, metres
    in_a_pose: bool = False,
    toes: bool = False,  # as SUPR's rigs have them
    rest: np.ndarray | None = None,  # [J, 3] joints of another body
) -> bpy.types.Object:
    generator = np.random.default_rng(seed)
    armature = bpy.data.armatures.new("Armature")
    rig = bpy.data.objects.new("Armature", armature)
    bpy.context.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    root = armature.edit_bones.new("root") if root_bone else None
    if root:
        root.tail = (0, 0, 0.1 * unit)
    if rest is None:
        rest = a_pose(len(names))[0] if in_a_pose else body_joints(len(names))
    rest = (rest + np.array(offset)) @ to_armature.T * unit
    # names in another order than the model's: Blender's order means nothing
    bones = {index: armature.edit_bones.new(prefix + names[index]) for index in reversed(range(len(names)))}
    for index, bone in bones.items():
        direction = to_armature @ np.array([0.0, 1.0, 0.0]) if seed is None else generator.normal(size=3)
        bone.head = rest[index]
        bone.tail = rest[index] + direction / np.linalg.norm(direction) * 0.08 * unit
        bone.roll = 0.0 if seed is None else generator.uniform(-3, 3)
    for index, parent in enumerate(PARENTS[len(names)]):
        bones[index].parent = bones[parent] if parent >= 0 else root
    for side, foot in (("left", 10), ("right", 11)) if toes else ():
        for toe in ("bigtoe1", "pinkytoe1"):
            bone = armature.edit_bones.new(f"{side}_{toe}")
            bone.head, bone.tail = bones[foot].tail, bones[foot].tail + Vector((0, 0, 0.02 * unit))
            bone.parent = bones[foot]
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig


def random_pose(count: int, seed: int = 0, size: float = 0.7) -> np.ndarray:  # [J, 3, 3]
    return matrices_from_axis_angle(np.random.default_rng(seed).normal(0, size, (count, 3)))


def put_pose(
    rig: bpy.types.Object,
    names: tuple[str, ...],
    rotations: np.ndarray,  # [J, 3, 3] local, SMPL's axes
    moved: np.ndarray,  # [3] from the rest pelvis, SMPL's axes, metres
    to_armature: np.ndarray = BLENDER,
    unit: float = 1.0,
    turns: np.ndarray | None = None,  # [J, 3, 3] of each joint at rest against the T-pose, SMPL's axes
) -> None:
    """Pose the bones by giving each its matrix in armature space; Blender finds values of its rotation mode."""
    whole: list[np.ndarray] = []
    from_rest: list[np.ndarray] = []  # [3, 3] each
    places: list[np.ndarray] = []
    parents = PARENTS[len(names)]
    rest = [np.array(rig.data.bones[name].matrix_local.translation) for name in names]
    for index, name in enumerate(names):
        local = to_armature @ rotations[index] @ to_armature.T
        parent = parents[index]
        if parent < 0:
            whole.append(local)
            places.append(rest[0] + to_armature @ moved * unit)
        else:
            places.append(places[parent] + from_rest[parent] @ (rest[index] - rest[parent]))
            whole.append(whole[parent] @ local)
        turn = np.eye(3) if turns is None else to_armature @ turns[index] @ to_armature.T
        from_rest.append(whole[index] @ turn.T)
        turned = Matrix((from_rest[index] @ np.array(rig.data.bones[name].matrix_local)[:3, :3]).tolist())
        rig.pose.bones[name].matrix = Matrix.Translation(Vector(places[index])) @ turned.to_4x4()
        bpy.context.view_layer.update()


MODES = ("QUATERNION", "XYZ", "ZYX", "AXIS_ANGLE", "YXZ")


def mix_rotation_modes(rig: bpy.types.Object) -> None:
    for index, bone in enumerate(rig.pose.bones):
        bone.rotation_mode = MODES[index % len(MODES)]


RIGS = {
    "SMPL": {"names": joints.SMPL},
    "SMPL add-on": {"names": SHORT_NAMES, "root_bone": True},
    "prefixed": {"names": SHORT_NAMES, "prefix": "f_avg_", "root_bone": True},
    "odd bones": {"names": joints.SMPL, "seed": 3},
    "centimetres, Y up": {"names": SHORT_NAMES, "prefix": "m_avg_", "to_armature": np.eye(3), "unit": 100.0, "seed": 4},
    "turned": {"names": joints.SMPL, "to_armature": TURNED, "seed": 5, "offset": (0.3, 1.1, -0.2)},
    "SMPL-H": {"names": joints.SMPL_H, "seed": 6, "root_bone": True},
    "SMPL-X": {"names": joints.SMPL_X, "seed": 7, "root_bone": True},
    "SUPR": {"names": joints.SMPL_X, "seed": 8, "root_bone": True, "toes": True},
    "name space": {"names": joints.SMPL_H, "prefix": "Anna:", "to_armature": np.eye(3), "unit": 100.0},
    "A-pose": {"names": joints.SMPL, "in_a_pose": True},
    "A-pose in centimetres": {"names": SHORT_NAMES, "prefix": "f_avg_", "in_a_pose": True, "unit": 100.0, "seed": 9},
}


def turns_of(kind: str) -> np.ndarray | None:  # [J, 3, 3]
    """How the joints of a kind of rig are turned at rest."""
    options = RIGS[kind]
    return a_pose(len(options["names"]))[1] if options.get("in_a_pose") else None
