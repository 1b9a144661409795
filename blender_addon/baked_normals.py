"""Normals of baked points. A point cache has positions alone: the normals play as those of a hidden object beside.

Meshes need none of this, they have the normals of their faces. It is made of Blender's own parts, so that it plays
without the add-on, as the cache does.
"""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.types import GeometryNodeTree, Modifier, Object

from . import pc2

MODIFIER = "SCALE Bake Normals"
NORMAL = "normal"
INPUT = "Normals"


def path_beside(cache: Path) -> Path:
    return cache.with_suffix(".normals.pc2")


def play(obj: Object, path: str, first: float, scale: float) -> Modifier:
    """Have points take their normals from a cache; see `pc2.play`."""
    mesh = bpy.data.meshes.new(f"{obj.name} Normals")
    mesh.vertices.add(len(obj.data.vertices))
    carrier = bpy.data.objects.new(mesh.name, mesh)
    carrier.parent = obj
    carrier.hide_viewport = carrier.hide_render = carrier.hide_select = True
    for collection in obj.users_collection:
        collection.objects.link(carrier)
    pc2.play(carrier.modifiers.new("Cache", "MESH_CACHE"), path, first, scale)
    modifier = obj.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = _group()
    modifier[_socket(modifier.node_group)] = carrier
    modifier.show_expanded = False
    return modifier


def clear(obj: Object) -> None:
    modifier = obj.modifiers.get(MODIFIER)
    if modifier is None:
        return
    carrier = modifier[_socket(modifier.node_group)] if modifier.node_group else None
    obj.modifiers.remove(modifier)
    if carrier is not None:
        mesh = carrier.data
        bpy.data.objects.remove(carrier)
        if not mesh.users:
            bpy.data.meshes.remove(mesh)


def _socket(group: GeometryNodeTree) -> str:
    return next(item.identifier for item in group.interface.items_tree if item.name == INPUT)


def _group() -> GeometryNodeTree:
    """Stores the positions of another object's points as the normals of one's own."""
    group = bpy.data.node_groups.get(MODIFIER)
    if group is not None:
        return group
    group = bpy.data.node_groups.new(MODIFIER, "GeometryNodeTree")
    group.is_modifier = True
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket(INPUT, in_out="INPUT", socket_type="NodeSocketObject")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    nodes, link = group.nodes, group.links.new
    start, end = nodes.new("NodeGroupInput"), nodes.new("NodeGroupOutput")
    carrier, sample = nodes.new("GeometryNodeObjectInfo"), nodes.new("GeometryNodeSampleIndex")
    position, index = nodes.new("GeometryNodeInputPosition"), nodes.new("GeometryNodeInputIndex")
    store = nodes.new("GeometryNodeStoreNamedAttribute")
    sample.data_type = store.data_type = "FLOAT_VECTOR"
    sample.domain = store.domain = "POINT"
    store.inputs["Name"].default_value = NORMAL
    places = ((start, 0, 0), (carrier, 200, -150), (position, 200, -400), (index, 200, -500), (sample, 400, -200),
              (store, 600, 0), (end, 800, 0))  # fmt: skip
    for node, *place in places:
        node.location = place
    link(start.outputs["Geometry"], store.inputs["Geometry"])
    link(start.outputs[INPUT], carrier.inputs["Object"])
    link(carrier.outputs["Geometry"], sample.inputs["Geometry"])
    link(position.outputs[0], sample.inputs["Value"])
    link(index.outputs[0], sample.inputs["Index"])
    link(sample.outputs["Value"], store.inputs["Value"])
    link(store.outputs["Geometry"], end.inputs["Geometry"])
    return group
