"""Node trees from code.

Blender's types know a node or a socket by its class, and not by the name of the kind that it was made from: what is
made here by name is Any, so that the values of its kind can be set.
"""

from __future__ import annotations

from typing import Any, TypeVar

import bpy
from bpy.types import GeometryNodeTree, Material, NodeSocket, NodeTree, ShaderNodeTree

from ..present import present

Group = TypeVar("Group", bound=NodeTree)


def tree_of(material: Material) -> ShaderNodeTree:
    """The nodes of a material that uses nodes."""
    return present(material.node_tree)


def drop_nodes(material: Material) -> ShaderNodeTree:
    """The empty node tree of a material."""
    material.use_nodes = True
    tree = tree_of(material)
    tree.nodes.clear()
    return tree


def add_node(tree: NodeTree, kind: str, place: tuple[float, float], **values: Any) -> Any:
    """A node of a kind, with its values."""
    node = tree.nodes.new(kind)
    node.location = place
    for name, value in values.items():
        setattr(node, name, value)
    return node


def set_value(socket: NodeSocket, value: Any) -> None:
    """What a socket has where nothing is linked to it. Not every kind of socket has such a value."""
    socket.default_value = value  # type: ignore[attr-defined]


def math(tree: NodeTree, operation: str, *operands: NodeSocket | float) -> NodeSocket:
    """What a Math node makes of sockets and numbers. It stands to the right of the nodes it needs."""
    node = add_node(tree, "ShaderNodeMath", (0, 0), operation=operation, hide=True)
    sources = [present(operand.node) for operand in operands if isinstance(operand, NodeSocket)]
    if sources:
        node.location = max(s.location.x for s in sources) + 200, min(s.location.y for s in sources) - 50
    for socket, operand in zip(node.inputs, operands, strict=False):
        if isinstance(operand, NodeSocket):
            tree.links.new(operand, socket)
        else:
            socket.default_value = operand
    return node.outputs[0]


def group_named(name: str, kind: type[Group]) -> Group | None:
    """The node group of that name and kind in the file."""
    group = bpy.data.node_groups.get(name)
    return group if isinstance(group, kind) else None


def new_geometry_group(name: str) -> GeometryNodeTree:
    """A node group for modifiers, from geometry to geometry, without nodes."""
    group = bpy.data.node_groups.new(name, "GeometryNodeTree")
    assert isinstance(group, GeometryNodeTree)
    group.is_modifier = True
    add_socket(group, "Geometry", "NodeSocketGeometry")
    add_socket(group, "Geometry", "NodeSocketGeometry", "OUTPUT")
    return group


def add_socket(group: NodeTree, name: str, kind: str, side: str = "INPUT", **values: Any) -> None:
    """An input or output of a node group, with its values: default_value, min_value and the like."""
    socket = present(group.interface).new_socket(name, in_out=side, socket_type=kind)  # type: ignore[arg-type]  # names
    for field, value in values.items():
        setattr(socket, field, value)


def input_named(group: NodeTree, name: str) -> str | None:
    """What a modifier calls a group's input of that name; None: there is none."""
    sockets: Any = present(group.interface).items_tree  # panels are in there too
    chosen = (each for each in sockets if each.item_type == "SOCKET" and each.in_out == "INPUT" and each.name == name)
    return next((socket.identifier for socket in chosen), None)
