"""A photographer's studio for a dancing character: backdrop, three soft lights, a camera that sees it all."""

from __future__ import annotations

import math

import bpy
import numpy as np
from bpy.types import Camera, Material, Object, Scene
from mathutils import Vector

BACKDROP = (0.62, 0.66, 0.70)
LENS = 70.0  # mm, on a sensor of 36 mm
CAMERA_TURN = math.radians(12)  # from the front, towards the character's left
CAMERA_HEIGHT = 1.25
MARGIN = 1.06


def build(scene: Scene, rig: Object) -> None:
    """Add backdrop, lights and camera for what the rig does in the scene's frame range."""
    low, high = extent(scene, rig)
    middle = (low + high) / 2
    _backdrop(scene, Vector((middle.x, high.y, 0)))
    _light(scene, "Key", middle + Vector((-2.4, -3.0, 2.2)), middle, power=330, size=1.6)
    _light(scene, "Fill", middle + Vector((3.2, -2.6, 0.6)), middle, power=70, size=3.0)
    _light(scene, "Rim", middle + Vector((1.9, 2.2, 2.0)), middle, power=170, size=1.0)
    world = bpy.data.worlds.new("Studio")
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (0.80, 0.88, 1.0, 1.0)
    background.inputs["Strength"].default_value = 0.25
    scene.world = world
    _camera(scene, low, high)


def extent(scene: Scene, rig: Object, margin: float = 0.12) -> tuple[Vector, Vector]:
    """The box that the rig's joints stay in over the scene's frames, widened by the flesh about them, metres."""
    places = []
    for frame in range(scene.frame_start, scene.frame_end + 1, 3):
        scene.frame_set(frame)
        for bone in rig.pose.bones:
            places += [rig.matrix_world @ bone.head, rig.matrix_world @ bone.tail]
    places = np.array(places)
    low, high = places.min(0) - margin, places.max(0) + margin
    low[2] = 0.0
    return Vector(low), Vector(high)


def use_cycles(scene: Scene, samples: int) -> None:
    """Few samples, denoised where this build of Blender can."""
    import _cycles

    scene.render.engine = "CYCLES"
    scene.render.use_persistent_data = True
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising = _cycles.with_openimagedenoise
    scene.cycles.max_bounces = 3
    scene.cycles.diffuse_bounces = 2
    scene.cycles.glossy_bounces = 1
    scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False


def _backdrop(scene: Scene, foot: Vector) -> None:
    """A floor that bends up into a wall behind the character."""
    bend = [(math.sin(a), 1 - math.cos(a)) for a in np.linspace(0, math.pi / 2, 16)]
    profile = [(-9.0, 0.0), *((2.0 + 2.0 * y, 2.0 * z) for y, z in bend), (4.0, 9.0)]
    vertices = [foot + Vector((x, y, z)) for y, z in profile for x in (-14.0, 14.0)]
    faces = [(2 * i, 2 * i + 1, 2 * i + 3, 2 * i + 2) for i in range(len(profile) - 1)]
    mesh = bpy.data.meshes.new("Backdrop")
    mesh.from_pydata(vertices, [], faces)
    mesh.shade_smooth()
    mesh.materials.append(_paper())
    scene.collection.objects.link(bpy.data.objects.new("Backdrop", mesh))


def _paper() -> Material:
    material = bpy.data.materials.new("Backdrop")
    material.use_nodes = True
    principled = material.node_tree.nodes["Principled BSDF"]
    principled.inputs["Base Color"].default_value = (*BACKDROP, 1.0)
    principled.inputs["Roughness"].default_value = 0.95
    principled.inputs["Specular IOR Level"].default_value = 0.1
    return material


def _light(scene: Scene, name: str, place: Vector, target: Vector, power: float, size: float) -> None:
    light = bpy.data.lights.new(name, "AREA")
    light.shape, light.size, light.energy = "DISK", size, power
    lamp = bpy.data.objects.new(name, light)
    lamp.location = place
    lamp.rotation_euler = (target - place).to_track_quat("-Z", "Y").to_euler()
    scene.collection.objects.link(lamp)


def _camera(scene: Scene, low: Vector, high: Vector) -> None:
    """Far enough that every corner of the box is in the picture."""
    camera: Camera = bpy.data.cameras.new("Camera")
    camera.lens, camera.sensor_fit, camera.sensor_width = LENS, "VERTICAL", 36.0
    camera.sensor_height = 36.0
    eye = bpy.data.objects.new("Camera", camera)
    scene.collection.objects.link(eye)
    scene.camera = eye
    middle = (low + high) / 2
    direction = Vector((math.sin(CAMERA_TURN), -math.cos(CAMERA_TURN), 0.0))
    half = camera.sensor_height / 2 / LENS / MARGIN
    aspect = scene.render.resolution_x / scene.render.resolution_y
    corners = [Vector((x, y, z)) for x in (low.x, high.x) for y in (low.y, high.y) for z in (low.z, high.z)]
    rotation = (-direction).to_track_quat("-Z", "Y").to_matrix()
    across, up = rotation.col[0], rotation.col[1]
    distance = max(
        max(abs((c - middle) @ across) / (half * aspect), abs((c - middle) @ up) / half) + (c - middle) @ direction
        for c in corners
    )
    eye.location = middle + direction * distance
    eye.location.z = CAMERA_HEIGHT
    eye.rotation_euler = (middle - eye.location).to_track_quat("-Z", "Y").to_euler()
