"""Runs inside a real Blender with a window: a new user's walk through the add-on, each step checked.

run.sh starts Blender with an empty user folder, the zip, and a folder for the pictures. All is done with mouse and
keyboard, but for the few things that a comment names. The process ends with 0 only when all was right.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
from bpy_extras.view3d_utils import location_3d_to_region_2d

sys.path.insert(0, str(Path(__file__).parent))
import hands
from installing import install, install_by_drop, open_preferences, set_up, show_addon, switch_addon
from stage import (
    FILE,
    MODULE,
    PICTURES,
    SIDEBAR,
    VIEW,
    WHICH,
    WINDOW,
    chosen,
    drop,
    exact,
    frame_place,
    is_baked,
    is_installed,
    middle,
    module,
    new_file,
    open_file,
    open_tab,
    picture,
    points,
    rows,
    run,
    save,
    show_tab,
    told,
    worn,
)  # fmt: skip

LAST_FRAME = 240  # of the dance
BLEND = PICTURES / "walk.blend"
SHADING = {"SOLID": 79, "MATERIAL": 59}  # pixels from the right edge of the viewport's header
DRAWN = 8.0  # seconds that Material Preview takes to be drawn here
STOP = 0.8  # where the button that stops a bake is across the sidebar
ACROSS = {"CLOTH": 0.15, "PATCHES": 0.7}  # where the looks are across the sidebar


def character() -> Iterator[float]:
    yield from hands.click(*SIDEBAR, "scale_clothing.add_character", lambda: chosen().rig)
    hands.press(middle(), "KP_1", "KP_Decimal")
    yield 2.0
    picture("04-character")


def motion() -> Iterator[float]:
    """File > Import, and a motion file in the file browser."""
    path = Path(module("paths").asset_folder()) / "motions" / "dance.npz"
    yield from hands.go_to(FILE, "TOPBAR_MT_file_import", "scale_clothing.import_motion")
    picture("05-import")
    hands.do("key", "Return")
    yield from hands.name_file(path)
    picture("05-motion-file")
    yield from hands.confirm_file(lambda: chosen().rig.animation_data, "the motion is keyed")
    assert bpy.context.scene.frame_end == LAST_FRAME
    yield 1.0


def dropped_files() -> Iterator[float]:
    """A motion, which asks for its options, and a garment, dropped into the viewport. The garment is chosen then."""
    assets, mine = Path(module("paths").asset_folder()), PICTURES / "my-tee.safetensors"
    yield from drop(assets / "motions" / "walk.npz", middle(), lambda: True, "a motion is dropped")
    yield 2.0
    picture("05-dropped-motion")
    hands.do("key", "Return")
    yield from hands.until(lambda: "walk" in chosen().rig.animation_data.action.name, "the dropped motion is keyed")
    hands.press(middle(), "ctrl+z")
    yield from hands.until(lambda: "dance" in chosen().rig.animation_data.action.name, "undo brings the dance back")
    shutil.copy(assets / "garments" / "tee-trousers.safetensors", mine)
    yield from drop(mine, middle(), lambda: chosen().garment.endswith(mine.name), "the dropped garment is chosen")
    mine.unlink()
    yield 2.0
    picture("05-dropped-garment")
    hands.click_at((yield from hands.find_property(*SIDEBAR, "scale_clothing.garment", (0.6,))))
    yield 1.0
    picture("05-garments")
    hands.do("key", "d")
    yield from hands.until(lambda: chosen().garment == "dress", "the dress is chosen")


def generate() -> Iterator[float]:
    yield from hands.click(*SIDEBAR, "scale_clothing.generate", worn, seconds=90)
    obj = worn()[0]
    assert len(obj.data.polygons), "The clothes are no surface."
    yield 1.0
    picture("06-clothes")
    hands.press(middle(), "ctrl+z")
    yield from hands.until(lambda: not worn(), "undo takes the clothes off, in one step")
    assert chosen().rig.animation_data
    hands.press(middle(), "ctrl+shift+z")
    yield from hands.until(worn, "redo puts them on again")


def scrub() -> Iterator[float]:
    before = points(worn()[0])
    hands.drag(frame_place(5), frame_place(60))
    yield from hands.until(lambda: 50 < bpy.context.scene.frame_current < 70, "the timeline is dragged")
    yield 2.0
    shown = points(worn()[0])
    assert np.abs(shown - before).max() > 0.05, "The clothes did not follow the frame."
    assert np.abs(shown - exact(worn()[0])).max() < 1e-5, "They are not those of this frame."
    picture("07-scrubbed")


def bone_place(character: bpy.types.Object, name: str) -> hands.Place:
    """Where the middle of a bone is in the viewport."""
    view = hands.region(*VIEW)
    middle_of_bone = character.matrix_world @ character.pose.bones[name].center
    x, y = location_3d_to_region_2d(view, hands.area("VIEW_3D").spaces.active.region_3d, middle_of_bone)
    return hands.place(view, x / view.width, 1 - y / view.height)


def pose() -> Iterator[float]:
    """A bone is turned with the mouse: the clothes stay until it is let go."""
    character, frame = chosen().rig, bpy.context.scene.frame_current
    hands.press(middle(), "ctrl+Tab")
    yield from hands.until(lambda: bpy.context.mode == "POSE", "Pose Mode")
    hands.click_at(bone_place(character, "left_hip"))
    yield from hands.until(lambda: character.data.bones.active == character.data.bones["left_hip"], "a bone is clicked")
    before = points(worn()[0])
    hands.press(middle(), "r")
    turning = lambda: any(name.startswith("TRANSFORM_OT_") for name in module("clothes.live")._modal_operators())  # noqa: E731
    yield from hands.until(turning, "the bone is being turned")
    hands.do("mousemove_relative", "60", "150")
    yield 2.0
    assert turning() and np.array_equal(points(worn()[0]), before), "The clothes did not wait."
    picture("08-turning-a-bone")
    hands.do("key", "Return")
    yield from hands.until(lambda: np.abs(points(worn()[0]) - before).max() > 0.02, "the clothes follow the bone")
    assert np.abs(points(worn()[0]) - exact(worn()[0])).max() < 1e-5, "They are not those of this pose."
    picture("09-turned")
    hands.press(middle(), "ctrl+Tab")
    yield from hands.until(lambda: bpy.context.mode == "OBJECT", "Object Mode")
    hands.press(middle(), "Right", "Left")  # back to the motion
    yield from hands.until(lambda: bpy.context.scene.frame_current == frame, "the frame is left and gone back to")
    yield 1.0


def bake() -> Iterator[float]:
    """Stopped by Esc, gone on with, stopped by its button, and done; the window is usable meanwhile."""
    yield from save(BLEND)
    running, folder = module("ui.bake_operators").running, PICTURES / "clothes"
    hands.write((yield from hands.find_property(*SIDEBAR, "scale_clothing.bake_samples", (0.6,))), "4")
    yield from hands.until(lambda: chosen().bake_samples == 4, "the bake is made long enough to be stopped twice")
    yield from begin_bake()
    frame = bpy.context.scene.frame_current
    hands.press(middle(), "Right")
    yield from hands.until(lambda: bpy.context.scene.frame_current == frame + 1, "the window is usable")
    yield from hands.until(lambda: not running() or running().share > 0.2, "the bake gets on")
    assert running(), "The bake was over before it could be stopped."
    picture("10-bake")
    hands.press(middle(), "Escape")
    yield from hands.until(lambda: not running(), "Esc stops the bake")
    assert not is_baked() and len(list(folder.glob("*.part"))) == 1 and not list(folder.glob("*.pc2"))
    row = yield from hands.find(*SIDEBAR, "scale_clothing.bake")
    sidebar = hands.region(*SIDEBAR)
    hands.click_at(row)
    yield from hands.until(lambda: running() and running().progress.text.startswith("Baking"), "it goes on")
    stop = (sidebar.x + STOP * sidebar.width, row[1])  # in the row of the other
    yield from hands.click_one_of([stop] * hands.TRIES, lambda: not running(), "the button stops it")
    assert not is_baked() and not list(folder.glob("*.pc2"))
    picture("10-stopped")
    yield from hands.click(*SIDEBAR, "scale_clothing.bake", is_baked, seconds=120)
    assert [path.suffix for path in folder.iterdir()] == [".pc2"]
    yield 1.0
    picture("11-baked")
    hands.press(middle(), "ctrl+z")
    yield from hands.until(lambda: not is_baked(), "undo takes the bake off, in one step")
    hands.press(middle(), "ctrl+shift+z")
    yield from hands.until(is_baked, "redo puts it back")


def looks() -> Iterator[float]:
    """Fabric and looks are clicked. They are seen in Material Preview, whose shaders take their time without a GPU; so
    each is clicked before, and found anew, as the panel's height goes with the look."""
    settings, cloth = worn()[0].scale_clothing, worn()[0].data.materials[0]
    cotton = weave(cloth)
    fabric = yield from hands.find_property(*SIDEBAR, "scale_clothing.fabric", (0.6,))
    yield from hands.pick_at(fabric, "s", lambda: settings.fabric == "SILK")
    assert weave(cloth) != cotton, "The material is not of another fabric."
    yield from drawn("12-silk")
    for look in ("PATCHES", "CLOTH"):
        button = yield from hands.find_property(*SIDEBAR, "scale_clothing.look", (ACROSS[look],))
        yield from hands.click_patiently(button, lambda look=look: settings.look == look, f"the look {look}")
        assert (worn()[0].data.materials[0] == cloth) == (look == "CLOTH")
        yield from drawn(f"12-{look.lower()}")


def drawn(name: str) -> Iterator[float]:
    """A picture of Material Preview."""
    yield from shade("MATERIAL")
    yield DRAWN
    yield from hands.rest()
    picture(name)
    yield from shade("SOLID")


def weave(cloth: bpy.types.Material) -> list[float]:
    """The numbers that make a material this fabric."""
    return [each.default_value for each in module("appearance.fabrics").node(cloth).inputs if each.type == "VALUE"]


def shade(kind: str) -> Iterator[float]:
    """One of the four buttons at the right of the viewport's header."""
    header, shading = hands.region("VIEW_3D", "HEADER"), hands.area("VIEW_3D").spaces.active.shading
    button = hands.place(header, 1 - SHADING[kind] / header.width, 0.5)
    yield from hands.click_patiently(button, lambda: shading.type == kind, f"the viewport shows {kind}")


def render() -> Iterator[float]:
    """Cycles is chosen, the camera put where the view is, and F12 pressed."""
    scene, properties = bpy.context.scene, hands.area("PROPERTIES").spaces.active
    shown = lambda: properties.context == "RENDER"  # noqa: E731
    yield from hands.click_one_of(rows("PROPERTIES", "NAVIGATION_BAR", 0.5, 16), shown, "the render properties")
    yield from hands.pick("PROPERTIES", "WINDOW", "render.engine", "c", lambda: scene.render.engine == "CYCLES")
    # set, as they are about how long the picture takes, its frame and its light
    scene.cycles.samples, scene.cycles.use_denoising = 16, False
    scene.render.resolution_x, scene.render.resolution_y = 480, 640
    sun = next(obj for obj in scene.objects if obj.type == "LIGHT")
    sun.data.type, sun.data.energy, sun.rotation_euler = "SUN", 3.0, (0.9, 0.3, 0.6)
    hands.press(middle(), "ctrl+alt+KP_0")
    yield from hands.until(lambda: view_kind() == "CAMERA", "the camera is where the view was")
    yield 1.0
    done = []
    bpy.app.handlers.render_complete.append(lambda *_: done.append(True))
    hands.press(middle(), "F12")
    yield from hands.until(lambda: done, "the picture is rendered", 180)
    bpy.app.handlers.render_complete.clear()
    yield from hands.new_window("IMAGE_EDITOR")
    yield 1.0
    picture("13-render")
    hands.press(hands.place(hands.region("IMAGE_EDITOR", "WINDOW"), 0.5, 0.5), "Escape")
    yield from hands.until(lambda: not hands.areas("IMAGE_EDITOR"), "Esc closes the picture")
    yield from hands.listen()


def view_kind() -> str:
    return hands.area("VIEW_3D").spaces.active.region_3d.view_perspective


def reopen() -> Iterator[float]:
    frames = {}
    for frame in (1, 40):
        bpy.context.scene.frame_set(frame)
        frames[frame] = points(worn()[0])
    bpy.context.scene.frame_set(1)
    name = worn()[0].name
    yield from save(BLEND)
    yield from new_file()
    assert not worn()
    assert not [h for h in bpy.app.handlers.frame_change_post if h.__module__.startswith(MODULE)]
    yield from open_file(BLEND)
    assert [obj.name for obj in worn()] == [name] and is_baked()
    for frame, shape in frames.items():
        bpy.context.scene.frame_set(frame)
        assert np.abs(points(worn()[0]) - shape).max() < 1e-5
    assert worn()[0].scale_clothing.fabric == "SILK"
    yield from show_tab()
    picture("14-reopened")


def disable() -> Iterator[float]:
    """The baked clothes stay, everything else of the add-on goes, and comes back."""
    yield from open_preferences("ADDONS")
    yield from show_addon()
    yield from switch_addon(lambda: not is_installed())
    assert any(modifier.type == "MESH_CACHE" for obj in bpy.data.objects for modifier in obj.modifiers)
    picture("15-disabled")
    yield from switch_addon(is_installed)
    yield from hands.close("PREFERENCES")
    assert worn() and is_baked()


def begin_bake() -> Iterator[float]:
    """Up to where frames are written."""
    running = module("ui.bake_operators").running
    yield from hands.click(*SIDEBAR, "scale_clothing.bake", running)
    yield from hands.until(lambda: running().progress.text.startswith("Baking"), "poses are read")


def bake_into(folder: str) -> Iterator[float]:
    """Another folder is typed, and a bake begun there."""
    path = f"//clothes/{folder}"
    hands.write((yield from hands.find_property(*SIDEBAR, "scale_clothing.bake_folder", (0.5,))), path)
    yield from hands.until(lambda: chosen().bake_folder == path, "the folder is typed")
    yield from begin_bake()


def interrupt() -> Iterator[float]:
    """Undo, a new file, a second window and disabling the add-on, in the middle of things."""
    running = module("ui.bake_operators").running
    yield from show_tab()
    yield from hands.click(*SIDEBAR, "scale_clothing.clear_bake", lambda: not is_baked())
    yield from bake_into("undone")
    hands.press(middle(), "ctrl+z")
    yield from hands.until(lambda: not running(), "undo ends the bake")
    yield 1.0
    hands.press(middle(), "ctrl+shift+z")
    yield 2.0
    if is_baked():  # the undo took the clearing back, if the redo did not come through
        module("clothes.playback").clear_bake(worn()[0])
    yield from bake_into("left")
    yield from new_file()
    assert not running() and not worn() and not module("clothes.live")._suspended
    yield from open_file(BLEND)
    yield from show_tab()
    yield from hands.click(*SIDEBAR, "scale_clothing.clear_bake", lambda: not is_baked())
    yield from hands.go_to(WINDOW, "wm.window_new")
    hands.do("key", "Return")
    yield from hands.new_window("VIEW_3D")
    hands.press(middle(), "Right")
    yield 3.0
    picture("15-two-windows")
    assert np.abs(points(worn()[0]) - exact(worn()[0])).max() < 1e-5, "Two windows confuse it."
    yield from hands.close("VIEW_3D")
    yield from bake_into("disabled")
    bpy.ops.preferences.addon_disable(module=MODULE)  # by command: the bake is over before the preferences are open
    yield 2.0
    assert not [key for key in sys.modules if key.startswith(MODULE)] or not is_installed()
    bpy.ops.preferences.addon_enable(module=MODULE)
    yield 1.0
    assert worn() and not module("ui.bake_operators").running()
    picture("16-enabled-again")


STEPS = (
    *((install, set_up) if "set-up" in WHICH else (install_by_drop,)),
    open_tab, character, motion, dropped_files, generate, scrub, pose, bake, looks, render, reopen, disable, interrupt,
)  # fmt: skip

if __name__ == "__main__":
    run(told(*STEPS))
