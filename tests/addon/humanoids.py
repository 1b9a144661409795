"""Rigs of every family, built from the tables of their bones on the embedded body's joints, and MPFB's own."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import numpy as np

from blender_addon.characters import motion
from blender_addon.rig.bone_tables import JOINTS, Family, plain, shipped
from blender_addon.rig.pose import read_pose
from blender_addon.rig.recognition import PARENTS
from blender_addon.rig.rest import Rest, rest_of
from blender_addon.rig.rest_pose import LIMBS
from scale_backend.formats import joints
from scale_backend.formats.motion import Motion, matrices_from_axis_angle
from tests.addon.rigs import A_POSE, BLENDER, LIMB_ENDS, body_joints

FAMILIES = {family.name: family for family in shipped()}
FILES = Path(__file__).parents[1] / "data" / "rigs"
MPFB = {
    "mixamo": "Mixamo", "mixamo_unity": "Mixamo", "game_engine": "Unreal (UE4)", "cmu_mb": "CMU (BVH)",
    "default": "MakeHuman", "rigify_human": "MPFB Rigify metarig",
}  # fmt: skip
NAMES = tuple(name.removesuffix("_smplhf") for name in joints.SMPL_X)
BODY = len(joints.BODY)
EXACT, NEAR = 0.01, 1.0  # degrees
MILLIMETRE = 1e-3


def a_pose(degrees: float, sides: tuple[int, ...] = (16, 17)) -> np.ndarray:  # [55, 3]
    """The joints with arms lowered, feet flat on the floor."""
    rest, turns, places = body_joints(55), [np.eye(3)], [body_joints(55)[0]]
    for index, parent in list(enumerate(PARENTS[55]))[1:]:
        places.append(places[parent] + turns[parent] @ (rest[index] - rest[parent]))
        turn = turns[parent]
        if index in sides:
            axis = np.cross(rest[LIMB_ENDS[index]] - rest[index], A_POSE[index])
            turn = matrices_from_axis_angle(axis / np.linalg.norm(axis) * np.radians(degrees)) @ turn
        turns.append(turn)
    return np.array(places)


def build(
    family: Family,
    prefix: str = "",
    rest: np.ndarray | None = None,  # [55, 3]
    to_armature: np.ndarray = BLENDER,
    unit: float = 1.0,
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0),  # metres
    seed: int = 1,  # of the directions and rolls of the bones
) -> bpy.types.Object:
    """A rig with the family's bones, one more above the pelvis, and twist bones on the limbs."""
    generator = np.random.default_rng(seed)
    places = ((body_joints(55) if rest is None else rest) + np.array(offset)) @ to_armature.T * unit
    armature = bpy.data.armatures.new(family.name)
    rig = bpy.data.objects.new(family.name, armature)
    bpy.context.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")

    def add(name: str, head: np.ndarray, parent: bpy.types.EditBone | None) -> bpy.types.EditBone:
        bone = armature.edit_bones.new(name)
        direction = generator.normal(size=3)
        bone.head, bone.tail = head, head + direction / np.linalg.norm(direction) * 0.08 * unit
        bone.roll, bone.parent = generator.uniform(-3, 3), parent
        return bone

    top = add("Armature_Root", np.zeros(3), None)
    bones: dict[int, bpy.types.EditBone] = {}
    for index, joint in enumerate(NAMES):
        if joint not in family.bones:
            continue
        above = PARENTS[55][index]
        while above >= 0 and above not in bones:
            above = PARENTS[55][above]
        bones[index] = add(prefix + family.bones[joint][0], places[index], bones.get(above, top))
        if index in LIMB_ENDS:
            add(f"{bones[index].name}_helper", places[index], bones[index])
    for name in family.known:
        if name not in armature.edit_bones:
            add(name, places[0], top)
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig


def build_mpfb(name: str) -> bpy.types.Object:
    """One of MPFB's rigs: parent, head, tail and roll of each bone."""
    table = json.loads((FILES / f"{name}.json").read_text())
    armature = bpy.data.armatures.new(name)
    rig = bpy.data.objects.new(name, armature)
    bpy.context.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for bone_name, (_, head, tail, roll) in table.items():
        bone = armature.edit_bones.new(bone_name)
        bone.head, bone.tail, bone.roll = head, tail, roll
    for bone_name, (parent, *_) in table.items():
        if parent:
            armature.edit_bones[bone_name].parent = armature.edit_bones[parent]
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig


RIGIFY_TYPES = {
    "spine": "spines.basic_spine", "spine.005": "spines.super_head", "shoulder": "basic.super_copy",
    "upper_arm": "limbs.super_limb", "thigh": "limbs.super_limb", "palm.01": "limbs.super_palm",
    **{f"{each}.01": "limbs.super_finger" for each in ("f_index", "f_middle", "f_ring", "f_pinky", "thumb")},
    **{f"DEF-{each}-helper": "basic.raw_copy" for each in ("elbow", "knee", "shoulder")},
}  # fmt: skip


def generate_mpfb() -> bpy.types.Object:
    """What Rigify, which must be enabled, makes of MPFB's metarig without its face, with the types that it names."""
    rig = build_mpfb("rigify_human")
    bpy.ops.object.mode_set(mode="EDIT")
    bones = rig.data.edit_bones
    types = {bone.name: RIGIFY_TYPES.get(bone.name.removesuffix(".L").removesuffix(".R"), "") for bone in bones}
    for bone in bones:  # chains end where another type begins
        near = bone.parent is not None and (bone.head - bone.parent.tail).length < 1e-3
        bone.use_connect = near and not types[bone.name]
    bpy.ops.object.mode_set(mode="OBJECT")
    for bone in rig.pose.bones:
        bone.rigify_type = types[bone.name]
        if bone.name.startswith("thigh."):
            bone.rigify_parameters.limb_type, bone.rigify_parameters.extra_ik_toe = "leg", True
        elif bone.name == "spine.005":
            bone.rigify_parameters.connect_chain = True
    shown = rig.data.collections.new("Bones")
    shown.rigify_ui_row = 1
    for bone in rig.data.bones:
        shown.assign(bone)
    bpy.ops.pose.rigify_generate()
    return bpy.context.object


def bones_of(rig: bpy.types.Object, family: Family, prefix: str = "") -> dict[str, bpy.types.PoseBone]:
    """The bone of each joint, by the table alone."""
    there = {plain(bone.name): bone for bone in rig.pose.bones}
    found = {}
    for joint in JOINTS:
        for name in family.bones.get(joint, ()):
            if plain(prefix + name) in there:
                found[joint] = there[plain(prefix + name)]
                break
    return found


def turned(bone: bpy.types.PoseBone) -> np.ndarray:  # [3, 3]
    """What a bone does to the body, in armature space."""
    return np.array(bone.matrix @ bone.bone.matrix_local.inverted())[:3, :3]


def whole(local: np.ndarray, parents: tuple[int, ...]) -> np.ndarray:  # [J, 3, 3] -> [J, 3, 3]
    found = local.copy()
    for index, parent in list(enumerate(parents))[1:]:
        found[index] = found[parent] @ local[index]
    return found


def angle(first: np.ndarray, second: np.ndarray) -> float:  # [3, 3], [3, 3] -> degrees
    """Between two rotations; by their difference, which is exact for small angles too."""
    return float(np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(first - second) / np.sqrt(8), 0, 1))))


def some_motion(frames: int = 3, seed: int = 4) -> Motion:
    generator = np.random.default_rng(seed)
    rotations = generator.normal(0, 0.4, (frames, 55, 3))
    return Motion(rotations, generator.normal(0, 1.0, (frames, 3)), np.zeros(10), 24.0, "Y")


def put_on(rig: bpy.types.Object, made: Motion) -> Rest:
    rest = rest_of(rig)
    motion.apply_motion(rig, rest, made, motion.MotionSettings(on_floor=False))
    bpy.context.scene.frame_set(2)
    return rest


def limb_errors(rest: Rest, rig: bpy.types.Object, made: Motion, pose: int = 1) -> list[float]:
    """Degrees between the limbs of a rig and of the body that moves, by the heads of the bones."""
    body = body_joints(55)
    expected = whole(matrices_from_axis_angle(made.rotations[pose]), PARENTS[55])
    bones = [rig.pose.bones[name] for name in rest.rig_joints.bones[:BODY] if name] if rig else []
    heads = {bone.name: np.array(bone.matrix.translation, np.float64) for bone in bones}
    found = []
    for joint, end in LIMBS.items():
        names = rest.rig_joints.bones
        here = (heads[names[end]] - heads[names[joint]]) @ rest.frame.rotation
        there = expected[joint] @ (body[end] - body[joint])
        cosine = here @ there / np.linalg.norm(here) / np.linalg.norm(there)
        found.append(np.degrees(np.arccos(min(cosine, 1.0))))
    return found


def misread(rest: Rest, rig: bpy.types.Object, made: Motion, pose: int = 1) -> list[float]:
    """Degrees by which each joint is read other than the motion has it."""
    read = read_pose(rig, bpy.context.evaluated_depsgraph_get(), rest).rotations
    wanted = matrices_from_axis_angle(made.rotations[pose])
    return [angle(read[joint], wanted[joint]) for joint in range(BODY)]
