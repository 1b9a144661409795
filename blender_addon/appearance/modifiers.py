"""Modifiers that clothes need: points shown as spheres, and a node group that makes exporters see motion."""

from __future__ import annotations

import bpy
import numpy as np
from bpy.types import GeometryNodeTree, Modifier, Object
from mathutils.kdtree import KDTree

MODIFIER = "SCALE Surface"
RADIUS_INPUT = "Radius"
MATERIAL_INPUT = "Material"
POINTS_GROUP = "SCALE Points"
MESH_GROUP = "SCALE Mesh"


def ensure_modifier(obj: Object, surface: str) -> Modifier:
    """The Geometry Nodes modifier of a clothes object, with the node group of its surface."""
    modifier = obj.modifiers.get(MODIFIER) or obj.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = points_group() if surface == "POINTS" else mesh_group()
    modifier.show_expanded = False
    return modifier


def closing_radius(points: np.ndarray) -> float:  # [M, 3]
    """The radius at which spheres on evenly spread points leave no gaps between them."""
    tree = KDTree(len(points))
    for index, point in enumerate(points):
        tree.insert(point, index)
    tree.balance()
    some = points[:: max(len(points) // 300, 1)]
    # on a square grid the fourth neighbour is one step away, and the middle of a square 0.71 steps
    steps = [tree.find_n(point, 5)[-1][2] for point in some]
    return float(0.72 * np.median(steps))


def set_radius(obj: Object, radius: float) -> None:
    _set_input(obj, RADIUS_INPUT, radius)


def set_material(obj: Object, material: bpy.types.Material) -> None:
    _set_input(obj, MATERIAL_INPUT, material)


def _set_input(obj: Object, name: str, value) -> None:
    modifier = obj.modifiers.get(MODIFIER)
    if modifier is None or modifier.node_group is None:
        return
    for item in modifier.node_group.interface.items_tree:
        if item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name:
            modifier[item.identifier] = value
            obj.update_tag()


def mesh_group() -> GeometryNodeTree:
    """Passes the mesh on. Exporters take a mesh that only a handler animates for a still one; not so with this."""
    group = bpy.data.node_groups.get(MESH_GROUP)
    if group is None:
        group = _new_group(MESH_GROUP)
        start, end = group.nodes.new("NodeGroupInput"), group.nodes.new("NodeGroupOutput")
        end.location = (200, 0)
        group.links.new(start.outputs["Geometry"], end.inputs["Geometry"])
    return group


def points_group() -> GeometryNodeTree:
    """Vertices as spheres: native points, which Cycles and EEVEE draw fast."""
    group = bpy.data.node_groups.get(POINTS_GROUP)
    if group is not None:
        return group
    group = _new_group(POINTS_GROUP)
    radius = group.interface.new_socket(RADIUS_INPUT, in_out="INPUT", socket_type="NodeSocketFloat")
    radius.subtype, radius.min_value, radius.default_value = "DISTANCE", 0.0, 0.004
    group.interface.new_socket(MATERIAL_INPUT, in_out="INPUT", socket_type="NodeSocketMaterial")
    nodes, link = group.nodes, group.links.new
    start, end = nodes.new("NodeGroupInput"), nodes.new("NodeGroupOutput")
    points, material = nodes.new("GeometryNodeMeshToPoints"), nodes.new("GeometryNodeSetMaterial")
    for place, node in enumerate((start, points, material, end)):
        node.location = (200 * place, 0)
    link(start.outputs["Geometry"], points.inputs["Mesh"])
    link(start.outputs[RADIUS_INPUT], points.inputs["Radius"])
    link(points.outputs[0], material.inputs["Geometry"])
    link(start.outputs[MATERIAL_INPUT], material.inputs["Material"])
    link(material.outputs[0], end.inputs["Geometry"])
    return group


def _new_group(name: str) -> GeometryNodeTree:
    group = bpy.data.node_groups.new(name, "GeometryNodeTree")
    group.is_modifier = True
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    return group
