"""Rendered frames into a film, by Blender's own sequencer, and into one contact sheet."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from PIL import Image

GAP = 6  # pixels between the pictures of a contact sheet


def write_film(frames: list[Path], path: Path, rate: int) -> bool:
    """H.264 in an .mp4. Returns False where this build of Blender has no FFmpeg."""
    if not bpy.app.build_options.codec_ffmpeg:
        return False
    with Image.open(frames[0]) as first:
        width, height = first.size
    scene = bpy.data.scenes.new("Film")
    try:
        editor = scene.sequence_editor_create()
        strip = editor.strips.new_image("Frames", str(frames[0]), channel=1, frame_start=1)
        for frame in frames[1:]:
            strip.elements.append(frame.name)
        scene.frame_start, scene.frame_end = 1, len(frames)
        scene.view_settings.view_transform = "Standard"  # the frames have had theirs
        render = scene.render
        render.resolution_x, render.resolution_y, render.resolution_percentage = width, height, 100
        render.fps = rate
        render.filepath = str(path)
        render.image_settings.file_format = "FFMPEG"
        render.ffmpeg.format, render.ffmpeg.codec = "MPEG4", "H264"
        render.ffmpeg.constant_rate_factor = "HIGH"
        bpy.ops.render.render(animation=True, scene=scene.name)
    finally:
        bpy.data.scenes.remove(scene)
    return True


def write_contact_sheet(frames: list[Path], path: Path, count: int = 12, columns: int = 6) -> None:
    """`count` pictures, evenly spaced over the frames, in one."""
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))]
    pictures = []
    for frame in chosen:
        with Image.open(frame) as picture:
            pictures.append(picture.convert("RGB"))
    sheet(pictures, columns).save(path)


def sheet(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Pictures of one size in rows."""
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    width, height = pictures[0].size
    whole = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP), "white")
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        whole.paste(picture, (column * (width + GAP), row * (height + GAP)))
    return whole
