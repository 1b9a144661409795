"""The README's pictures of clothes on the sample character: python -m demo.pictures [--out FOLDER] [--only NAMES]."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from PIL import Image

USER_FOLDER = tempfile.TemporaryDirectory(prefix="scale-pictures-")
os.environ["BLENDER_USER_RESOURCES"] = USER_FOLDER.name  # read when bpy is imported
os.environ.setdefault("SCALE_BACKEND_PYTHON", sys.executable)

import bpy  # noqa: E402
from bpy.types import Object, Scene  # noqa: E402
from mathutils import Vector  # noqa: E402

import blender_addon  # noqa: E402
from demo import film, studio  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
DANCER = 246, 295  # pixels of one dancer's picture
FRONT = 12.0  # degrees that the camera stands beside the front
VIEWS = (("dress", "SILK", 90.0), ("dress", "WOOL", 180.0), ("tee-trousers", "DENIM", FRONT))
FABRICS = ("COTTON", "DENIM", "SILK", "WOOL")
SWATCH = 300, 520
FOLDED = 40  # a frame of the dance with folds across the skirt
INSET, FRAME = 122, 2  # pixels of the near look and of the line round it


@dataclass(frozen=True)
class Settings:
    """Make pictures of docs/pictures anew."""

    out: Path = ROOT / "docs" / "pictures"
    only: tuple[Literal["dance", "views", "fabrics"], ...] = ("dance", "views", "fabrics")
    samples: int = 24
    """A pixel."""


def main() -> None:
    settings = tyro.cli(Settings, description=__doc__)
    settings.out.mkdir(parents=True, exist_ok=True)
    blender_addon.register()
    for name in settings.only:
        pictures, columns = {"dance": dance, "views": views, "fabrics": swatches}[name](settings.samples)
        film.sheet(pictures, columns).save(settings.out / f"{name}.jpg", quality=88)
    blender_addon.unregister()


def dance(samples: int) -> tuple[list[Image.Image], int]:
    """Pictures, and how many stand in a row."""
    return moments("dress", "COTTON", FRONT, 12, samples), 6


def views(samples: int) -> tuple[list[Image.Image], int]:
    return [picture for view in VIEWS for picture in moments(*view, 4, samples)], 4


def swatches(samples: int) -> tuple[list[Image.Image], int]:
    return [swatch(fabric, samples) for fabric in FABRICS], len(FABRICS)


def moments(garment: str, fabric: str, turn: float, count: int, samples: int) -> list[Image.Image]:
    """Frames of the whole dance, evenly spaced."""
    scene = stage(garment, fabric, turn, DANCER, samples)
    first, length = scene.frame_start, scene.frame_end - scene.frame_start
    return [shot(scene, first + length * number // count) for number in range(count)]


def swatch(fabric: str, samples: int) -> Image.Image:
    """The dress from near, and the weave from very near in a corner."""
    scene = stage("dress", fabric, FRONT, SWATCH, samples)
    scene.frame_set(FOLDED)
    rig, eye = scene.scale_clothing.rig, scene.camera
    pelvis = rig.matrix_world @ rig.pose.bones["pelvis"].head
    eye.parent, eye.data.clip_start = None, 0.01
    look_at(eye, pelvis + Vector((0.0, 0.0, 0.08)), 3.3)
    whole = shot(scene, FOLDED)
    scene.render.resolution_x = scene.render.resolution_y = INSET
    look_at(eye, pelvis + Vector((-0.1, -0.16, -0.22)), 0.35)  # where light falls
    place = whole.width - INSET - 3 * FRAME, whole.height - INSET - 3 * FRAME
    side = INSET + 2 * FRAME
    whole.paste("white", (place[0] - FRAME, place[1] - FRAME, place[0] - FRAME + side, place[1] - FRAME + side))
    whole.paste(shot(scene, FOLDED), place)
    return whole


def stage(garment: str, fabric: str, turn: float, size: Sequence[int], samples: int) -> Scene:
    """The sample character with the dance, in a garment, in the studio."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    scene = bpy.context.scene
    scene.render.fps = 24
    bpy.ops.scale_clothing.add_character()
    bpy.ops.scale_clothing.apply_motion(motion="dance")
    bpy.ops.scale_clothing.generate(garment=garment)
    clothes = next(obj for obj in scene.objects if obj.scale_clothing.is_clothes)
    clothes.scale_clothing.fabric = fabric
    scene.render.resolution_x, scene.render.resolution_y = size
    studio.build(scene, scene.scale_clothing.rig, math.radians(turn))
    studio.use_cycles(scene, samples)
    return scene


def look_at(eye: Object, place: Vector, distance: float) -> None:
    """From the front, a little from the side and from above."""
    direction = Vector((0.25, -1.0, 0.1)).normalized()
    eye.location, eye.data.lens = place + distance * direction, 95.0
    eye.rotation_euler = direction.to_track_quat("Z", "Y").to_euler()


def shot(scene: Scene, frame: int) -> Image.Image:
    scene.frame_set(frame)
    scene.render.filepath = str(Path(USER_FOLDER.name) / "shot.png")
    bpy.ops.render.render(write_still=True)
    with Image.open(scene.render.filepath) as picture:
        return picture.convert("RGB")


if __name__ == "__main__":
    main()
