"""Put a motion on the floor: the soles of the feet, not the joints, and wherever the rig's origin is."""

from __future__ import annotations

import numpy as np
from bpy.types import Object

from ..blender import meshes
from ..blender.objects import mesh_of
from ..paths import body_file
from ..rig import shape
from ..rig.body_data import read_body
from ..rig.recognition import BODY_JOINTS
from ..rig.rest import Rest
from ..settings import clothes_settings
from .retargeting import RigMotion

GROUND_SHARE = 2.0  # percent of the frames that may be below the ground: noise in captured motions
FEET = (10, 11)  # the balls of the feet; their parents are the ankles
LOWEST = 0.25  # metres below the balls of the feet, for the body, in which soles are looked for
THICK = 0.03  # metres above the lowest point that are sole
MOST = 200  # points that are followed
UPRIGHT = 0.5  # cosine between the rig's up and the world's below which the world's floor means nothing to it


def on_floor(target: Object, rest: Rest, moved: RigMotion) -> RigMotion:
    """The motion, raised or lowered until its lowest sole is at the world's zero.

    A rig whose object lies on its side stands on the plane that its soles are on at rest.
    """
    up = rest.frame.rotation[:, 1]
    world = np.array(target.matrix_world, np.float64)
    rise = world[2, :3] @ up  # in the world, of a step up in the armature
    points, joints = soles(target, rest)
    turned = np.stack([moved.turned[joint] for joint in range(BODY_JOINTS)], 1)[:, joints]  # [F, P, 3, 3]
    places = moved.places(rest)[:, joints] + (turned @ (points - rest.joints[joints])[..., None])[..., 0]
    if rise < UPRIGHT * np.linalg.norm(world[:3, :3] @ up):
        heights, rise = places @ up - (points @ up).min(), 1.0
    else:
        heights = places @ world[2, :3] + world[2, 3]
    return moved.moved(-np.percentile(heights.min(1), GROUND_SHARE) / rise * up)


def soles(target: Object, rest: Rest) -> tuple[np.ndarray, np.ndarray]:  # [P, 3] armature space, [P]
    """Points of the soles at rest and the joint each moves with: of the rig's mesh, or where the body's would be."""
    up, metre = rest.frame.rotation[:, 1], rest.frame.unit * rest.size
    ball = min(rest.joints[foot] @ up for foot in FEET)
    sole_points, level = None, np.inf
    for mesh in shape.meshes_of(target):
        if clothes_settings(mesh).is_clothes or not len(mesh_of(mesh).vertices):
            continue
        matrix = np.linalg.inv(np.array(target.matrix_world, np.float64)) @ np.array(mesh.matrix_world, np.float64)
        points = meshes.get_positions(mesh_of(mesh)) @ matrix[:3, :3].T + matrix[:3, 3]
        lowest = (points @ up).min()
        if ball - LOWEST * metre <= lowest <= ball and lowest < level:
            sole_points, level = points, lowest
    if sole_points is not None:
        points = _lowest(sole_points, sole_points @ up, THICK * metre)
        return points, _joints_of(points @ rest.frame.rotation, rest.joints @ rest.frame.rotation)
    body = read_body(body_file("neutral"))
    points = _lowest(body.template, body.template[:, 1], THICK)
    joints = _joints_of(points, body.joints)
    return rest.joints[joints] + (points - body.joints[joints]) @ rest.frame.rotation.T * metre, joints


def _lowest(points: np.ndarray, heights: np.ndarray, thickness: float) -> np.ndarray:  # [V, 3], [V] -> [P, 3]
    chosen = points[heights < heights.min() + thickness].astype(np.float64)
    return chosen[:: -(-len(chosen) // MOST)]


def _joints_of(points: np.ndarray, joints: np.ndarray) -> np.ndarray:  # [P, 3], [22.., 3] SMPL's axes -> [P]
    """The nearest foot's ball for what is in front of it, else its ankle."""
    places = joints[list(FEET)]
    nearest = np.abs(points[:, None, 0] - places[:, 0]).argmin(1)
    in_front = points[:, 2] > places[nearest, 2]
    return np.where(in_front, np.array(FEET)[nearest], np.array(FEET)[nearest] - 3)
