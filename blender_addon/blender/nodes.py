"""Node trees from code."""

from __future__ import annotations

from bpy.types import Material, Node, NodeSocket, NodeTree, ShaderNodeTree


def drop_nodes(material: Material) -> ShaderNodeTree:
    """The empty node tree of a material."""
    material.use_nodes = True
    material.node_tree.nodes.clear()
    return material.node_tree


def add_node(tree: NodeTree, kind: str, place: tuple[float, float], **values) -> Node:
    node = tree.nodes.new(kind)
    node.location = place
    for name, value in values.items():
        setattr(node, name, value)
    return node


def math(tree: NodeTree, operation: str, *operands: NodeSocket | float) -> NodeSocket:
    """What a Math node makes of sockets and numbers. It stands to the right of the nodes it needs."""
    node = tree.nodes.new("ShaderNodeMath")
    node.operation, node.hide = operation, True
    sources = [operand.node for operand in operands if isinstance(operand, NodeSocket)]
    if sources:
        node.location = max(s.location.x for s in sources) + 200, min(s.location.y for s in sources) - 50
    for socket, operand in zip(node.inputs, operands, strict=False):
        if isinstance(operand, NodeSocket):
            tree.links.new(operand, socket)
        else:
            socket.default_value = operand
    return node.outputs[0]
