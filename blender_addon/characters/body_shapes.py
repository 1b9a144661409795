"""The shape of a recorded person on a rig's body, where both are of one body model."""

from __future__ import annotations

from bpy.types import Object

from scale_backend.formats.motion import Motion

from ..rig import shape

# vertices of a model's body, and the models whose shape coefficients mean the same on it
MODELS = {6890: ("smpl", "smplh"), 10475: ("smplx",)}
GENDER_KEYS = ("gender", "smplx_gender")  # custom properties that the models' own add-ons set


def give(target: Object, motion: Motion) -> str:
    """Set the shape keys of a rig's body to a motion's shape; returns what there is to say if that cannot be.

    Coefficients mean nothing on another model, nor on the same model of another gender. Those of the sample character
    are its own.
    """
    mesh = shape.shaped_mesh(target)
    if mesh is None or mesh.scale_clothing.is_sample_body or len(mesh.data.vertices) not in MODELS:
        return "; its body shape was left out, as this body is not SMPL's or has no shape keys for it"
    if motion.model.partition("_")[0] not in MODELS[len(mesh.data.vertices)]:  # "smplx_locked_head"
        known = f"is for {motion.model}" if motion.model else "does not say for which model it is"
        return f"; its body shape was left out, as the file {known}"
    gender = next((str(holder[key]) for holder in (mesh, mesh.data) for key in GENDER_KEYS if key in holder), "")
    if gender and motion.gender and gender.lower() != motion.gender:
        return f"; its body shape was left out, as it is for a {motion.gender} body and this one is {gender}"
    blocks = mesh.data.shape_keys.key_blocks
    for index, value in enumerate(motion.shape.tolist()):
        block = blocks.get(f"Shape{index:03d}")
        if block is not None:
            block.slider_min, block.slider_max = min(block.slider_min, value), max(block.slider_max, value)
            block.value = value
    return ""
