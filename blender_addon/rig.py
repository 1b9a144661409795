"""Recognise SMPL-family rigs by their bones and read their pose from what the bones do to the body."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import bpy
import numpy as np
from bpy.types import Object

from scale_backend import joints

from . import axes, meshes, rest_pose
from .body_data import BodyData, read_body
from .messages import AddonError
from .paths import body_file

# The names that the SMPL add-ons and the Maya, Unity and SURREAL files give the joints.
SHORT_NAMES = (
    "Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot",
    "R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist",
    "R_Wrist", "L_Hand", "R_Hand",
)  # fmt: skip
OTHER_NAMES = {"left_eye_smplhf": "left_eye", "right_eye_smplhf": "right_eye"}
BODY_JOINTS = len(joints.BODY)
NAMED_MISSING = 6
SHAPE_KEYS = 10
ALIKE = 0.999  # cosine between the shape keys of one body model


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


@dataclass(frozen=True)
class RigFrame:
    """How the rig's armature space lies about SMPL's axes."""

    rotation: np.ndarray  # [3, 3] from SMPL's axes to the armature's
    unit: float  # armature units in a metre: 100 for rigs in centimetres

    def to_armature(self, vectors: np.ndarray) -> np.ndarray:  # points [..., 3], metres
        return axes.change(vectors, self.rotation, self.unit)

    def turn_to_armature(self, vectors: np.ndarray) -> np.ndarray:  # directions [..., 3]
        return axes.change(vectors, self.rotation)


@dataclass(frozen=True)
class Pose:
    """One frame of a rig. SMPL's axes, metres."""

    rotations: np.ndarray  # [J, 3, 3] float32, local
    pelvis: np.ndarray  # [3] where the pelvis joint is

    def translation(self, rest_pelvis: np.ndarray) -> np.ndarray:  # [3] -> [3] float32, SMPL's `trans`
        return (self.pelvis - rest_pelvis).astype(np.float32)


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


def rig_of(candidate: Object | None) -> Object | None:
    """The armature an object is, hangs on or is deformed by."""
    while candidate is not None:
        if candidate.type == "ARMATURE":
            return candidate
        deformer = candidate.find_armature() if candidate.type == "MESH" else None
        candidate = deformer or candidate.parent
    return None


def meshes_of(rig: Object) -> list[Object]:
    """The meshes that the rig deforms: the character's body, and what else it wears."""
    return [
        other
        for other in bpy.data.objects
        if other.type == "MESH" and any(m.type == "ARMATURE" and m.object == rig for m in other.modifiers)
    ]


def rest_joints(rig: Object, found: RigJoints) -> np.ndarray:  # [22, 3] armature space
    """The heads of the bones of the body's joints at rest."""
    bones = rig.data.bones
    # Blender 5.0 would hand over float32
    return np.array([bones[name].matrix_local.translation for name in found.bones[:BODY_JOINTS]], np.float64)


def rest_frame(rig: Object, found: RigJoints) -> RigFrame:
    """Axes and units of the armature space, from the bones at rest."""
    return fitted_frame(rest_joints(rig, found).tobytes())


@lru_cache(maxsize=64)
def fitted_frame(rest: bytes) -> RigFrame:
    """Live update asks for every frame; the bones at rest seldom change."""
    body = read_body(body_file("neutral"))
    return RigFrame(*axes.fit_frame(body.joints, np.frombuffer(rest).reshape(-1, 3)))


def rest_turns(rig: Object, found: RigJoints) -> np.ndarray:  # [J, 3, 3] SMPL's axes
    """The rotation of each joint from the T-pose to the rig's rest; identities where that is a T-pose."""
    return fitted_turns(rest_joints(rig, found).tobytes(), found.parents)


@lru_cache(maxsize=64)
def fitted_turns(rest: bytes, parents: tuple[int, ...]) -> np.ndarray:
    body = read_body(body_file("neutral"))
    places = np.frombuffer(rest).reshape(-1, 3) @ fitted_frame(rest).rotation
    return rest_pose.turns(body.joints, places, parents)


def rest_pelvis(rig: Object, found: RigJoints, body: BodyData, shape: np.ndarray) -> np.ndarray:  # [3]
    """Where the body's pelvis is at rest, for the body that the rig's bones fit: SMPL's axes, metres.

    Shape keys change the body; some rigs move their bones along, others leave them with the mean body's joints.
    """
    if not shape.any():
        return body.joints[0]
    frame = rest_frame(rig, found)
    rest = rest_joints(rig, found)
    rest = rest @ frame.rotation / frame.unit
    fits = [body.joints, body.rest_joints(shape)]
    errors = [np.abs((joints - joints[0])[:BODY_JOINTS] - (rest - rest[0])).sum() for joints in fits]
    return fits[int(np.argmin(errors))][0]


def deformations(rig: Object, found: RigJoints) -> np.ndarray:  # [J, 4, 4]
    """What each bone does to the body, in armature space: rest to posed. A missing bone follows its parent."""
    posed, rest = _matrices(rig.pose.bones, "matrix", found), _matrices(rig.data.bones, "matrix_local", found)
    # bones at rest are turned and moved alone; numpy's inverse would wake threads that keep the backend's core busy
    back = np.zeros_like(rest)
    back[:, :3, :3] = rest[:, :3, :3].swapaxes(1, 2)
    back[:, :3, 3] = -(back[:, :3, :3] @ rest[:, :3, 3:])[..., 0]
    back[:, 3, 3] = 1
    return posed @ back


def _matrices(bones: bpy.types.bpy_prop_collection, which: str, found: RigJoints) -> np.ndarray:  # [J, 4, 4]
    """All at once: one by one, Blender's matrices take ten times as long to become arrays."""
    flat = np.empty(16 * len(bones), np.float32)
    bones.foreach_get(which, flat)
    numbers = {name: number for number, name in enumerate(bones.keys())}
    chosen: list[int] = []
    for name, parent in zip(found.bones, found.parents, strict=True):
        chosen.append(chosen[parent] if name is None else numbers[name])
    return flat.reshape(-1, 4, 4).swapaxes(1, 2)[chosen].astype(np.float64)  # Blender's lie column by column


def read_pose(rig: Object, depsgraph: bpy.types.Depsgraph, found: RigJoints | None = None) -> Pose:
    """The pose of a rig as it is evaluated: IK, constraints and drivers count, rotation modes do not matter."""
    found = found or recognise(rig)
    frame = rest_frame(rig, found)
    evaluated = rig.evaluated_get(depsgraph)
    moved = deformations(evaluated, found)
    # the nearest rotation: bones may be scaled or sheared
    left, _, right = np.linalg.svd(moved[:, :3, :3])
    left[..., 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    turned = frame.rotation.T @ (left @ right) @ frame.rotation @ rest_turns(rig, found)  # in SMPL's axes
    head = np.array(evaluated.pose.bones[found.bones[0]].matrix.translation)
    return Pose(_local(turned, found), head @ frame.rotation / frame.unit)


def pose_at_rest(rig: Object, found: RigJoints) -> Pose:
    """The pose of a rig whose bones are at rest."""
    frame = rest_frame(rig, found)
    return Pose(_local(rest_turns(rig, found), found), rest_joints(rig, found)[0] @ frame.rotation / frame.unit)


def _local(turned: np.ndarray, found: RigJoints) -> np.ndarray:  # [J, 3, 3] -> [J, 3, 3] float32
    """What each joint adds to its parent's rotation."""
    local = turned.copy()
    local[1:] = np.swapaxes(turned[list(found.parents[1:])], -1, -2) @ turned[1:]
    return local.astype(np.float32)


def shaped_mesh(rig: Object) -> Object | None:
    """The rig's body mesh, if it has the shape keys Shape000, Shape001, .."""
    for mesh in meshes_of(rig):
        keys = mesh.data.shape_keys
        if keys is not None and "Shape000" in keys.key_blocks:
            return mesh
    return None


def body_shape(target: Object, body: BodyData | None = None) -> np.ndarray:  # [10] float32
    """Shape coefficients from the shape keys of the rig's body mesh; zeros without.

    body: zeros too if the shape keys are those of another body model, where the same numbers mean other shapes.
    """
    shape = np.zeros(SHAPE_KEYS, np.float32)
    mesh = shaped_mesh(target)
    if mesh is not None:
        blocks = mesh.data.shape_keys.key_blocks
        for index in range(SHAPE_KEYS):
            block = blocks.get(f"Shape{index:03d}")
            if block is not None and not block.mute:
                shape[index] = block.value
    if body is not None and shape.any() and not has_shapes_of(target, body):
        shape[:] = 0.0
    return shape


def has_shapes_of(target: Object, body: BodyData) -> bool:
    """Whether the first shape key of the rig's body mesh moves the vertices as the body's first shape does, in whatever
    axes and units; False without shape keys."""
    mesh = shaped_mesh(target)
    if mesh is None:
        return False
    if len(mesh.data.vertices) != len(body.template):
        return mesh.scale_clothing.is_sample_body  # edited by its user
    keys = mesh.data.shape_keys
    moved = meshes.key_positions(keys.key_blocks["Shape000"]) - meshes.key_positions(keys.reference_key)
    expected = body.shapes[..., 0]
    alike = np.linalg.svd(expected.T @ moved, compute_uv=False).sum()  # at the best rotation
    return alike > ALIKE * np.linalg.norm(expected) * np.linalg.norm(moved) > 0
