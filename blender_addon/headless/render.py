"""Render frames of a scene in its clothes, one file each, whole or not there."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import bpy
from bpy.types import Object, Scene

from scale_backend.client.backend import BackendError

from ..bake import baking, plan
from ..clothes import playback, unattended
from ..messages import AddonError
from ..present import present
from ..tasks.interruption import Interruption

ENGINES = {
    "cycles": ("CYCLES",),
    "eevee": ("BLENDER_EEVEE_NEXT", "BLENDER_EEVEE"),  # 4.2 to 4.5, and 5.0 on
    "workbench": ("BLENDER_WORKBENCH",),
}
MOVIES = {"FFMPEG", "AVI_JPEG", "AVI_RAW"}
BLUR_SAMPLES = 4  # a frame, where motion is blurred


def prepare(scene: Scene, engine: str | None, samples: int | None, size: int | None) -> None:
    """Set what the command line asks for and what pictures need. Raises AddonError."""
    if scene.camera is None:
        raise AddonError(f"The scene '{scene.name}' has no camera; add one and save the file.")
    if engine is not None:
        set_engine(scene, engine)
    if scene.render.engine == "CYCLES":
        import _cycles  # type: ignore[import-not-found]  # inside Blender alone

        scene.cycles.use_denoising &= _cycles.with_openimagedenoise  # where it is missing, rendering would fail
        if samples is not None:
            scene.cycles.samples = samples
    elif samples is not None and scene.render.engine in ENGINES["eevee"]:
        present(scene.eevee).taa_render_samples = samples
    if size is not None:
        scene.render.resolution_percentage = size
    if not scene.render.use_stamp:  # a frame that is rendered twice gives the same file
        for name in ("date", "render_time", "memory", "hostname"):
            setattr(scene.render, f"use_stamp_{name}", False)
    image = scene.render.image_settings
    if image.file_format in MOVIES:
        if hasattr(image, "media_type"):  # Blender 5.0
            image.media_type = "IMAGE"
        image.file_format = "PNG"


def set_engine(scene: Scene, engine: str) -> None:
    for name in ENGINES[engine]:
        try:
            scene.render.engine = name  # type: ignore[assignment]  # the types know one name alone
            return
        except TypeError:
            continue
    raise AddonError(f"This build of Blender has no {engine}; choose another engine.")


def picture(scene: Scene, folder: Path, frame: int) -> Path:
    return folder / f"{frame:04d}{scene.render.file_extension}"


@contextmanager
def played(scene: Scene, worn: Sequence[Object], frames: Sequence[int], folder: Path) -> Iterator[baking.Steps]:
    """A bake into a folder, which is gone again afterwards, of the clothes that have none.

    What is rendered is what a bake of any other range would have given, and motion blur sees between the frames.
    """
    blurred = scene.render.use_motion_blur
    settings = plan.BakeSettings(
        str(folder), frames[0] - blurred, frames[-1] + blurred, per_frame=BLUR_SAMPLES if blurred else 1
    )
    try:
        yield baking.bake(scene, worn, settings) if worn else _nothing()
    finally:
        for obj in worn:
            playback.clear_bake(obj)
        shutil.rmtree(folder, ignore_errors=True)


def _nothing() -> baking.Steps:
    """No steps."""
    yield from ()


def _all_followed() -> None:
    """Raises BackendError where clothes without a bake could not be brought to the frame."""
    sentence = unattended.failure()
    if sentence:
        unattended.forget()
        raise BackendError(sentence)


def render(scene: Scene, folder: Path, frame: int, scraps: Path, interruption: Interruption) -> Path:
    """Render one frame. An interruption ends the process, and removes `scraps`. Raises AddonError,
    BackendError."""
    path = picture(scene, folder, frame)
    beside = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.part{path.suffix}")

    def clean_up() -> None:
        beside.unlink(missing_ok=True)
        shutil.rmtree(scraps, ignore_errors=True)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        scene.frame_set(frame)
        _all_followed()
        scene.render.filepath = str(beside)
        with interruption.leave_at_once(clean_up):
            bpy.ops.render.render(write_still=True)
        _all_followed()
        os.replace(beside, path)
    except BackendError:
        beside.unlink(missing_ok=True)
        raise
    except (RuntimeError, OSError) as error:
        beside.unlink(missing_ok=True)
        kind = plan.DiskError if isinstance(error, OSError) else AddonError
        raise kind(f"Frame {frame} could not be rendered to {folder}: {str(error).strip()}") from error
    return path
