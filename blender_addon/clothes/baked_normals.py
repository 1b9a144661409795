"""Normals of baked points, and those of the model on baked surfaces. A point cache has positions alone: the normals
play as the positions of a hidden object beside.

Surfaces that show the normals of their faces need none of this. It is made of Blender's own parts, so that it plays
without the add-on, as the cache does; normals of surfaces from Blender 4.5 on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.types import GeometryNodeTree, MeshCacheModifier, NodesModifier, NodeTree, Object

from ..blender import meshes, pc2
from ..blender.nodes import add_node, add_socket, group_named, input_named, new_geometry_group
from ..blender.objects import mesh_of, modifier_of, new_modifier
from ..present import present

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


def play(obj: Object, path: str, first: float, scale: float, use: Use) -> NodesModifier:
    """Have clothes take their normals from a cache; see `pc2.play`."""
    mesh = bpy.data.meshes.new(f"{obj.name} Normals")
    mesh.vertices.add(len(mesh_of(obj).vertices))
    carrier = bpy.data.objects.new(mesh.name, mesh)
    carrier.parent = obj
    carrier.hide_viewport = carrier.hide_render = carrier.hide_select = True
    if use != EXPORT:  # which takes all that is in the scene
        for collection in obj.users_collection:
            collection.objects.link(carrier)
    pc2.play(new_modifier(carrier, "Cache", MeshCacheModifier), path, first, scale)
    modifier = new_modifier(obj, MODIFIER, NodesModifier)
    group = modifier.node_group = group_named(use.group, GeometryNodeTree) or _make_group(use)
    modifier[_socket(group)] = carrier
    modifier.show_expanded = False
    return modifier


def clear(obj: Object) -> None:
    modifier = modifier_of(obj, MODIFIER, NodesModifier)
    if modifier is None:
        return
    group = modifier.node_group
    carrier = modifier[_socket(group)] if group else None
    obj.modifiers.remove(modifier)
    if group is not None and not group.users:
        bpy.data.node_groups.remove(group)
    if carrier is not None:
        mesh = mesh_of(carrier)
        bpy.data.objects.remove(carrier)
        if not mesh.users:
            bpy.data.meshes.remove(mesh)


def _socket(group: NodeTree) -> str:
    return present(input_named(group, INPUT))


def _make_group(use: Use) -> GeometryNodeTree:
    """Stores the positions of another object's points as the normals of one's own."""
    group = new_geometry_group(use.group)
    add_socket(group, INPUT, "NodeSocketObject")
    link, vectors = group.links.new, "FLOAT_VECTOR"
    start, end = add_node(group, "NodeGroupInput", (0, 0)), add_node(group, "NodeGroupOutput", (1200, 0))
    carrier = add_node(group, "GeometryNodeObjectInfo", (200, -150))
    position = add_node(group, "GeometryNodeInputPosition", (200, -400))
    index = add_node(group, "GeometryNodeInputIndex", (200, -500))
    sample = add_node(group, "GeometryNodeSampleIndex", (400, -200), data_type=vectors, domain="POINT")
    unit = add_node(group, "ShaderNodeVectorMath", (600, -200), operation="NORMALIZE")  # between samples it is shorter
    of_points = add_node(group, "GeometryNodeFieldOnDomain", (800, -200), data_type=vectors, domain="POINT")
    store = add_node(group, "GeometryNodeStoreNamedAttribute", (1000, 0), data_type=vectors, domain=use.domain)
    store.inputs["Name"].default_value = use.attribute
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
