"""Modifiers that clothes need: points shown as spheres, and a node group that makes exporters see motion."""

from __future__ import annotations

import numpy as np
from bpy.types import GeometryNodeTree, Material, NodesModifier, Object
from mathutils.kdtree import KDTree

from ..blender.nodes import add_node, add_socket, group_named, input_named, new_geometry_group
from ..blender.objects import modifier_of, new_modifier

MODIFIER = "SCALE Surface"
RADIUS_INPUT = "Radius"
MATERIAL_INPUT = "Material"
POINTS_GROUP = "SCALE Points"
MESH_GROUP = "SCALE Mesh"


def ensure_modifier(obj: Object, surface: str) -> NodesModifier:
    """The Geometry Nodes modifier of a clothes object, with the node group of its surface."""
    modifier = modifier_of(obj, MODIFIER, NodesModifier) or new_modifier(obj, MODIFIER, NodesModifier)
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


def set_material(obj: Object, material: Material) -> None:
    _set_input(obj, MATERIAL_INPUT, material)


def _set_input(obj: Object, name: str, value: float | Material) -> None:
    modifier = modifier_of(obj, MODIFIER, NodesModifier)
    if modifier is None or modifier.node_group is None:
        return
    identifier = input_named(modifier.node_group, name)
    if identifier is not None:
        modifier[identifier] = value
        obj.update_tag()


def mesh_group() -> GeometryNodeTree:
    """Passes the mesh on. Exporters take a mesh that only a handler animates for a still one; not so with this."""
    group = group_named(MESH_GROUP, GeometryNodeTree)
    if group is None:
        group = new_geometry_group(MESH_GROUP)
        start, end = add_node(group, "NodeGroupInput", (0, 0)), add_node(group, "NodeGroupOutput", (200, 0))
        group.links.new(start.outputs["Geometry"], end.inputs["Geometry"])
    return group


def points_group() -> GeometryNodeTree:
    """Vertices as spheres: native points, which Cycles and EEVEE draw fast."""
    group = group_named(POINTS_GROUP, GeometryNodeTree)
    if group is not None:
        return group
    group = new_geometry_group(POINTS_GROUP)
    add_socket(group, RADIUS_INPUT, "NodeSocketFloat", subtype="DISTANCE", min_value=0.0, default_value=0.004)
    add_socket(group, MATERIAL_INPUT, "NodeSocketMaterial")
    link = group.links.new
    kinds = ("NodeGroupInput", "GeometryNodeMeshToPoints", "GeometryNodeSetMaterial", "NodeGroupOutput")
    start, points, material, end = (add_node(group, kind, (200 * place, 0)) for place, kind in enumerate(kinds))
    link(start.outputs["Geometry"], points.inputs["Mesh"])
    link(start.outputs[RADIUS_INPUT], points.inputs["Radius"])
    link(points.outputs[0], material.inputs["Geometry"])
    link(start.outputs[MATERIAL_INPUT], material.inputs["Material"])
    link(material.outputs[0], end.inputs["Geometry"])
    return group
