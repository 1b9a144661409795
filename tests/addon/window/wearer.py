"""Runs inside a real Blender with a window: somebody else's character is appended, moved, dressed, baked and rendered.

As walk.py, with which it shares the stage. `stranger.py` has made the character before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import hands
from installing import install_by_drop
from stage import (
    FILE,
    PICTURES,
    SIDEBAR,
    drop,
    exact,
    is_baked,
    middle,
    module,
    open_tab,
    picture,
    points,
    run,
    save,
    told,
    worn,
)  # fmt: skip
from walk import bone_place, render, scrub

STRANGER = PICTURES / "stranger.blend"
BLEND = PICTURES / "wearer.blend"
BONES = "Human.rig"
HEADER = 30  # pixels from a panel's last button to the next panel's header
LOOKED_AT = 150  # a frame of the dance in which a leg is lifted


def person() -> bpy.types.Object:
    return bpy.data.objects[BONES]


def append() -> Iterator[float]:
    """File > Append, and the character's collection in the file browser; a click on it says that it is meant."""
    yield from hands.go_to(FILE, "wm.append")
    hands.do("key", "Return")
    yield from hands.name_file(STRANGER / "Collection" / "Human")
    picture("50-append")
    yield from hands.confirm_file(lambda: BONES in bpy.context.scene.objects, "the character is appended")
    hands.press(middle(), "KP_1", "KP_Decimal")
    yield 2.0
    hands.click_at(bone_place(person(), "mixamorig:Spine2"))
    active = lambda: bpy.context.view_layer.objects.active  # noqa: E731
    yield from hands.until(lambda: active() in (person(), *person().children), "the character is clicked")
    yield 1.0
    picture("51-character")


def bones() -> Iterator[float]:
    """Bone Mapping, below the motions, shows which bones were found. It is closed again."""
    x, y = yield from hands.find(*SIDEBAR, "scale_clothing.apply_motion", (0.4,))
    hands.click_at((x, y + HEADER))
    yield 1.0
    field = yield from hands.find_property(*SIDEBAR, "scale_clothing.left_hip", (0.7,))
    assert person().data.scale_clothing.left_hip == "mixamorig:LeftUpLeg"
    hands.do("mousemove", *(str(round(value)) for value in middle()))
    yield 1.0
    picture("52-bones")
    hands.click_at(field)
    yield 1.5
    picture("53-a-bone-is-chosen")
    hands.do("key", "Escape")
    yield 1.0
    x, y = yield from hands.find(*SIDEBAR, "scale_clothing.apply_motion", (0.4,))
    hands.click_at((x, y + HEADER))
    yield 1.0


def motion() -> Iterator[float]:
    """A dance is dropped into the viewport. The question for its options is answered."""
    path = Path(module("paths").asset_folder()) / "motions" / "dance.npz"
    yield from drop(path, middle(), lambda: True, "a motion is dropped")
    yield 2.0
    picture("54-motion")
    hands.do("key", "Return")
    yield from hands.until(lambda: person().animation_data, "the motion is keyed")
    assert "dance" in person().animation_data.action.name
    hands.press(middle(), "KP_Decimal")  # it stands on the floor now
    yield 2.0
    picture("55-moved")


def generate() -> Iterator[float]:
    """The panel says whose body was taken."""
    yield from hands.click(*SIDEBAR, "scale_clothing.generate", worn, seconds=180)
    settings = worn()[0].scale_clothing
    lines = module("clothes.proportions").surface_told(worn()[0])
    assert lines and lines[0].startswith("Body: 'Human'"), lines
    assert settings.hide_skin, "The skin under the clothes is not hidden."
    yield from hands.find_property(*SIDEBAR, "scale_clothing.body", (0.6,))  # scrolled to
    picture("56-fitted")


def bake() -> Iterator[float]:
    """The whole dance, and a frame of it from the file."""
    yield from save(BLEND)
    yield from hands.click(*SIDEBAR, "scale_clothing.bake", is_baked, seconds=240)
    bpy.context.scene.frame_set(LOOKED_AT)
    assert np.abs(points(worn()[0]) - exact(worn()[0])).max() < 1e-4, "The bake is of other clothes."
    yield 1.0
    picture("57-baked")


STEPS = install_by_drop, open_tab, append, bones, motion, generate, scrub, bake, render

if __name__ == "__main__":
    run(told(*STEPS))
