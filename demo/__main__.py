"""A dancing character in trained clothes, from nothing: what a user clicks, done by the add-on's operators.

Builds the extension, installs it in a Blender that knows none of the user's own settings, adds the sample character,
gives it a dance and a garment, bakes, and renders. Leaves a .blend, the frames, a film and a contact sheet.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
FRAME_RATE = 24


@dataclass(frozen=True)
class Settings:
    """What the demo shows."""

    out: Path = ROOT / "out" / "demo"  # folder of the results; files of an earlier demo in it are replaced
    garment: str = "dress"  # name of a garment that ships, or a file
    fabric: Literal["cotton", "denim", "silk", "wool"] = "cotton"
    motion: str = "dance"  # name of a motion that ships
    frames: int = 120  # how many frames are rendered, at most
    step: int = 2  # frames of the motion from one rendered frame to the next, at 24 a second
    turn: float = 12.0  # degrees that the camera stands beside the character's front; 90: its left side, 180: its back
    size: int = 400  # height of the pictures, pixels
    samples: int = 4  # a pixel


def main() -> int:
    settings = tyro.cli(Settings, description=__doc__)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="scale-demo-") as user_folder:
        os.environ["BLENDER_USER_RESOURCES"] = user_folder  # read when bpy is imported
        try:
            run(settings)
        except (RuntimeError, ValueError, OSError) as error:  # an operator's error is a RuntimeError
            print(f"The demo stopped: {error}", file=sys.stderr)
            return 1
    print(f"Done in {time.monotonic() - started:.0f} s.")
    return 0


def run(settings: Settings) -> None:
    out = settings.out.absolute()
    frames_folder = out / "frames"
    for earlier in (frames_folder, out / "clothes"):
        shutil.rmtree(earlier, ignore_errors=True)
    frames_folder.mkdir(parents=True)

    say("Building the extension and installing it in Blender")
    install(out)
    import bpy

    from demo import film, studio

    say("Adding the sample character, and a motion to it")
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    scene = bpy.context.scene
    scene.render.fps = FRAME_RATE
    bpy.ops.wm.save_as_mainfile(filepath=str(out / "demo.blend"))
    bpy.ops.scale_clothing.add_character()
    bpy.ops.scale_clothing.apply_motion(motion=settings.motion)

    say(f"Starting the backend, and putting on the garment '{settings.garment}'")
    chosen = scene.scale_clothing
    choose_garment(chosen, settings.garment)
    bpy.ops.scale_clothing.generate()
    clothes = next(obj for obj in scene.objects if obj.scale_clothing.is_clothes)
    clothes.scale_clothing.fabric = settings.fabric.upper()

    say(f"Baking {scene.frame_end - scene.frame_start + 1} frames")
    bpy.ops.scale_clothing.bake()

    say("Building the studio")
    scene.render.resolution_x, scene.render.resolution_y = even(settings.size * 5 / 6), even(settings.size)
    studio.build(scene, chosen.rig, math.radians(settings.turn))
    studio.use_cycles(scene, settings.samples)
    scene.frame_set(scene.frame_start)
    bpy.ops.wm.save_mainfile()

    pictures = render(scene, settings, frames_folder)
    rate = max(1, round(FRAME_RATE / settings.step))
    has_film = film.write_film(pictures, out / "film.mp4", rate)
    film.write_contact_sheet(pictures, out / "contact-sheet.png")

    say("Results")
    for path, what in (
        (out / "contact-sheet.png", "twelve moments of the dance"),
        (out / "film.mp4", f"{len(pictures)} frames, {rate} a second"),
        (frames_folder, "the frames"),
        (out / "demo.blend", "open it in Blender 4.2 or later: it plays without the add-on"),
    ):
        if path != out / "film.mp4" or has_film:
            print(f"  {path}  {what}")
    if not has_film:
        print("  No film: this build of Blender has no FFmpeg.")


def install(out: Path) -> None:
    """Build the zip, install it as a user would, and tell the add-on where torch is."""
    import bpy

    import build_addon

    module = "bl_ext.user_default.scale_clothing"
    package = build_addon.build()
    bpy.ops.extensions.package_install_files(filepath=str(package), repo="user_default", enable_on_install=True)
    if module not in bpy.context.preferences.addons:
        raise RuntimeError(f"{package} could not be installed as an extension.")
    bpy.context.preferences.addons[module].preferences.backend_python = sys.executable
    bpy.context.preferences.filepaths.save_version = 0  # no demo.blend1 beside
    bpy.ops.wm.save_userpref()


def even(length: float) -> int:
    """A number of pixels that a film can have."""
    return 2 * round(length / 2)


def choose_garment(chosen, name: str) -> None:
    """Choose a garment in the panel: one that ships by its name, or a file, which is added first."""
    import bpy

    if Path(name).is_file():
        bpy.ops.scale_clothing.add_garment(filepath=str(Path(name).absolute()))
        return
    try:
        chosen.garment = name
    except TypeError:
        ships = sorted(path.stem for path in (ROOT / "assets" / "garments").glob("*.safetensors"))
        raise ValueError(f"No garment is called '{name}'; choose {' or '.join(ships) or 'a garment file'}.") from None


def render(scene, settings: Settings, folder: Path) -> list[Path]:
    """Render frames one by one. Returns their files."""
    import bpy

    chosen = range(scene.frame_start, scene.frame_end + 1, settings.step)[: settings.frames]
    pictures = []
    for frame in tqdm(chosen, desc="Rendering", unit="frame"):
        scene.frame_set(frame)
        scene.render.filepath = str(folder / f"{frame:04d}.png")
        with Quiet():
            bpy.ops.render.render(write_still=True)
        pictures.append(Path(scene.render.filepath))
    return pictures


class Quiet:
    """Silences what Blender itself prints to the process's standard output."""

    def __enter__(self) -> None:
        sys.stdout.flush()
        self.kept = os.dup(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)

    def __exit__(self, *_error) -> None:
        os.dup2(self.kept, 1)
        os.close(self.kept)


def say(text: str) -> None:
    print(f"== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
