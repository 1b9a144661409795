"""A garment that feels motion, and characters that move, for tests."""

from __future__ import annotations

import bpy
import numpy as np
import pytest

from blender_addon import settings as addon_settings
from blender_addon.blender import meshes
from blender_addon.clothes import selection
from scale_backend.formats.window import Window
from scale_backend.model.garment import save_garment
from tests.making import make_moving_garment

WINDOW = Window((1 / 24, 0.1, 0.25, 9 / 24), gravity=True, coarse=True)


@pytest.fixture(scope="session")
def moving_garment(registered) -> str:
    """A skirt that feels motion and gravity, of cotton or denim, with random weights: its key."""
    file = addon_settings.garment_folder() / "moving.safetensors"
    save_garment(file, make_moving_garment(WINDOW))
    return str(file)


def swing(target: bpy.types.Object, bone: str, size: float = 1.0) -> None:
    """Let a leg swing and the armature go along, so many times a metre and a half, from frame 1 to 20."""
    bone = target.pose.bones[bone]
    bone.rotation_mode = "QUATERNION"
    for frame, angle in ((1, -0.5), (11, 0.6), (20, 0.2)):
        bone.rotation_quaternion = (np.cos(angle / 2), np.sin(angle / 2), 0, 0)
        bone.keyframe_insert("rotation_quaternion", frame=frame)
    for frame, place, turn in ((1, 0.0, 0.0), (20, 1.5 * size, 0.7)):
        target.location.x, target.rotation_euler.z = place, turn
        target.keyframe_insert("location", frame=frame)
        target.keyframe_insert("rotation_euler", frame=frame)


@pytest.fixture
def swinging(character, scene, moving_garment) -> bpy.types.Object:
    """Clothes that feel motion, of a character that swings a leg: frames 8 to 16 of an animation that begins at 1."""
    scene.scale_clothing.garment, scene.scale_clothing.surface = moving_garment, "MESH"
    bpy.ops.scale_clothing.generate()
    swing(character, "left_hip")
    scene.frame_start, scene.frame_end = 8, 16
    return selection.clothes_of(character)[0]


def shown(obj: bpy.types.Object) -> np.ndarray:  # [M, 3]
    return meshes.get_positions(obj.data)


def played(scene: bpy.types.Scene, obj: bpy.types.Object, first: int, last: int) -> dict[int, np.ndarray]:
    """Frames one after another, by frame."""
    found = {}
    for frame in range(first, last + 1):
        scene.frame_set(frame)
        found[frame] = shown(obj)
    return found
