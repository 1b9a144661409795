"""Other people's characters in Blender: a mesh with vertex groups on an armature of their own (see tests/strangers)."""

from __future__ import annotations

import bpy
import numpy as np
from bpy.types import Object

from blender_addon.rig.axes import BLENDER
from scale_backend.formats.joints import BODY, SMPL_PARENTS
from tests import strangers

TAILS = {
    0: 3,
    1: 4,
    2: 5,
    3: 6,
    4: 7,
    5: 8,
    6: 9,
    7: 10,
    8: 11,
    9: 12,
    12: 15,
    13: 16,
    14: 17,
    16: 18,
    17: 19,
    18: 20,
    19: 21,
}


def makehuman_character(rig: str = "mixamo", person: str = "woman", unit: float = 1.0) -> Object:
    """MakeHuman's base mesh on one of its rigs, as MPFB makes it. Returns the armature object."""
    data = strangers.data("hm08")
    return build_character(
        list(data[f"{rig}.bones"]),
        data[f"{rig}.parents"].tolist(),
        data[f"{rig}.heads.{person}"],
        data[f"{rig}.tails.{person}"],
        data[f"vertices.{person}"] * 1e-4,
        data["quads"],
        (data[f"{rig}.influences"], data[f"{rig}.weights"]),
        unit,
    )


def garmentcode_character(person: str = "all", unit: float = 1.0) -> Object:
    """GarmentCode's mean body on bones with SMPL's names, in an A-pose."""
    data = strangers.data("garmentcode")
    heads = data[f"joints.{person}"]
    tails = np.array([heads[TAILS[j]] if j in TAILS else heads[j] + [0, 0.1, 0.02] for j in range(len(BODY))])
    skin = data["influences"], data["weights"]
    vertices = data[f"vertices.{person}"] * 1e-4
    parents = list(SMPL_PARENTS[: len(BODY)])
    return build_character(list(BODY), parents, heads, tails, vertices, data["triangles"], skin, unit)


def build_character(
    names: list[str],
    parents: list[int],
    heads: np.ndarray,  # [B, 3] SMPL's axes, metres
    tails: np.ndarray,  # [B, 3]
    vertices: np.ndarray,  # [V, 3]
    faces: np.ndarray,  # [P, 3 or 4]
    skin: tuple[np.ndarray, np.ndarray],  # [V, K] bones and shares of 255
    unit: float = 1.0,  # armature units in a metre
) -> Object:
    armature = bpy.data.armatures.new("Stranger")
    rig = bpy.data.objects.new("Stranger", armature)
    bpy.context.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    bones = [armature.edit_bones.new(str(name)) for name in names]
    for bone, parent, head, tail in zip(bones, parents, heads, tails, strict=True):
        bone.head, bone.tail = BLENDER @ head * unit, BLENDER @ tail * unit
        bone.parent = bones[parent] if parent >= 0 else None
    bpy.ops.object.mode_set(mode="OBJECT")
    mesh = bpy.data.meshes.new("Stranger Body")
    mesh.from_pydata(vertices @ BLENDER.T * unit, [], [list(dict.fromkeys(face)) for face in faces.tolist()])
    body = bpy.data.objects.new("Stranger Body", mesh)
    bpy.context.collection.objects.link(body)
    body.parent = rig
    influences, shares = skin
    for number, name in enumerate(names):
        group = body.vertex_groups.new(name=str(name))
        rows, columns = np.nonzero((influences == number) & (shares > 0))
        for row, share in zip(rows.tolist(), (shares[rows, columns] / 255).tolist(), strict=True):
            group.add([row], share, "REPLACE")
    body.modifiers.new("Armature", "ARMATURE").object = rig
    return rig
