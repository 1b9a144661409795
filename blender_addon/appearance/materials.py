"""Materials that all clothes share: normals and patches; and skin for the sample character."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import bpy
import numpy as np
from bpy.types import Material, NodeSocket, NodeTree

from ..blender.nodes import add_node, drop_nodes, tree_of

LOOKS = (
    ("CLOTH", "Cloth", "A woven fabric, in the colour chosen below"),
    ("NORMALS", "Normals", "The direction of the surface as colour, as research pictures show it"),
    ("PATCHES", "Patches", "One colour for each patch of the garment"),
    ("COLORS", "Colors", "The colours of the scans that the garment was trained on"),
)
REGION = "region"  # the attribute that tells the parts of a garment's mesh
COLOR = "color"  # the attribute that garments of coloured scans have
PATCH_COLOR = "patch_color"
SHARED = (
    "SCALE Patches",
    "SCALE Colors",
    "SCALE Point Normals",
    "SCALE Normals",
    "SCALE Cloth",
)  # the last of older files


def look(kind: str, points: bool) -> Material:
    """The material of a look other than cloth; made once a file. Points carry their normal as an attribute."""
    if kind == "PATCHES":
        return _once("SCALE Patches", partial(_colored, attribute=PATCH_COLOR))
    if kind == "COLORS":
        return _once("SCALE Colors", partial(_colored, attribute=COLOR))
    return _once("SCALE Point Normals", _point_normals) if points else _once("SCALE Normals", _normals)


def is_look(material: Material) -> bool:
    """Whether a material is one that `look` has made."""
    return material.name.startswith(SHARED)


def skin() -> Material:
    return _once("SCALE Skin", _skin)


def patch_colors(patch: np.ndarray) -> np.ndarray:  # [M] int -> [M, 4] float32 linear
    """A stable colour for each patch: hues a golden angle apart, so that neighbours differ."""
    hue = (patch * 0.61803398875) % 1.0
    value = 0.55 + 0.45 * ((patch * 0.7548776662) % 1.0)
    offsets = np.array([0.0, 2 / 3, 1 / 3])
    rgb = np.clip(np.abs((hue[:, None] + offsets) % 1.0 * 6 - 3) - 1, 0, 1)
    rgb = value[:, None] * (1 - 0.72 * (1 - rgb))
    return np.concatenate([rgb**2.2, np.ones((len(patch), 1))], 1).astype(np.float32)


def linear(colors: np.ndarray) -> np.ndarray:  # [M, 3] sRGB in 0..1 -> [M, 4] float32 linear, opaque
    rgb = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    return np.concatenate([rgb, np.ones((len(rgb), 1))], 1).astype(np.float32)


def _once(name: str, build: Callable[[Material], None]) -> Material:
    material = bpy.data.materials.get(name)
    if material is None or material.library is not None:
        material = bpy.data.materials.new(name)
        drop_nodes(material)
        build(material)
    return material


def _surface(tree: NodeTree) -> Any:
    """The node of the surface, linked to the material's output."""
    output = add_node(tree, "ShaderNodeOutputMaterial", (600, 0))
    principled = add_node(tree, "ShaderNodeBsdfPrincipled", (300, 0))
    tree.links.new(principled.outputs[0], output.inputs["Surface"])
    return principled


def _glow(tree: NodeTree, colour_socket: NodeSocket) -> None:
    """Colour as it is, whatever the light."""
    output = add_node(tree, "ShaderNodeOutputMaterial", (600, 0))
    emission = add_node(tree, "ShaderNodeEmission", (400, 0))
    tree.links.new(colour_socket, emission.inputs["Color"])
    tree.links.new(emission.outputs[0], output.inputs["Surface"])


def _direction_colour(tree: NodeTree, direction_socket: NodeSocket) -> NodeSocket:
    """Directions -1..1 in the world as colours 0..1, in SMPL's axes as research pictures have them: front is blue."""
    parts = add_node(tree, "ShaderNodeSeparateXYZ", (0, 0))
    front = add_node(tree, "ShaderNodeMath", (50, -150), operation="MULTIPLY")
    front.inputs[1].default_value = -1.0
    turned = add_node(tree, "ShaderNodeCombineXYZ", (100, 0))
    scaled = add_node(tree, "ShaderNodeVectorMath", (200, 0), operation="MULTIPLY_ADD")
    scaled.inputs[1].default_value = scaled.inputs[2].default_value = (0.5, 0.5, 0.5)
    link = tree.links.new
    link(direction_socket, parts.inputs[0])
    link(parts.outputs["X"], turned.inputs["X"])
    link(parts.outputs["Z"], turned.inputs["Y"])
    link(parts.outputs["Y"], front.inputs[0])
    link(front.outputs[0], turned.inputs["Z"])
    link(turned.outputs[0], scaled.inputs[0])
    return scaled.outputs[0]


def _normals(material: Material) -> None:
    tree = tree_of(material)
    geometry = add_node(tree, "ShaderNodeNewGeometry", (-500, 0))
    # the renderer turns the normal towards the eye; seen from behind the surface's own is the other one
    away = add_node(tree, "ShaderNodeMath", (-300, -250), operation="MULTIPLY_ADD")
    away.inputs[1].default_value, away.inputs[2].default_value = -2.0, 1.0
    tree.links.new(geometry.outputs["Backfacing"], away.inputs[0])
    turned = add_node(tree, "ShaderNodeVectorMath", (-150, 0), operation="SCALE")
    tree.links.new(geometry.outputs["Normal"], turned.inputs[0])
    tree.links.new(away.outputs[0], turned.inputs["Scale"])
    _glow(tree, _direction_colour(tree, turned.outputs[0]))


def _point_normals(material: Material) -> None:
    tree = tree_of(material)
    normal = add_node(tree, "ShaderNodeAttribute", (-400, 0), attribute_name="normal")
    world = add_node(
        tree, "ShaderNodeVectorTransform", (-200, 0), vector_type="NORMAL", convert_from="OBJECT", convert_to="WORLD"
    )
    tree.links.new(normal.outputs["Vector"], world.inputs[0])
    _glow(tree, _direction_colour(tree, world.outputs[0]))


def _colored(material: Material, attribute: str) -> None:
    tree = tree_of(material)
    principled = _surface(tree)
    colour = add_node(tree, "ShaderNodeAttribute", (0, 0), attribute_name=attribute)
    tree.links.new(colour.outputs["Color"], principled.inputs["Base Color"])
    principled.inputs["Roughness"].default_value = 0.7


def _skin(material: Material) -> None:
    """Soft, uneven skin; light goes a little way in."""
    tree = tree_of(material)
    principled = _surface(tree)
    principled.inputs["Roughness"].default_value = 0.52
    principled.inputs["Specular IOR Level"].default_value = 0.35
    principled.inputs["Subsurface Weight"].default_value = 0.12
    principled.inputs["Subsurface Radius"].default_value = (1.0, 0.35, 0.2)
    principled.inputs["Subsurface Scale"].default_value = 0.02
    place = add_node(tree, "ShaderNodeTexCoord", (-700, 0))
    blotches = add_node(tree, "ShaderNodeTexNoise", (-450, 0))
    blotches.inputs["Scale"].default_value = 9.0
    blotches.inputs["Detail"].default_value = 5.0
    ramp = add_node(tree, "ShaderNodeValToRGB", (-200, 0))
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.3, 0.75
    ramp.color_ramp.elements[0].color = (0.50, 0.275, 0.19, 1.0)
    ramp.color_ramp.elements[1].color = (0.60, 0.36, 0.26, 1.0)
    tree.links.new(place.outputs["Generated"], blotches.inputs["Vector"])  # has no seams, moves with the skin
    tree.links.new(blotches.outputs[0], ramp.inputs[0])
    tree.links.new(ramp.outputs[0], principled.inputs["Base Color"])
    material.diffuse_color = (0.62, 0.42, 0.33, 1.0)
