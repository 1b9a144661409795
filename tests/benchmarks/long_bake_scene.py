"""Saves a scene with a dressed character whose motion is repeated: SCENE.blend GARMENT MOTION FRAMES."""

from __future__ import annotations

import sys

import bpy

import blender_addon
from blender_addon.blender import actions


def main(path: str, garment: str, motion: str, frames: str) -> None:
    blender_addon.register()
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    scene = bpy.context.scene
    bpy.ops.scale_clothing.add_character()
    bpy.ops.scale_clothing.apply_motion(motion=motion)
    for curve in actions.curves_of(scene.scale_clothing.rig):
        curve.modifiers.new("CYCLES")
    scene.frame_start, scene.frame_end = 1, int(frames)
    bpy.ops.scale_clothing.generate(garment=garment)
    bpy.ops.wm.save_as_mainfile(filepath=path)


if __name__ == "__main__":
    main(*sys.argv[1:])
