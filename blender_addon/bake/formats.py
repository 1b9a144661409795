"""What clothes can be baked to: the formats, which of them this Blender can write, and how large they become."""

from __future__ import annotations

from dataclasses import dataclass

import bpy

from ..blender import pc2
from ..messages import AddonError


@dataclass(frozen=True)
class Format:
    key: str
    title: str
    description: str
    suffix: str
    icon: str
    build_option: str = ""  # of Blender, without which it cannot be written
    is_sequence: bool = False  # a file for each sample


FORMATS = (
    Format("PC2", "Point Cache", "PC2: the clothes play it, in any Blender without the add-on", ".pc2", "PHYSICS"),
    Format("ABC", "Alembic", "One .abc file in world space, for other programs", ".abc", "FILE_3D", "alembic"),
    Format("USD", "USD", "One .usdc file in world space, for other programs", ".usdc", "FILE_3D", "usd"),
    Format("PLY", "PLY Files", "A .ply file a frame, in world space, with normals", ".ply", "FILE", "", True),
    Format("OBJ", "OBJ Files", "An .obj file a frame, in world space, with normals and UVs", ".obj", "FILE", "", True),
)  # fmt: skip
BY_KEY = {each.key: each for each in FORMATS}
EXPORTED = ("ABC", "USD")  # by Blender, from a point cache
ITEMS = tuple((each.key, each.title, each.description, each.icon, number) for number, each in enumerate(FORMATS))


def why_missing(key: str) -> str:
    """Why this Blender cannot write a format; empty where it can."""
    option = BY_KEY[key].build_option
    if not option or getattr(bpy.app.build_options, option):
        return ""
    return f"this build of Blender has no {BY_KEY[key].title}"


def require(key: str) -> Format:
    """Raises AddonError for a format that this Blender cannot write."""
    reason = why_missing(key)
    if reason:
        raise AddonError(f"The clothes cannot be written as {BY_KEY[key].title}: {reason}; choose another format.")
    return BY_KEY[key]


def size(key: str, mesh: bpy.types.Mesh, samples: int, with_normals: bool) -> int:
    """Bytes on disk: exact for PC2, about right for the others. with_normals: other ones than those of faces."""
    vertices, triangles = len(mesh.vertices), len(mesh.polygons)
    positions = 12 * vertices
    topology = triangles * (12 + 4 + 24)  # corners, counts and UVs
    return {
        "PC2": (pc2.HEADER.size + samples * positions) * (1 + with_normals),
        "ABC": samples * (positions + 36 * triangles * with_normals) + topology,
        "USD": samples * (positions + 36 * triangles) + topology,  # a normal for each corner
        "PLY": samples * (300 + 28 * vertices + 13 * triangles),
        "OBJ": samples * (62 * vertices + 80 * triangles),
    }[key]
