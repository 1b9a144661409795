"""How clothes look: each has a cloth material of its own; the looks that explain the model share theirs."""

from __future__ import annotations

import bpy
import numpy as np
from bpy.types import Material, Object

from ..blender import meshes
from ..blender.nodes import set_value
from ..blender.objects import mesh_of
from ..garments import library
from ..present import present
from ..settings import ClothSettings, clothes_settings
from . import fabrics, materials, modifiers


def offered(obj: Object) -> list[str]:
    """The looks that clothes can have: colours only where the garment was trained on some."""
    return [key for key, *_ in materials.LOOKS if key != "COLORS" or materials.COLOR in mesh_of(obj).attributes]


def apply(obj: Object) -> None:
    """Give clothes the materials that their settings ask for."""
    settings = clothes_settings(obj)
    for slot, piece in enumerate(_pieces(obj)):
        is_cloth = settings.look == "CLOTH"
        _show(
            obj, slot, _cloth(obj, piece) if is_cloth else materials.look(settings.look, settings.surface == "POINTS")
        )


def renew(obj: Object) -> None:
    """After clothes were generated: their look again, on the new shape. A material of the user's own stays."""
    _name_pieces(obj)
    for piece in (clothes_settings(obj), *clothes_settings(obj).pieces):
        fabric = piece.cloth_material and fabrics.node(piece.cloth_material)
        if fabric:
            set_value(fabric.inputs[fabrics.UV_SIZE], uv_size(obj))
    if clothes_settings(obj).look not in offered(obj):  # of another garment
        clothes_settings(obj).look = "CLOTH"
    shown = mesh_of(obj).materials[0] if mesh_of(obj).materials else None
    if shown is None or shown == clothes_settings(obj).cloth_material or materials.is_look(shown):
        apply(obj)
    else:
        modifiers.set_material(obj, shown)


def weave(obj: Object, piece: ClothSettings) -> None:
    """Another fabric for clothes or a piece of them; its colour too, where the user has not picked one."""
    fabrics.weave(_cloth(obj, piece), piece.fabric)
    piece.color = fabrics.preset_color(piece.fabric, piece.color)


def dye(obj: Object, piece: ClothSettings) -> None:
    fabrics.dye(_cloth(obj, piece), piece.color)
    if piece == clothes_settings(obj):
        obj.color = piece.color  # for the solid view that shows objects' colours


def _pieces(obj: Object) -> list[ClothSettings]:
    """The settings of what each material slot shows: those of the clothes, or a piece's that is of another fabric."""
    settings = clothes_settings(obj)
    return [settings, *(piece if piece.is_apart else settings for piece in settings.pieces)]


def _name_pieces(obj: Object) -> None:
    """Settings for each piece beside the first, which keep their choices where the garment is of the same pieces."""
    pieces, mesh = clothes_settings(obj).pieces, mesh_of(obj)
    names = piece_names(obj)
    if names != [piece.name for piece in pieces]:
        pieces.clear()
        for name in names:
            pieces.add().name = name
    while len(mesh.materials) > 1 + len(pieces) and _is_ours(mesh.materials[-1]):
        mesh.materials.pop()


def _is_ours(material: Material | None) -> bool:
    return material is None or materials.is_look(material) or fabrics.node(material) is not None


def piece_names(obj: Object) -> list[str]:
    """What the pieces beside the first are called: by the regions that they have."""
    mesh = mesh_of(obj)
    summary = library.entry(clothes_settings(obj).garment).summary
    names = summary.region_names if summary else ()
    index = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", index)
    if materials.REGION not in mesh.attributes or not index.any():
        return []
    regions, first = np.empty(len(mesh.vertices), np.int32), np.empty(len(mesh.loops), np.int32)
    meshes.values_of(mesh, materials.REGION).foreach_get("value", regions)
    mesh.loops.foreach_get("vertex_index", first)
    of_face = regions[first[::3]]
    return [", ".join(names[each] for each in np.unique(of_face[index == piece]) if each < len(names)).capitalize()
            or f"Piece {piece + 1}" for piece in range(1, index.max() + 1)]  # fmt: skip


def uv_size(obj: Object) -> float:
    """Metres of cloth across the UV square; 1 where there are no UVs."""
    mesh = mesh_of(obj)
    if not len(mesh.polygons) or not mesh.uv_layers:
        return 1.0
    corner = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corner)
    points = meshes.get_positions(mesh)
    uv = np.empty((len(mesh.loops), 2), np.float32)
    present(mesh.uv_layers.active).data.foreach_get("uv", uv.ravel())
    a, b, c = np.moveaxis(points[corner].reshape(-1, 3, 3), 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    a, b, c = np.moveaxis(uv.reshape(-1, 3, 2), 1, 0)
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    uv_area = np.abs(ux * vy - uy * vx).sum()
    scale = obj.matrix_world.median_scale  # rigs in centimetres are scaled
    return float(np.sqrt(area / uv_area) * scale) if uv_area > 0 else 1.0


def _cloth(obj: Object, piece: ClothSettings) -> Material:
    """The cloth material of clothes or of a piece; made when it is first asked for. Copies of clothes get copies."""
    cloth = piece.cloth_material
    wearer = (clothes_settings(obj).rig or obj).name
    name = f"{wearer} Cloth" if piece == clothes_settings(obj) else f"{wearer} {piece.name}"
    if cloth is None or fabrics.node(cloth) is None:
        cloth = fabrics.make_material(name, uv_size(obj))
        fabrics.weave(cloth, piece.fabric)
        fabrics.dye(cloth, piece.color)
        piece.cloth_material = cloth
        if piece == clothes_settings(obj):
            obj.color = piece.color
    elif any(cloth in _cloths(other) for other in bpy.data.objects if other != obj):
        copy = piece.cloth_material = cloth.copy()
        copy.name = name
        for slot, shown in enumerate(mesh_of(obj).materials):
            if shown == cloth:
                _show(obj, slot, copy)
        cloth = copy
    return cloth


def _cloths(obj: Object) -> list[Material | None]:
    settings = clothes_settings(obj)
    return [settings.cloth_material, *(piece.cloth_material for piece in settings.pieces)]


def _show(obj: Object, slot: int, material: Material) -> None:
    shown = mesh_of(obj).materials
    while len(shown) <= slot:
        shown.append(None)
    shown[slot] = material
    if slot == 0:
        modifiers.set_material(obj, material)
