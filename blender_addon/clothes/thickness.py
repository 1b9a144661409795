"""Thickness of cloth: Blender's own Solidify modifier, outwards, so that the cloth stays off the skin."""

from __future__ import annotations

from bpy.types import GeometryNodeTree, NodesModifier, Object, SolidifyModifier

from ..blender import meshes, objects
from ..blender.nodes import add_node, group_named, math, new_geometry_group
from ..rig.rest import rest_of
from . import selection

MODIFIER = "Thickness"
TURN = "SCALE Turn Normals"
THICKNESS = 0.0015  # metres: a firm cotton


def modifier_of(obj: Object) -> SolidifyModifier | None:
    return objects.modifier_of(obj, MODIFIER, SolidifyModifier)


def add(obj: Object) -> SolidifyModifier:
    """Give clothes a thickness, after all that moves them. Raises AddonError."""
    target = selection.wearer(obj)
    modifier = modifier_of(obj) or objects.new_modifier(obj, MODIFIER, SolidifyModifier)
    modifier.thickness = THICKNESS * rest_of(target).frame.unit
    modifier.offset = 1.0  # outwards
    modifier.use_even_offset = modifier.use_quality_normals = True
    if meshes.FREE_NORMALS and TURN not in obj.modifiers:
        turn = objects.new_modifier(obj, TURN, NodesModifier)
        turn.node_group = group_named(TURN, GeometryNodeTree) or _turning_group()
        turn.show_expanded = False
    return modifier


def remove(obj: Object) -> None:
    for modifier in (modifier_of(obj), obj.modifiers.get(TURN)):
        if modifier is not None:
            obj.modifiers.remove(modifier)


def _turning_group() -> GeometryNodeTree:
    """Turns normals of one's own the way that the faces look: Solidify gives both sides those of the outside."""
    tree = new_geometry_group(TURN)
    start, end = add_node(tree, "NodeGroupInput", (0, 0)), add_node(tree, "NodeGroupOutput", (1800, 0))
    own = add_node(tree, "GeometryNodeInputNamedAttribute", (0, -200), data_type="FLOAT_VECTOR")
    own.inputs["Name"].default_value = meshes.CUSTOM_NORMAL
    face = add_node(tree, "GeometryNodeInputNormal", (0, -400))
    of_face = add_node(tree, "GeometryNodeFieldOnDomain", (200, -400), data_type="FLOAT_VECTOR", domain="FACE")
    tree.links.new(face.outputs["True Normal"], of_face.inputs[0])
    agreement = add_node(tree, "ShaderNodeVectorMath", (400, -300), operation="DOT_PRODUCT")
    tree.links.new(own.outputs["Attribute"], agreement.inputs[0])
    tree.links.new(of_face.outputs[0], agreement.inputs[1])
    against = math(tree, "LESS_THAN", agreement.outputs["Value"], 0.0)
    turned = add_node(tree, "ShaderNodeVectorMath", (1200, -200), operation="SCALE")
    tree.links.new(own.outputs["Attribute"], turned.inputs[0])
    tree.links.new(math(tree, "MULTIPLY_ADD", against, -2.0, 1.0), turned.inputs["Scale"])
    store = add_node(tree, "GeometryNodeStoreNamedAttribute", (1400, -100), data_type="FLOAT_VECTOR", domain="POINT")
    store.inputs["Name"].default_value = meshes.CUSTOM_NORMAL
    tree.links.new(start.outputs[0], store.inputs["Geometry"])
    tree.links.new(turned.outputs[0], store.inputs["Value"])
    there = add_node(tree, "GeometryNodeSampleIndex", (1400, 200), data_type="BOOLEAN", domain="POINT")
    tree.links.new(start.outputs[0], there.inputs["Geometry"])
    tree.links.new(own.outputs["Exists"], there.inputs["Value"])
    choice = add_node(tree, "GeometryNodeSwitch", (1600, 0), input_type="GEOMETRY")
    tree.links.new(there.outputs["Value"], choice.inputs["Switch"])
    tree.links.new(start.outputs[0], choice.inputs["False"])
    tree.links.new(store.outputs["Geometry"], choice.inputs["True"])
    tree.links.new(choice.outputs[0], end.inputs[0])
    return tree
