"""Normals of baked points, and those of the model on baked surfaces. A point cache has positions alone: the normals
play as the positions of a hidden object beside.

Surfaces that show the normals of their faces need none of this. It is made of Blender's own parts, so that it plays
without the add-on, as the cache does; normals of surfaces from Blender 4.5 on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.types import GeometryNodeTree, Modifier, Object

from ..blender import meshes, pc2

MODIFIER = "SCALE Bake Normals"
INPUT = "Normals"


@dataclass(frozen=True)
class Use:
    """What becomes of the normals: an attribute of points or corners."""

    group: str  # of nodes
    attribute: str
    domain: str


POINTS = Use(MODIFIER, "normal", "POINT")
SURFACE = Use("SCALE Bake Surface Normals", meshes.CUSTOM_NORMAL, "POINT")
EXPORT = Use("SCALE Export Normals", meshes.CUSTOM_NORMAL, "CORNER")  # Alembic leaves others out


def path_beside(cache: Path) -> Path:
    return cache.with_suffix(".normals.pc2")


def play(obj: Object, path: str, first: float, scale: float, use: Use) -> Modifier:
    """Have clothes take their normals from a cache; see `pc2.play`."""
    mesh = bpy.data.meshes.new(f"{obj.name} Normals")
    mesh.vertices.add(len(obj.data.vertices))
    carrier = bpy.data.objects.new(mesh.name, mesh)
    carrier.parent = obj
    carrier.hide_viewport = carrier.hide_render = carrier.hide_select = True
    if use != EXPORT:  # which takes all that is in the scene
        for collection in obj.users_collection:
            collection.objects.link(carrier)
    pc2.play(carrier.modifiers.new("Cache", "MESH_CACHE"), path, first, scale)
    modifier = obj.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = bpy.data.node_groups.get(use.group) or _make_group(use)
    modifier[_socket(modifier.node_group)] = carrier
    modifier.show_expanded = False
    return modifier


def clear(obj: Object) -> None:
    modifier = obj.modifiers.get(MODIFIER)
    if modifier is None:
        return
    group = modifier.node_group
    carrier = modifier[_socket(group)] if group else None
    obj.modifiers.remove(modifier)
    if group is not None and not group.users:
        bpy.data.node_groups.remove(group)
    if carrier is not None:
        mesh = carrier.data
        bpy.data.objects.remove(carrier)
        if not mesh.users:
            bpy.data.meshes.remove(mesh)


def _socket(group: GeometryNodeTree) -> str:
    return next(item.identifier for item in group.interface.items_tree if item.name == INPUT)


def _make_group(use: Use) -> GeometryNodeTree:
    """Stores the positions of another object's points as the normals of one's own."""
    group = bpy.data.node_groups.new(use.group, "GeometryNodeTree")
    group.is_modifier = True
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket(INPUT, in_out="INPUT", socket_type="NodeSocketObject")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    nodes, link = group.nodes, group.links.new
    start, end = nodes.new("NodeGroupInput"), nodes.new("NodeGroupOutput")
    carrier, sample = nodes.new("GeometryNodeObjectInfo"), nodes.new("GeometryNodeSampleIndex")
    position, index = nodes.new("GeometryNodeInputPosition"), nodes.new("GeometryNodeInputIndex")
    unit, of_points = nodes.new("ShaderNodeVectorMath"), nodes.new("GeometryNodeFieldOnDomain")
    store = nodes.new("GeometryNodeStoreNamedAttribute")
    unit.operation = "NORMALIZE"  # between two samples they are shorter
    sample.data_type = of_points.data_type = store.data_type = "FLOAT_VECTOR"
    sample.domain = of_points.domain = "POINT"
    store.domain = use.domain
    store.inputs["Name"].default_value = use.attribute
    places = ((start, 0, 0), (carrier, 200, -150), (position, 200, -400), (index, 200, -500), (sample, 400, -200),
              (unit, 600, -200), (of_points, 800, -200), (store, 1000, 0), (end, 1200, 0))  # fmt: skip
    for node, *place in places:
        node.location = place
    link(start.outputs["Geometry"], store.inputs["Geometry"])
    link(start.outputs[INPUT], carrier.inputs["Object"])
    link(carrier.outputs["Geometry"], sample.inputs["Geometry"])
    link(position.outputs[0], sample.inputs["Value"])
    link(index.outputs[0], sample.inputs["Index"])
    link(sample.outputs["Value"], unit.inputs[0])
    link(unit.outputs[0], of_points.inputs[0])
    link(of_points.outputs[0], store.inputs["Value"])
    link(store.outputs["Geometry"], end.inputs["Geometry"])
    return group
