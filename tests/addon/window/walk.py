"""Runs inside a real Blender with a window: a new user's walk through the add-on, each step checked.

run.sh starts Blender with an empty user folder, the zip, and a folder for the pictures. Buttons are clicked with the
mouse; what a user would choose in menus and file browsers is set. The process ends with 0 only when all was right.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np
from bpy.app.handlers import persistent

sys.path.insert(0, str(Path(__file__).parent))
import hands

PACKAGE, FOLDER, *SET_UP = sys.argv[sys.argv.index("--") + 1 :]
PICTURES = Path(FOLDER)
MODULE = "bl_ext.user_default.scale_clothing"
VIEW, SIDEBAR = ("VIEW_3D", "WINDOW"), ("VIEW_3D", "UI")
LAST_FRAME = 240


def picture(name: str) -> None:
    hands.picture(PICTURES / f"{name}.png")


def module(name: str):
    return sys.modules[f"{MODULE}.{name}"]


def chosen():
    return bpy.context.scene.scale_clothing


def worn() -> list[bpy.types.Object]:
    return [obj for obj in bpy.context.scene.objects if obj.scale_clothing.is_clothes]


def points(obj: bpy.types.Object) -> np.ndarray:  # [V, 3] as shown
    mesh = obj.evaluated_get(bpy.context.view_layer.depsgraph).data
    values = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", values.ravel())
    return values


def exact(obj: bpy.types.Object) -> np.ndarray:  # [V, 3] for the present pose
    return module("clothes").present_request(obj, bpy.context.view_layer.depsgraph).decode().points


def status() -> str:
    return module("backend").status().kind


def middle() -> hands.Place:
    return hands.place(hands.region(*VIEW), 0.3, 0.6)


def frame_place(frame: int) -> hands.Place:
    """Where a frame is in the timeline's header."""
    timeline = hands.region("DOPESHEET_EDITOR", "WINDOW")
    x, _ = timeline.view2d.view_to_region(frame, 0, clip=False)
    return timeline.x + x, hands.place(timeline, 0, 0)[1] + 12


def install() -> Iterator[float]:
    bpy.ops.extensions.package_install_files(filepath=PACKAGE, repo="user_default", enable_on_install=True)
    yield 1.0
    assert hasattr(bpy.types.Scene, "scale_clothing")


def set_up() -> Iterator[float]:
    """In the preferences: a refusal that says what to do, a cancel, and going on to the end. With pip."""
    shown = hands.area("VIEW_3D")
    shown.type = "PREFERENCES"
    bpy.context.preferences.active_section = "ADDONS"
    bpy.context.window_manager.addon_search = "SCALE"
    bpy.ops.preferences.addon_expand(module=MODULE)
    yield 1.0
    where, columns = ("PREFERENCES", "WINDOW"), (0.35, 0.6)
    assert status() == "not set up", status()
    if not bpy.app.online_access:
        button = "scale_clothing.set_up_backend"
        yield from hands.click(*where, button, lambda: module("messages").last_error(), columns)
        assert "Allow Online Access" in module("messages").last_error()
        picture("01-refused")
        bpy.context.preferences.system.use_online_access = True
    button = "scale_clothing.set_up_backend"
    yield from hands.click(*where, button, lambda: status() == "setting up", columns)
    yield from hands.until(lambda: "Fetching" in module("backend").setting_up().step, "fetching begins", 120)
    yield 1.0
    picture("02-setting-up")
    hands.press(hands.place(hands.region(*where), 0.5, 0.5), "Escape")
    yield from hands.until(lambda: status() != "setting up", "Esc cancels")
    assert module("backend").setting_up().cancelled
    yield from hands.click(*where, button, lambda: status() == "setting up", columns)
    yield from hands.until(lambda: module("backend").setting_up().ended.is_set(), "the set-up ends", 900)
    assert module("backend").setting_up().succeeded, module("backend").setting_up().failure
    yield from hands.until(lambda: status() == "ready", "the backend starts", 120)
    yield 1.0
    picture("03-set-up")
    shown.type = "VIEW_3D"
    yield 1.0


def open_tab() -> Iterator[float]:
    keys = bpy.context.window_manager.keyconfigs.user.keymaps["3D View"].keymap_items
    keys["view3d.copybuffer"].active = False  # Ctrl+C is how buttons are found
    for obj in list(bpy.data.objects):
        if obj.type == "MESH":
            bpy.data.objects.remove(obj)
    hands.press(middle(), "n")
    yield from hands.until(lambda: hands.area("VIEW_3D").spaces.active.show_region_ui, "the sidebar opens")
    yield 1.0
    hands.region(*SIDEBAR).active_panel_category = "SCALE"
    yield 1.0


def character() -> Iterator[float]:
    yield from hands.click(*SIDEBAR, "scale_clothing.add_character", lambda: chosen().rig)
    hands.press(middle(), "KP_1", "KP_Decimal")
    yield 2.0
    picture("04-character")


def motion() -> Iterator[float]:
    """A motion file, in the file browser."""
    assets = Path(module("paths").asset_folder())
    bpy.context.preferences.view.filebrowser_display_type = "SCREEN"
    browser = lambda: [a for a in bpy.context.window_manager.windows[0].screen.areas if a.type == "FILE_BROWSER"]  # noqa: E731
    yield from hands.click(*SIDEBAR, "scale_clothing.import_motion", browser, columns=(0.83, 0.8, 0.86, 0.5))
    parameters = browser()[0].spaces.active.params
    parameters.directory, parameters.filename = bytes(assets / "motions"), "dance.npz"
    yield 2.0
    picture("05-motion-file")
    hands.press(hands.place(hands.region("FILE_BROWSER", "WINDOW"), 0.7, 0.7), "Return")
    yield from hands.until(lambda: chosen().rig.animation_data, "the motion is keyed")
    bpy.context.scene.frame_end = LAST_FRAME
    yield 1.0


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


def pose() -> Iterator[float]:
    """A bone is turned with the mouse: the clothes stay until it is let go."""
    character, frame = chosen().rig, bpy.context.scene.frame_current
    bpy.ops.object.mode_set(mode="POSE")
    bone = character.data.bones["left_hip"]
    character.data.bones.active, bone.select = bone, True
    yield 1.0
    before = points(worn()[0])
    hands.press(middle(), "r")
    turning = lambda: any(name.startswith("TRANSFORM_OT_") for name in module("live")._modal_operators())  # noqa: E731
    yield from hands.until(turning, "the bone is being turned")
    hands.do("mousemove_relative", "60", "150")
    yield 2.0
    assert turning() and np.array_equal(points(worn()[0]), before), "The clothes did not wait."
    picture("08-turning-a-bone")
    hands.do("key", "Return")
    yield from hands.until(lambda: np.abs(points(worn()[0]) - before).max() > 0.02, "the clothes follow the bone")
    assert np.abs(points(worn()[0]) - exact(worn()[0])).max() < 1e-5, "They are not those of this pose."
    picture("09-turned")
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.context.scene.frame_set(frame)  # back to the motion
    yield 1.0


def bake() -> Iterator[float]:
    """Stopped by Esc, gone on with, and done; the window is usable meanwhile."""
    bpy.ops.wm.save_as_mainfile(filepath=str(PICTURES / "walk.blend"))
    running = module("bake_operators").running
    baking = lambda: running() and running().progress.text.startswith("Baking")  # noqa: E731
    yield from hands.click(*SIDEBAR, "scale_clothing.bake", running)
    yield from hands.until(baking, "poses are read")
    frame = bpy.context.scene.frame_current
    hands.press(middle(), "Right")
    yield from hands.until(lambda: bpy.context.scene.frame_current == frame + 1, "the window is usable")
    yield from hands.until(lambda: not running() or running().share > 0.6, "the bake gets on")
    assert running(), "The bake was over before it could be stopped."
    picture("10-bake")
    hands.press(middle(), "Escape")
    yield from hands.until(lambda: not running(), "Esc stops the bake")
    folder = PICTURES / "clothes"
    assert not module("clothes").is_baked(worn()[0])
    assert len(list(folder.glob("*.part"))) == 1 and not list(folder.glob("*.pc2"))
    yield from hands.click(*SIDEBAR, "scale_clothing.bake", lambda: module("clothes").is_baked(worn()[0]), seconds=120)
    assert [path.suffix for path in folder.iterdir()] == [".pc2"]
    yield 1.0
    picture("11-baked")
    hands.press(middle(), "ctrl+z")
    yield from hands.until(lambda: not module("clothes").is_baked(worn()[0]), "undo takes the bake off, in one step")
    hands.press(middle(), "ctrl+shift+z")
    yield from hands.until(lambda: module("clothes").is_baked(worn()[0]), "redo puts it back")


def looks() -> Iterator[float]:
    settings = worn()[0].scale_clothing
    hands.area("VIEW_3D").spaces.active.shading.type = "SOLID"
    hands.area("VIEW_3D").spaces.active.shading.color_type = "VERTEX"
    settings.look = "PATCHES"
    yield 2.0
    picture("12-patches")
    assert worn()[0].data.materials[0].name.startswith("SCALE")
    hands.area("VIEW_3D").spaces.active.shading.color_type = "MATERIAL"
    settings.look = "CLOTH"
    yield 1.0


def render() -> Iterator[float]:
    scene = bpy.context.scene
    bpy.context.preferences.view.render_display_type = "AREA"
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 16, False
    scene.render.resolution_x, scene.render.resolution_y = 480, 640
    camera, sun = scene.camera, next(obj for obj in scene.objects if obj.type == "LIGHT")
    middle_of_body = np.mean([vertex.co for vertex in worn()[0].data.vertices], axis=0)
    camera.location, camera.rotation_euler = middle_of_body + np.array((0, -3.4, 0.0)), (np.pi / 2, 0, 0)
    sun.data.type, sun.data.energy, sun.rotation_euler = "SUN", 3.0, (0.9, 0.3, 0.6)
    done = []
    bpy.app.handlers.render_complete.append(lambda *_: done.append(True))
    hands.press(middle(), "F12")
    yield from hands.until(lambda: done, "the picture is rendered", 180)
    yield 2.0
    picture("13-render")
    bpy.app.handlers.render_complete.clear()
    camera.hide_set(True)
    sun.hide_set(True)
    hands.press(hands.place(hands.region("IMAGE_EDITOR", "WINDOW"), 0.5, 0.5), "Escape")
    yield 2.0


def reopen() -> Iterator[float]:
    frames = {}
    for frame in (1, 40):
        bpy.context.scene.frame_set(frame)
        frames[frame] = points(worn()[0])
    bpy.context.scene.frame_set(1)
    name = worn()[0].name
    hands.press(middle(), "ctrl+s")
    yield from hands.until(lambda: not bpy.data.is_dirty, "the file is saved")
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    yield 2.0
    assert not worn()
    assert not [h for h in bpy.app.handlers.frame_change_post if h.__module__.startswith(MODULE)]
    bpy.ops.wm.open_mainfile(filepath=str(PICTURES / "walk.blend"))
    yield 3.0
    assert [obj.name for obj in worn()] == [name] and module("clothes").is_baked(worn()[0])
    for frame, shape in frames.items():
        bpy.context.scene.frame_set(frame)
        assert np.abs(points(worn()[0]) - shape).max() < 1e-5
    picture("14-reopened")


def disable() -> Iterator[float]:
    """The baked clothes stay, everything else of the add-on goes, and comes back."""
    bpy.ops.preferences.addon_disable(module=MODULE)
    yield 1.0
    assert not hasattr(bpy.types.Scene, "scale_clothing")
    bpy.ops.preferences.addon_enable(module=MODULE)
    yield 2.0
    assert worn() and module("clothes").is_baked(worn()[0])


def begin_bake(folder: str) -> Iterator[float]:
    """Up to where frames are written, into a new folder."""
    chosen().bake_folder = str(PICTURES / "clothes" / folder)
    running = module("bake_operators").running
    yield from hands.click(*SIDEBAR, "scale_clothing.bake", running)
    yield from hands.until(lambda: running().progress.text.startswith("Baking"), "poses are read")


def interrupt() -> Iterator[float]:
    """Undo, a new file, a second window and disabling the add-on, in the middle of things."""
    bpy.ops.wm.open_mainfile(filepath=str(PICTURES / "walk.blend"))
    yield 2.0
    yield from hands.click(*SIDEBAR, "scale_clothing.clear_bake", lambda: not module("clothes").is_baked(worn()[0]))
    yield from begin_bake("undone")
    hands.press(middle(), "ctrl+z")
    yield from hands.until(lambda: not module("bake_operators").running(), "undo ends the bake")
    yield 1.0
    hands.press(middle(), "ctrl+shift+z")
    yield 2.0
    if module("clothes").is_baked(worn()[0]):  # the undo took the clearing back, if the redo did not come through
        module("clothes").clear_bake(worn()[0])
    yield from begin_bake("left")
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    yield 2.0
    assert not module("bake_operators").running() and not worn() and not module("live")._suspended
    bpy.ops.wm.open_mainfile(filepath=str(PICTURES / "walk.blend"))
    yield 2.0
    module("clothes").clear_bake(worn()[0])
    module("live").watch()
    bpy.ops.wm.window_new()
    yield 2.0
    hands.press(middle(), "Right")
    yield 3.0
    assert np.abs(points(worn()[0]) - exact(worn()[0])).max() < 1e-5, "Two windows confuse it."
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[1]):
        bpy.ops.wm.window_close()
    yield 2.0
    yield from begin_bake("disabled")
    bpy.ops.preferences.addon_disable(module=MODULE)
    yield 2.0
    assert not [key for key in sys.modules if key.startswith(MODULE)] or not hasattr(bpy.types.Scene, "scale_clothing")
    bpy.ops.preferences.addon_enable(module=MODULE)
    yield 1.0
    assert worn() and not module("bake_operators").running()
    picture("15-enabled-again")


def steps() -> Iterator[float]:
    """The walk. Yields the seconds to wait before it goes on."""
    yield from install()
    for step in (
        *((set_up,) if SET_UP else ()),
        open_tab, character, motion, generate, scrub, pose, bake, looks, render, reopen, disable, interrupt,
    ):  # fmt: skip
        print(f"window test: {step.__name__.replace('_', ' ')}", flush=True)
        yield from step()


def run(walk: Iterator[float]) -> None:
    """Go through a walk beside Blender's own work, and end Blender."""

    @persistent
    def advance() -> float | None:
        try:
            return next(walk)
        except StopIteration:
            print("window test: all steps passed", flush=True)
            code = 0
        except BaseException:
            traceback.print_exc()
            picture("failed")
            code = 1
        sys.stdout.flush()
        os._exit(code)

    bpy.app.timers.register(advance, first_interval=3.0, persistent=True)


if __name__ == "__main__":
    run(steps())
