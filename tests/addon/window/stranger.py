"""Writes FILE.blend with a character as MPFB makes one: MakeHuman's base mesh on a Mixamo rig, in a collection.

With Blender's module: the walk appends it in a real Blender.
"""

from __future__ import annotations

import sys

import bpy

from tests.addon.bodies import makehuman_character

SKIN = (0.75, 0.52, 0.4, 1.0)


def main(path: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    person = bpy.data.collections.new("Human")
    bpy.context.scene.collection.children.link(person)
    bpy.context.view_layer.active_layer_collection = bpy.context.view_layer.layer_collection.children["Human"]
    rig = makehuman_character("mixamo", "woman")
    rig.name, rig.children[0].name = "Human.rig", "Human"
    skin = bpy.data.materials.new("Human.body")
    skin.use_nodes = True
    skin.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = skin.diffuse_color = SKIN
    rig.children[0].data.materials.append(skin)
    rig.children[0].data.polygons.foreach_set("use_smooth", [True] * len(rig.children[0].data.polygons))
    bpy.ops.wm.save_as_mainfile(filepath=path)


if __name__ == "__main__":
    main(sys.argv[1])
