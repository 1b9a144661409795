"""The shape of a recorded person on a rig's body, where both are of one body model."""

from __future__ import annotations

import re

from bpy.types import Object

from scale_backend.formats.motion import Motion

from ..blender.objects import armature_of, mesh_of
from ..present import present
from ..rig import shape
from ..settings import clothes_settings

# vertices of a model's body, and the models whose shape coefficients mean the same on it
MODELS = {6890: ("smpl", "smplh"), 10475: ("smplx",)}
GENDER_KEYS = ("gender", "smplx_gender")  # custom properties that the models' own add-ons set
GENDERS = {"f": "female", "m": "male", "n": "neutral"}
# how objects of SMPL's family are called: SMPLX-mesh-female, SMPL-male.001, f_avg
NAMED = re.compile(r"(?:^|[^a-z])(female|male|neutral|[fm](?=_avg))", re.IGNORECASE)


def give(target: Object, motion: Motion) -> str:
    """Set the shape keys of a rig's body to a motion's shape; returns what there is to say if that cannot be.

    Coefficients mean nothing on another model, nor on the same model of another gender. Those of the sample character
    are its own.
    """
    mesh = shape.shaped_mesh(target)
    if mesh is None or clothes_settings(mesh).is_sample_body or len(mesh_of(mesh).vertices) not in MODELS:
        return "; its body shape was left out, as this body is not SMPL's or has no shape keys for it"
    if motion.model.partition("_")[0] not in MODELS[len(mesh_of(mesh).vertices)]:  # "smplx_locked_head"
        known = f"is for {motion.model}" if motion.model else "does not say for which model it is"
        return f"; its body shape was left out, as the file {known}"
    if not motion.shape.any():
        return "; its body shape was left out, as the file tells none"
    gender = _gender(target, mesh)
    if not gender or not motion.gender:
        unknown = "the file does not say" if not motion.gender else "this body does not say"
        return f"; its body shape was left out, as {unknown} whether it is female, male or neutral"
    if gender != motion.gender:
        return f"; its body shape was left out, as it is for a {motion.gender} body and this one is {gender}"
    blocks = present(mesh_of(mesh).shape_keys).key_blocks
    for index, value in enumerate(motion.shape.tolist()):
        block = blocks.get(f"Shape{index:03d}")
        if block is not None:
            block.slider_min, block.slider_max = min(block.slider_min, value), max(block.slider_max, value)
            block.value = value
    return ""


def _gender(target: Object, mesh: Object) -> str:
    """Whose body it is, by its custom properties, else by its name; "" where neither tells."""
    armature = armature_of(target)
    holders = (mesh, mesh_of(mesh), target, armature)
    stated = next((str(holder[key]) for holder in holders for key in GENDER_KEYS if holder.get(key) is not None), "")
    named = [NAMED.search(name) for name in (*(holder.name for holder in holders), *armature.bones.keys()[:3])]
    word = (stated or next((match[1] for match in named if match), "")).lower()
    return GENDERS.get(word[:1], "")
