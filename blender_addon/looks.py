"""How clothes look: each has a cloth material of its own; the looks that explain the model share theirs."""

from __future__ import annotations

import bpy
import numpy as np
from bpy.types import Material, Object

from . import fabrics, materials, surfaces


def offered(obj: Object) -> list[str]:
    """The looks that clothes can have: colours only where the garment was trained on some."""
    return [key for key, *_ in materials.LOOKS if key != "COLORS" or materials.COLOR in obj.data.attributes]


def apply(obj: Object) -> None:
    """Give clothes the material that their settings ask for."""
    settings = obj.scale_clothing
    is_points = settings.surface == "POINTS"
    _show(obj, _cloth(obj) if settings.look == "CLOTH" else materials.look(settings.look, is_points))


def renew(obj: Object) -> None:
    """After clothes were generated: their look again, on the new shape. A material of the user's own stays."""
    cloth = obj.scale_clothing.cloth_material
    if cloth is not None and fabrics.node(cloth) is not None:
        fabrics.node(cloth).inputs[fabrics.UV_SIZE].default_value = uv_size(obj)
    if obj.scale_clothing.look not in offered(obj):  # of another garment
        obj.scale_clothing.look = "CLOTH"
    shown = obj.data.materials[0] if obj.data.materials else None
    if shown is None or shown == cloth or materials.is_look(shown):
        apply(obj)
    else:
        surfaces.set_material(obj, shown)


def weave(obj: Object) -> None:
    """Another fabric; its colour too, where the user has not picked one."""
    settings = obj.scale_clothing
    fabrics.weave(_cloth(obj), settings.fabric)
    settings.color = fabrics.preset_color(settings.fabric, settings.color)


def dye(obj: Object) -> None:
    fabrics.dye(_cloth(obj), obj.scale_clothing.color)
    obj.color = obj.scale_clothing.color  # for the solid view that shows objects' colours


def uv_size(obj: Object) -> float:
    """Metres of cloth across the UV square; 1 where there are no UVs."""
    mesh = obj.data
    if not len(mesh.polygons) or not mesh.uv_layers:
        return 1.0
    corner = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corner)
    points = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", points.ravel())
    uv = np.empty((len(mesh.loops), 2), np.float32)
    mesh.uv_layers.active.data.foreach_get("uv", uv.ravel())
    a, b, c = np.moveaxis(points[corner].reshape(-1, 3, 3), 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    a, b, c = np.moveaxis(uv.reshape(-1, 3, 2), 1, 0)
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    uv_area = np.abs(ux * vy - uy * vx).sum()
    scale = obj.matrix_world.median_scale  # rigs in centimetres are scaled
    return float(np.sqrt(area / uv_area) * scale) if uv_area > 0 else 1.0


def _cloth(obj: Object) -> Material:
    """The cloth material of clothes; made when it is first asked for. Copies of clothes get copies of it."""
    settings = obj.scale_clothing
    cloth = settings.cloth_material
    wearer = settings.rig.name if settings.rig else obj.name
    if cloth is None or fabrics.node(cloth) is None:
        cloth = fabrics.make_material(f"{wearer} Cloth", uv_size(obj))
        fabrics.weave(cloth, settings.fabric)
        fabrics.dye(cloth, settings.color)
        settings.cloth_material = cloth
        obj.color = settings.color
    elif any(other != obj and other.scale_clothing.cloth_material == cloth for other in bpy.data.objects):
        shown = obj.data.materials and obj.data.materials[0] == cloth
        cloth = settings.cloth_material = cloth.copy()
        cloth.name = f"{wearer} Cloth"
        if shown:
            _show(obj, cloth)
    return cloth


def _show(obj: Object, material: Material) -> None:
    if obj.data.materials:
        obj.data.materials[0] = material
    else:
        obj.data.materials.append(material)
    surfaces.set_material(obj, material)
