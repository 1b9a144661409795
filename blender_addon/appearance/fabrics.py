"""Fabrics: one shader node group for all of them, presets of its inputs, and a material for each of the clothes.

The weave lies in the UVs, at its true size, so it rides with the cloth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import bpy
from bpy.types import Material, Node, NodeSocket, ShaderNodeGroup, ShaderNodeTree

from ..blender.nodes import add_node, add_socket, drop_nodes, group_named, math, set_value

GROUP = "SCALE Fabric"
COLOR, UV_SIZE = "Color", "UV Size"
# name, default, greatest value, what it is
INPUTS = (
    (UV_SIZE, 1.4, 100.0, "Metres of cloth across the UV square"),
    ("Thread", 0.0008, 0.1, "Metres from one thread to the next"),
    ("Twill", 0.0, 1.0, "0: threads cross one by one, 1: they make diagonal ribs"),
    ("Weave Depth", 0.0002, 0.01, "Metres by which the weave stands out"),
    ("Wrinkle Depth", 0.001, 0.05, "Metres of the small creases that the mesh does not have"),
    ("Weft", 0.0, 1.0, "How much of the undyed thread across is seen"),
    ("Unevenness", 0.1, 1.0, "How unevenly the threads are dyed and spun"),
    ("Roughness", 0.85, 1.0, "How dull the fibres are"),
    ("Specular", 0.25, 1.0, "How much the fibres reflect"),
    ("Luster", 0.0, 1.0, "How much reflections have the colour of the cloth"),
    ("Sheen", 0.2, 1.0, "Fuzz that is seen at grazing angles"),
    ("Sheen Roughness", 0.4, 1.0, "How far the fuzz stands out"),
    ("Translucency", 0.12, 1.0, "Light that shines through"),
)
UNDYED = (0.62, 0.62, 0.60, 1.0)
SEEN_FROM = 1500.0  # thread widths: a thread farther away is smaller than a pixel of most pictures


@dataclass(frozen=True)
class Fabric:
    """A preset: values of the group's inputs."""

    key: str
    title: str
    description: str
    color: tuple[float, float, float, float]  # linear
    inputs: dict[str, float]


FABRICS = (
    Fabric("COTTON", "Cotton", "Plain weave, dull, softly creased", (0.07, 0.19, 0.33, 1.0), {
        "Thread": 0.0007, "Twill": 0.0, "Weave Depth": 0.00012, "Wrinkle Depth": 0.0022, "Weft": 0.04,
        "Unevenness": 0.16, "Roughness": 0.88, "Specular": 0.22, "Luster": 0.0, "Sheen": 0.10, "Sheen Roughness": 0.5,
        "Translucency": 0.14,
    }),
    Fabric("DENIM", "Denim", "Twill of dyed and undyed threads, streaky, stiff", (0.022, 0.05, 0.125, 1.0), {
        "Thread": 0.0011, "Twill": 1.0, "Weave Depth": 0.0003, "Wrinkle Depth": 0.0016, "Weft": 0.13,
        "Unevenness": 0.5, "Roughness": 0.92, "Specular": 0.16, "Luster": 0.0, "Sheen": 0.05, "Sheen Roughness": 0.5,
        "Translucency": 0.02,
    }),
    Fabric("SILK", "Silk", "Satin: smooth, with soft highlights", (0.30, 0.012, 0.035, 1.0), {
        "Thread": 0.0003, "Twill": 0.6, "Weave Depth": 0.00002, "Wrinkle Depth": 0.0008, "Weft": 0.0,
        "Unevenness": 0.10, "Roughness": 0.50, "Specular": 0.42, "Luster": 0.30, "Sheen": 0.25, "Sheen Roughness": 0.25,
        "Translucency": 0.06,
    }),
    Fabric("WOOL", "Wool", "Thick yarn of mixed fibres, fuzzy", (0.21, 0.165, 0.12, 1.0), {
        "Thread": 0.0032, "Twill": 0.35, "Weave Depth": 0.0011, "Wrinkle Depth": 0.0012, "Weft": 0.10,
        "Unevenness": 0.45, "Roughness": 1.0, "Specular": 0.08, "Luster": 0.0, "Sheen": 0.45, "Sheen Roughness": 0.65,
        "Translucency": 0.05,
    }),
)  # fmt: skip
BY_KEY = {fabric.key: fabric for fabric in FABRICS}
ITEMS = tuple((fabric.key, fabric.title, fabric.description) for fabric in FABRICS)


def make_material(name: str, uv_size: float) -> Material:
    """A material of cloth; `uv_size`: metres of cloth across the UV square."""
    material = bpy.data.materials.new(name)
    tree = drop_nodes(material)
    output = add_node(tree, "ShaderNodeOutputMaterial", (300, 0))
    fabric = add_node(tree, "ShaderNodeGroup", (0, 0), node_tree=_group(), width=220)
    tree.links.new(fabric.outputs[0], output.inputs["Surface"])
    fabric.inputs[UV_SIZE].default_value = uv_size
    return material


def node(material: Material) -> ShaderNodeGroup | None:
    """The fabric's node in a material; None in other materials."""
    nodes = material.node_tree.nodes if material.node_tree else ()
    groups = (each for each in nodes if isinstance(each, ShaderNodeGroup))
    return next((each for each in groups if each.node_tree and each.node_tree.name.startswith(GROUP)), None)


def weave(material: Material, key: str) -> None:
    """Make a cloth material a fabric. The colour stays."""
    fabric = node(material)
    for name, value in BY_KEY[key].inputs.items():
        if fabric is not None and name in fabric.inputs:
            set_value(fabric.inputs[name], value)


def dye(material: Material, color: Sequence[float]) -> None:  # 4, linear
    """Colour a cloth material, as rendered and as the solid view shows it."""
    fabric = node(material)
    if fabric is not None:
        set_value(fabric.inputs[COLOR], color)
        material.diffuse_color = color


def preset_color(key: str, color: Sequence[float]) -> tuple[float, ...]:
    """The colour to go on with when a fabric is chosen: its own, unless the user has picked one."""
    untouched = any(max(abs(a - b) for a, b in zip(color, other.color, strict=True)) < 1e-4 for other in FABRICS)
    return BY_KEY[key].color if untouched else tuple(color)


def _group() -> ShaderNodeTree:
    group = group_named(GROUP, ShaderNodeTree)
    if group is None or group.library is not None:
        made = bpy.data.node_groups.new(GROUP, "ShaderNodeTree")
        assert isinstance(made, ShaderNodeTree)
        group = made
        _add_sockets(group)
        _build(group)
    return group


def _add_sockets(group: ShaderNodeTree) -> None:
    add_socket(group, "Surface", "NodeSocketShader", "OUTPUT")
    add_socket(group, COLOR, "NodeSocketColor", default_value=FABRICS[0].color)
    for name, default, greatest, description in INPUTS:
        add_socket(group, name, "NodeSocketFloat", default_value=default, min_value=0.0, max_value=greatest,
                   description=description)  # fmt: skip


def _build(group: ShaderNodeTree) -> None:
    link = group.links.new
    start, end = add_node(group, "NodeGroupInput", (-1800, 0)), add_node(group, "NodeGroupOutput", (1300, 0))
    place = add_node(group, "ShaderNodeTexCoord", (-1800, -400))
    metres = add_node(group, "ShaderNodeVectorMath", (-1600, -400), operation="SCALE")
    link(place.outputs["UV"], metres.inputs[0])
    link(start.outputs[UV_SIZE], metres.inputs["Scale"])
    seen, threads = _visible(group, start), _threads(group, start, metres.outputs[0])
    streaks = _streaks(group, start, metres.outputs[0])
    color = _color(group, start, seen, threads, streaks)

    principled = add_node(group, "ShaderNodeBsdfPrincipled", (800, 200))
    link(color, principled.inputs["Base Color"])
    for name, target in (
        ("Roughness", "Roughness"),
        ("Specular", "Specular IOR Level"),
        ("Luster", "Metallic"),
        ("Sheen", "Sheen Weight"),
        ("Sheen Roughness", "Sheen Roughness"),
    ):
        link(start.outputs[name], principled.inputs[target])
    tint = add_node(group, "ShaderNodeMix", (500, -150), data_type="RGBA")
    tint.inputs["Factor"].default_value = 0.35
    link(color, tint.inputs["A"])
    tint.inputs["B"].default_value = (1.0, 1.0, 1.0, 1.0)
    link(tint.outputs["Result"], principled.inputs["Sheen Tint"])
    normal = _relief(group, start, seen, threads, metres.outputs[0])
    link(normal, principled.inputs["Normal"])

    # without it the inside of sleeves and skirts is black
    through = add_node(group, "ShaderNodeBsdfTranslucent", (800, -400))
    mixed = add_node(group, "ShaderNodeMixShader", (1100, 0))
    link(color, through.inputs["Color"])
    link(normal, through.inputs["Normal"])
    link(start.outputs["Translucency"], mixed.inputs["Fac"])
    link(principled.outputs[0], mixed.inputs[1])
    link(through.outputs[0], mixed.inputs[2])
    link(mixed.outputs[0], end.inputs["Surface"])


def _visible(group: ShaderNodeTree, start: Node) -> NodeSocket:
    """1 where single threads are seen, towards 0 far away, where they would only be noise in the picture."""
    eye = add_node(group, "ShaderNodeCameraData", (-1600, 500))
    reach = math(group, "MULTIPLY", start.outputs["Thread"], SEEN_FROM)
    near = math(group, "DIVIDE", reach, math(group, "MAXIMUM", eye.outputs["View Distance"], 1e-4))
    return math(group, "POWER", math(group, "MINIMUM", near, 1.0), 2.0)


def _threads(group: ShaderNodeTree, start: Node, metres: NodeSocket) -> NodeSocket:
    """Height of the weave, 0 to 1; where it is low, threads across are seen."""
    phase = add_node(group, "ShaderNodeVectorMath", (-1400, -300), operation="SCALE")
    group.links.new(metres, phase.inputs[0])
    group.links.new(math(group, "DIVIDE", 3.14159265, start.outputs["Thread"]), phase.inputs["Scale"])
    parts = add_node(group, "ShaderNodeSeparateXYZ", (-1200, -300))
    group.links.new(phase.outputs[0], parts.inputs[0])
    across, along = parts.outputs["X"], parts.outputs["Y"]
    crossing = math(group, "MULTIPLY", math(group, "SINE", across), math(group, "SINE", along))
    # over three threads, under one
    ribs = math(
        group, "SINE", math(group, "MULTIPLY", math(group, "ADD", across, along), 0.6667)
    )  # over three, under one
    mixed = add_node(group, "ShaderNodeMix", (-600, -300), data_type="FLOAT")
    group.links.new(start.outputs["Twill"], mixed.inputs["Factor"])
    group.links.new(crossing, mixed.inputs["A"])
    group.links.new(ribs, mixed.inputs["B"])
    return math(group, "MULTIPLY_ADD", mixed.outputs["Result"], 0.5, 0.5)


def _streaks(group: ShaderNodeTree, start: Node, metres: NodeSocket) -> NodeSocket:
    """How unevenly threads are dyed and spun: about -1 to 1, drawn out along the cloth."""
    drawn = add_node(group, "ShaderNodeVectorMath", (-1400, 150), operation="MULTIPLY")
    drawn.inputs[1].default_value = (300.0, 12.0, 1.0)  # a metre
    fine = add_node(group, "ShaderNodeTexNoise", (-1200, 150), noise_dimensions="2D")
    fine.inputs["Scale"].default_value, fine.inputs["Detail"].default_value = 1.0, 3.0
    group.links.new(metres, drawn.inputs[0])
    group.links.new(drawn.outputs[0], fine.inputs["Vector"])
    cloud = add_node(group, "ShaderNodeTexNoise", (-1200, 350), noise_dimensions="2D")
    cloud.inputs["Scale"].default_value, cloud.inputs["Detail"].default_value = 14.0, 4.0
    group.links.new(metres, cloud.inputs["Vector"])
    both = math(group, "MULTIPLY_ADD", cloud.outputs[0], 0.35, fine.outputs[0])
    return math(group, "MULTIPLY_ADD", both, 3.0, -2.025)


def _color(
    group: ShaderNodeTree, start: Node, seen: NodeSocket, threads: NodeSocket, streaks: NodeSocket
) -> NodeSocket:
    link = group.links.new
    # far away the two threads are one colour
    under = math(group, "MULTIPLY_ADD", threads, -1.6, 1.3)
    between = add_node(group, "ShaderNodeMix", (-400, 450), data_type="FLOAT")
    link(seen, between.inputs["Factor"])
    between.inputs["A"].default_value = 0.5
    link(under, between.inputs["B"])
    weft = add_node(group, "ShaderNodeMix", (0, 350), data_type="RGBA")
    link(math(group, "MULTIPLY", between.outputs["Result"], start.outputs["Weft"]), weft.inputs["Factor"])
    link(start.outputs[COLOR], weft.inputs["A"])
    weft.inputs["B"].default_value = UNDYED
    uneven = math(group, "MULTIPLY_ADD", math(group, "MULTIPLY", streaks, start.outputs["Unevenness"]), 0.5, 1.0)
    side = add_node(group, "ShaderNodeNewGeometry", (-400, 700))
    inside = math(group, "MULTIPLY_ADD", side.outputs["Backfacing"], -0.2, 1.0)
    dyed = add_node(group, "ShaderNodeVectorMath", (300, 300), operation="SCALE")
    link(weft.outputs["Result"], dyed.inputs[0])
    link(math(group, "MAXIMUM", math(group, "MULTIPLY", uneven, inside), 0.0), dyed.inputs["Scale"])
    return dyed.outputs[0]


def _relief(
    group: ShaderNodeTree, start: Node, seen: NodeSocket, threads: NodeSocket, metres: NodeSocket
) -> NodeSocket:
    """The normal, with small creases and the weave."""
    link = group.links.new
    creases = add_node(group, "ShaderNodeTexNoise", (-600, -700), noise_dimensions="2D")
    creases.inputs["Scale"].default_value, creases.inputs["Detail"].default_value = 26.0, 3.0
    creases.inputs["Roughness"].default_value = 0.45
    link(metres, creases.inputs["Vector"])
    crumpled = add_node(group, "ShaderNodeBump", (200, -500))
    link(start.outputs["Wrinkle Depth"], crumpled.inputs["Distance"])
    link(creases.outputs[0], crumpled.inputs["Height"])
    woven = add_node(group, "ShaderNodeBump", (450, -450))
    link(math(group, "MULTIPLY", start.outputs["Weave Depth"], seen), woven.inputs["Distance"])
    link(threads, woven.inputs["Height"])
    link(crumpled.outputs[0], woven.inputs["Normal"])
    return woven.outputs[0]
