"""Kinds of surfaces, normals and parts: Blender's names beside those on the wire."""

from __future__ import annotations

SURFACES = (
    ("MESH", "Mesh", "A surface with faces and UVs, the same from frame to frame", "MESH_DATA", 0),
    ("MESH_X4", "Mesh ×4", "The mesh with four times the triangles, each new vertex decoded", "MESH_DATA", 2),
    ("MESH_X16", "Mesh ×16", "The mesh with sixteen times the triangles: for close-ups", "MESH_DATA", 3),
    ("TRACKED", "Tracked", "A surface laid through the points once, with UVs, that follows them", "MESH_DATA", 4),
    ("POINTS", "Points", "The points the model gives, drawn as small spheres", "POINTCLOUD_DATA", 1),
    ("PATCHES", "Patches", "Each patch as a small sheet, joined to the next where they meet", "MESH_GRID", 5),
    ("POISSON", "Poisson", "A new surface laid through the points of each frame: slow, for stills", "MESH_DATA", 6),
)
CHANGING = ("POISSON",)  # surfaces whose faces are others in each frame
NORMALS = (
    ("FACES", "Of the Faces", "Shade the surface smoothly by its faces", "NORMALS_FACE", 0),
    ("DECODED", "Decoded", "Shade the surface with the normals that the model gives", "NORMALS_VERTEX", 1),
)
PARTS = (
    ("CLOTHES", "Clothes", "Only the cloth, to be worn by your character", "MOD_CLOTH", 0),
    ("WHOLE_BODY", "Whole Body", "The clothed body as one surface, skin included", "OUTLINER_OB_ARMATURE", 1),
)
WIRE_NAMES = {
    "MESH": "mesh", "MESH_X4": "mesh-x4", "MESH_X16": "mesh-x16", "TRACKED": "tracked", "POINTS": "points",
    "PATCHES": "patches", "POISSON": "poisson", "CLOTHES": "clothes", "WHOLE_BODY": "whole body",
    "FACES": "faces", "DECODED": "decoded",
}  # fmt: skip
CHANGING_ON_WIRE = tuple(WIRE_NAMES[name] for name in CHANGING)


def has_choice_of_normals(surface: str) -> bool:
    """Points have those that the model gives alone. Faces that change have vertices that it knows nothing of."""
    return surface != "POINTS" and surface not in CHANGING
