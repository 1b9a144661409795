"""A photographer's studio for a dancing character: backdrop, three soft lights, a camera that sees it all."""

from __future__ import annotations

import math

import bpy
import numpy as np
from bpy.types import Material, Object, Scene, World
from mathutils import Matrix, Vector

BACKDROP = (0.36, 0.40, 0.45)
LENS = 70.0  # mm
SENSOR = 36.0  # mm, the picture's height
CAMERA_LIFT = 0.06  # metres up for each metre away
FLESH = 0.10  # metres round the joints that stay in the picture


def build(scene: Scene, rig: Object, turn: float) -> None:
    """Backdrop, lights and camera for what the rig does in the scene's frames.

    The studio stands round the origin, turned by `turn` radians: at zero the camera sees the character's front.
    """
    stand = bpy.data.objects.new("Studio", None)
    scene.collection.objects.link(stand)
    stand.rotation_euler.z = turn
    places = joint_places(scene, rig) @ np.array(Matrix.Rotation(turn, 3, "Z"))  # as seen from the stand
    low, high = Vector(places.min(0)), Vector(places.max(0))
    middle = (low + high) / 2
    parts = [
        _backdrop(Vector((middle.x, high.y, 0))),
        _light("Key", middle + Vector((-3.4, -1.5, 2.2)), middle, power=300, size=0.9),
        _light("Fill", middle + Vector((3.2, -2.6, 0.6)), middle, power=14, size=3.0),
        _light("Rim", middle + Vector((2.2, 1.8, 2.0)), middle, power=200, size=1.0),
        _camera(scene.render.resolution_x / scene.render.resolution_y, places),
    ]
    for part in parts:
        scene.collection.objects.link(part)
        part.parent = stand
    scene.camera = parts[-1]
    scene.world = _sky()


def joint_places(scene: Scene, rig: Object) -> np.ndarray:  # [K, 3] metres
    """Where the ends of the rig's bones are over the scene's frames."""
    places = []
    for frame in range(scene.frame_start, scene.frame_end + 1, 3):
        scene.frame_set(frame)
        places += [rig.matrix_world @ end for bone in rig.pose.bones for end in (bone.head, bone.tail)]
    return np.array(places)


def use_cycles(scene: Scene, samples: int) -> None:
    """Few samples, denoised where this build of Blender can."""
    import _cycles

    scene.render.engine = "CYCLES"
    scene.render.use_persistent_data = True
    scene.cycles.device = "CPU"
    scene.view_settings.look = "AgX - Medium High Contrast"
    scene.cycles.samples = samples
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising = _cycles.with_openimagedenoise
    scene.cycles.denoising_prefilter = "FAST"  # half the time of a picture is denoising otherwise
    scene.cycles.max_bounces = 3
    scene.cycles.diffuse_bounces = 2
    scene.cycles.glossy_bounces = 1
    scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False


def _sky() -> World:
    world = bpy.data.worlds.new("Studio")
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (0.80, 0.88, 1.0, 1.0)
    background.inputs["Strength"].default_value = 0.10
    return world


def _backdrop(foot: Vector) -> Object:
    """A floor that bends up into a wall behind the character."""
    bend = [(math.sin(a), 1 - math.cos(a)) for a in np.linspace(0, math.pi / 2, 16)]
    profile = [(-9.0, 0.0), *((2.0 + 2.0 * y, 2.0 * z) for y, z in bend), (4.0, 9.0)]
    vertices = [foot + Vector((x, y, z)) for y, z in profile for x in (-14.0, 14.0)]
    faces = [(2 * i, 2 * i + 1, 2 * i + 3, 2 * i + 2) for i in range(len(profile) - 1)]
    mesh = bpy.data.meshes.new("Backdrop")
    mesh.from_pydata(vertices, [], faces)
    mesh.shade_smooth()
    mesh.materials.append(_paper())
    return bpy.data.objects.new("Backdrop", mesh)


def _paper() -> Material:
    material = bpy.data.materials.new("Backdrop")
    material.use_nodes = True
    principled = material.node_tree.nodes["Principled BSDF"]
    principled.inputs["Base Color"].default_value = (*BACKDROP, 1.0)
    principled.inputs["Roughness"].default_value = 0.95
    principled.inputs["Specular IOR Level"].default_value = 0.1
    return material


def _light(name: str, place: Vector, target: Vector, power: float, size: float) -> Object:
    light = bpy.data.lights.new(name, "AREA")
    light.shape, light.size, light.energy = "DISK", size, power
    lamp = bpy.data.objects.new(name, light)
    lamp.location = place
    lamp.rotation_euler = (target - place).to_track_quat("-Z", "Y").to_euler()
    return lamp


def _camera(aspect: float, places: np.ndarray) -> Object:  # [K, 3]
    """In front of the character, just so far away that all places, and the flesh round them, are in the picture."""
    camera = bpy.data.cameras.new("Camera")
    camera.lens, camera.sensor_fit, camera.sensor_height = LENS, "VERTICAL", SENSOR
    rotation = Vector((0.0, -1.0, CAMERA_LIFT)).to_track_quat("Z", "Y").to_matrix()
    across, up, back = np.array(rotation.transposed())
    middle = (places.min(0) + places.max(0)) / 2
    offsets = places - middle
    half_height = SENSOR / 2 / LENS
    wide = (np.abs(offsets @ across) + FLESH) / (half_height * aspect)
    tall = (np.abs(offsets @ up) + FLESH) / half_height
    distance = (np.maximum(wide, tall) + offsets @ back).max()
    eye = bpy.data.objects.new("Camera", camera)
    eye.location = Vector(middle + distance * back)
    eye.rotation_euler = rotation.to_euler()
    return eye
