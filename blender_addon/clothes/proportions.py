"""How far a rig's proportions are from those of the body that a garment was trained on."""

from __future__ import annotations

from functools import lru_cache

import bpy
import numpy as np
from bpy.types import Object

from scale_backend.formats import joints

from ..garments import library, opened
from ..messages import AddonError
from ..present import present
from ..rig import fitting
from ..rig.body_data import BodyData
from ..rig.modifiers import unread
from ..rig.rest import rest_of
from ..rig.shape import body_shape, has_shapes_of
from ..rig.wearer import skin_taken
from ..settings import clothes_settings

# what is compared: pairs of joints whose distances are added
PARTS = {
    "trunk": (("pelvis", "spine1"), ("spine1", "spine2"), ("spine2", "spine3"), ("spine3", "neck")),
    "thighs": (("left_hip", "left_knee"), ("right_hip", "right_knee")),
    "shins": (("left_knee", "left_ankle"), ("right_knee", "right_ankle")),
    "upper arms": (("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow")),
    "forearms": (("left_elbow", "left_wrist"), ("right_elbow", "right_wrist")),
    "distance between the shoulders": (("left_shoulder", "right_shoulder"),),
    "distance between the hips": (("left_hip", "right_hip"),),
}
BEARABLE = 0.15  # the cloth still fits when a length differs by this much
CLOSE = 0.006  # metres between two skins that are one
NOTABLE = 0.05  # of the cloth or the skin
USUAL_SHAPE = 3.0  # of a shape coefficient: 1 is one standard deviation


def warning(target: Object, entry: library.Entry, to_bones: bool = True, to_mesh: bool = True) -> str:
    """What may make a garment fit a rig badly, in a sentence; empty where nothing does, or nothing is known.

    to_bones, to_mesh: the clothes are fitted to the rig's bones, to its body's mesh; what is told is what remains.
    """
    if entry.summary is None:
        return ""
    try:
        rest = rest_of(target)
        body = entry.body()
    except AddonError:
        return ""  # told elsewhere
    try:
        fitted = fitting.body_for(target, rest, body, to_bones, to_mesh)
    except AddonError as error:
        return str(error)
    if fitted.wearer is not None:
        return ""  # how well it fits is told once it is fitted
    if body_shape(target).any() and not has_shapes_of(target, body):
        return (
            "The character's shape keys are not those of the body that the garment was trained on: "
            "the clothes follow only its bones; they may not fit."
        )
    sentence = _sentence(body, (rest.places / fitted.size).tobytes(), fitted.shape.tobytes())
    return f"{fitted.told} {sentence}".strip()


def fit_told(obj: Object) -> str:
    """How near the fitted body's joints come to those of the rig that wears clothes, for a label."""
    fitted = fitted_of(obj)
    return f" (±{fitted.residual * 1000:.0f} mm)" if fitted is not None and fitted.residual else ""


def fitted_of(obj: Object) -> fitting.FittedBody | None:
    """What clothes are fitted to; None where they are not, or nothing is known."""
    settings = clothes_settings(obj)
    entry = library.entry(settings.garment)
    if settings.rig is None or entry.summary is None or not settings.fit_to_rig:
        return None
    try:
        return fitting.body_for(settings.rig, rest_of(settings.rig), entry.body(), True, settings.fit_to_body)
    except AddonError:
        return None  # told elsewhere


def surface_told(obj: Object) -> tuple[str, ...]:
    """What clothes were laid onto, and how well that went: sentences for the panel, none for the garment's own body."""
    fitted = fitted_of(obj)
    if fitted is None or fitted.wearer is None:
        return ()
    report = opened.report_of(library.entry(clothes_settings(obj).garment), fitted.wearer)
    target = present(clothes_settings(obj).rig)  # or it would not be fitted
    skin = skin_taken(target, rest_of(target))
    names = "" if skin is None else skin.names
    if report is None:
        return (f"Body: {names}",)
    sentences = [f"Body: {names}, {report.gap * 1000:.1f} mm from the garment's on average"]
    left_out = [] if skin is None else [name for mesh in skin.meshes for name in unread(bpy.data.objects[mesh])]
    if left_out:
        sentences.append(f"The body is taken without its modifiers {', '.join(left_out)}, which clothes do not see")
    if report.inside > NOTABLE:
        sentences.append(f"{100 * report.inside:.0f} % of the cloth lay inside it and was moved out")
    if report.parts:
        parts = ", ".join(name.replace("_", " ") for name in report.parts)
        sentences.append(f"No skin was found to fit: {parts}. Choose another mesh as Body, or fit to the bones alone")
    return tuple(sentences)


def fits_well(obj: Object) -> bool:
    """Whether clothes lie on a body's surface so well that the skin below may be hidden."""
    fitted = fitted_of(obj)
    if fitted is None or fitted.wearer is None:
        return False
    report = opened.report_of(library.entry(clothes_settings(obj).garment), fitted.wearer)
    return report is not None and report.gap < CLOSE and report.unmatched < NOTABLE


@lru_cache(maxsize=64)
def _sentence(body: BodyData, rest: bytes, shape: bytes) -> str:
    """Panels are drawn often, bones at rest seldom change."""
    coefficients = np.frombuffer(shape, np.float32)
    here = lengths(np.frombuffer(rest).reshape(-1, 3))
    # rigs with shape keys may or may not move their bones along
    fits = [lengths(body.joints), lengths(body.rest_joints(coefficients))]
    trained = min(fits, key=lambda each: _worst(here, each)[1])
    part, difference = _worst(here, trained)
    if difference > BEARABLE:
        percent = round(100 * (here[part] / trained[part] - 1))
        verb = "measure" if part in ("thighs", "shins", "upper arms", "forearms") else "measures"
        return (
            f"The garment was trained on other proportions: this character's {part} {verb} {abs(percent)} % "
            f"{'more' if percent > 0 else 'less'}; it may not fit."
        )
    if np.abs(coefficients).max(initial=0.0) > USUAL_SHAPE:
        return "The character's body shape is far from what the garment was trained on; it may not fit."
    return ""


def lengths(rest: np.ndarray) -> dict[str, float]:  # [22.., 3] metres
    """The length of each part."""
    place = {name: rest[index] for index, name in enumerate(joints.BODY)}
    return {part: float(sum(np.linalg.norm(place[a] - place[b]) for a, b in pairs)) for part, pairs in PARTS.items()}


def _worst(here: dict[str, float], trained: dict[str, float]) -> tuple[str, float]:
    """The part that differs most, and by what factor, less one."""
    ratios = {part: here[part] / trained[part] for part in PARTS}
    part = max(ratios, key=lambda name: max(ratios[name], 1 / max(ratios[name], 1e-6)))
    return part, max(ratios[part], 1 / max(ratios[part], 1e-6)) - 1
