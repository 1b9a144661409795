"""Clothes in the scene: a mesh object that belongs to a rig and a garment, and follows the rig's pose."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import bpy
import numpy as np
from bpy.types import Collection, Context, Depsgraph, Object

from . import backend, baked_normals, character, fitting, garments, looks, materials, meshes, rig, skin_mask, surfaces
from .messages import AddonError

CACHE_MODIFIER = "SCALE Bake"
NORMAL, PATCH = "normal", "patch"


@dataclass(frozen=True)
class Decoded:
    """One frame of clothes."""

    points: np.ndarray  # [M, 3]
    normals: np.ndarray  # [M, 3]
    topology: dict[str, np.ndarray] | None = None  # triangles [T, 3], patch [M]: where each frame has its own
    colors: np.ndarray | None = None  # [M, 3] in 0..1, sRGB


@dataclass(frozen=True)
class Request:
    """A pose and what is to be decoded for it. Nothing in it is Blender's: any thread may decode it."""

    entry: garments.Entry
    rotations: np.ndarray  # [J, 3, 3] local
    translation: np.ndarray  # [3] metres
    shape: np.ndarray  # [S]
    surface: str
    part: str
    push_out: bool
    normals: str
    frame: rig.RigFrame

    def decode(self, launch: backend.Launch | None = None) -> Decoded:
        """The clothes in the armature's space. Raises AddonError and BackendError."""
        garment = backend.open_garment(self.entry, launch)
        pose = garment.id, self.rotations[None], self.translation[None], self.shape if self.shape.any() else None
        options = {"part": garments.WIRE_NAMES[self.part], "push_out": self.push_out}
        topology = colors = None
        if self.surface in garments.CHANGING:
            with contextlib.closing(backend.get(launch).decode_meshes(*pose, **options)) as frames:
                _, topology = next(frames)
            points, normals = topology["points"], topology["normals"]
        else:
            surface = garments.WIRE_NAMES[self.surface]
            options["normals"] = garments.WIRE_NAMES[self.normals]
            (points,), (normals,) = backend.get(launch).decode(*pose, surface=surface, **options)
            if self.entry.has_colors:
                (colors,) = backend.get(launch).decode_colors(*pose[:2], surface, options["part"])
        return Decoded(self.frame.to_armature(points), self.frame.turn_to_armature(normals), topology, colors)


@dataclass(frozen=True)
class Options:
    """How clothes are decoded, beside what they are."""

    push_out: bool = True
    fit_to_rig: bool = True
    normals: str = "FACES"  # where the surface leaves the choice


def all_clothes() -> list[Object]:
    """All clothes in use: Blender keeps deleted objects that a property still points at, in no scene."""
    return [o for o in bpy.data.objects if o.type == "MESH" and o.scale_clothing.is_clothes and o.users_scene]


def clothes_of(target: Object | None) -> list[Object]:
    """What a rig wears."""
    return [obj for obj in all_clothes() if target is not None and obj.scale_clothing.rig == target]


def in_context(context: Context) -> Object | None:
    """The clothes that the panel is about: the active object, or what the chosen character wears."""
    active = context.active_object
    if active is not None and active.type == "MESH" and active.scale_clothing.is_clothes:
        return active
    worn = clothes_of(rig_in_context(context))
    return worn[0] if worn else None


def rig_in_context(context: Context) -> Object | None:
    """The character that the panel is about: the chosen one, else the active object's."""
    chosen = context.scene.scale_clothing.rig
    if chosen is not None and chosen.name in context.scene.objects:
        return chosen
    return _selected_rig(context)


def _selected_rig(context: Context) -> Object | None:
    active = context.active_object
    if active is not None and active.type == "MESH" and active.scale_clothing.is_clothes:
        return active.scale_clothing.rig
    return rig.rig_of(active)


def other_selected(context: Context) -> Object | None:
    """The character that is selected while another one is chosen in the panel."""
    chosen, selected = rig_in_context(context), _selected_rig(context)
    return selected if selected is not None and selected != chosen and rig.is_rig(selected) else None


def is_baked(obj: Object) -> bool:
    modifier = obj.modifiers.get(CACHE_MODIFIER)
    return modifier is not None and modifier.show_viewport


def wearer(obj: Object) -> Object:
    """The rig that wears the clothes. Raises AddonError."""
    target = obj.scale_clothing.rig
    if target is None or not target.users_scene:
        raise AddonError(f"The character that wore '{obj.name}' is gone; generate clothes for another one.")
    return target


def dress(context: Context, target: Object | None, key: str, surface: str, part: str) -> Object:
    """Put a garment on a rig: new clothes, or another garment in the place of those it wears.

    Nothing in the scene changes before the backend has decoded the pose. Raises AddonError and BackendError.
    """
    found = rig.recognise(target)
    garment = backend.open_garment(garments.entry(key))
    surface, part = garment.entry.choose(surface, part)
    topology = None
    if surface not in garments.CHANGING:
        topology = backend.get().topology(garment.id, garments.WIRE_NAMES[surface], garments.WIRE_NAMES[part])
    depsgraph = context.evaluated_depsgraph_get()
    pose = rig.read_pose(target, depsgraph, found)
    worn = clothes_of(target)
    options = options_of(worn[0]) if worn else Options()
    decoded = request(target, found, pose, garment.entry, surface, part, options).decode()

    obj = worn[0] if worn else _new_object(context, target)
    settings = obj.scale_clothing
    clear_bake(obj)
    is_new = (settings.garment, settings.surface, settings.part) != (key, surface, part)
    settings.garment, settings.surface, settings.part = key, surface, part
    obj.name = f"{target.name} {garment.entry.title}"
    obj.data.name = obj.name
    _build(obj, topology or decoded.topology, decoded)
    surfaces.ensure_modifier(obj, surface)
    if is_new and surface == "POINTS":
        settings.radius = surfaces.closing_radius(meshes.get_positions(obj.data))
    surfaces.set_radius(obj, settings.radius)
    looks.renew(obj)
    skin_mask.update(context, obj, garment, found)
    return obj


def _new_object(context: Context, target: Object) -> Object:
    """An empty clothes object that moves with the armature object: its space is the armature's."""
    obj = bpy.data.objects.new("Clothes", bpy.data.meshes.new("Clothes"))
    _collection_beside(context, target).objects.link(obj)
    obj.parent = target
    settings = obj.scale_clothing
    settings.is_clothes = True
    settings.rig = target
    settings.hide_skin = character.is_sample(target)
    for axis in range(3):
        obj.lock_location[axis] = obj.lock_rotation[axis] = obj.lock_scale[axis] = True
    return obj


def _collection_beside(context: Context, target: Object) -> Collection:
    """Where a rig is, unless that is linked from another file."""
    for collection in (*target.users_collection, context.collection):
        if collection.library is None and collection.override_library is None:
            return collection
    return context.scene.collection


def _build(obj: Object, topology: dict[str, np.ndarray], decoded: Decoded) -> None:
    mesh = obj.data
    meshes.fill_mesh(mesh, decoded.points, topology["triangles"])
    if len(topology["triangles"]) and "uv" in topology:
        meshes.set_uv(mesh, topology["uv"])
    patch = np.asarray(topology["patch"])
    meshes.set_attribute(mesh, PATCH, "INT", patch)
    if len(topology["triangles"]):  # one colour a face, not blended from corner to corner
        faces = np.repeat(patch[topology["triangles"][:, 0]], 3)
        meshes.set_attribute(mesh, materials.PATCH_COLOR, "FLOAT_COLOR", materials.patch_colors(faces), "CORNER")
    else:
        meshes.set_attribute(mesh, materials.PATCH_COLOR, "FLOAT_COLOR", materials.patch_colors(patch))
    if "region" in topology:
        meshes.set_attribute(mesh, materials.REGION, "INT", topology["region"])
        meshes.set_material_indices(mesh, meshes.pieces(topology["triangles"], len(patch)))
    meshes.set_attribute(mesh, NORMAL, "FLOAT_VECTOR", decoded.normals)
    _color(mesh, decoded)
    _place(obj, decoded)
    mesh.color_attributes.active_color = mesh.color_attributes[materials.PATCH_COLOR]


def _place(obj: Object, decoded: Decoded) -> None:
    meshes.set_positions(obj.data, decoded.points, decoded.normals if shown_normals(obj) == "DECODED" else None)


def _color(mesh: bpy.types.Mesh, decoded: Decoded) -> None:
    """Colours as a colour attribute; those of another garment go."""
    if decoded.colors is not None:
        meshes.set_attribute(mesh, materials.COLOR, "FLOAT_COLOR", materials.linear(decoded.colors))
    elif materials.COLOR in mesh.attributes:
        mesh.attributes.remove(mesh.attributes[materials.COLOR])


def options_of(obj: Object) -> Options:
    settings = obj.scale_clothing
    return Options(settings.push_out, settings.fit_to_rig, settings.normals)


def shown_normals(obj: Object) -> str:
    """What clothes are shaded with: the model's normals or those of the faces."""
    settings = obj.scale_clothing
    return settings.normals if garments.has_choice_of_normals(settings.surface) else "FACES"


def request(
    target: Object,
    found: rig.RigJoints,
    pose: rig.Pose,
    entry: garments.Entry,
    surface: str,
    part: str,
    options: Options,
) -> Request:
    """What decoding a garment for a pose of a rig needs. Raises AddonError."""
    fitted = fitting.body_for(target, found, backend.body_of(entry), options.fit_to_rig)
    frame = fitted.frame(rig.rest_frame(target, found))
    translation = fitted.translation(pose)
    normals = options.normals if garments.has_choice_of_normals(surface) else "FACES"
    return Request(entry, pose.rotations, translation, fitted.shape, surface, part, options.push_out, normals, frame)


def present_request(obj: Object, depsgraph: Depsgraph) -> Request:
    """What bringing clothes to their rig's present pose needs. Raises AddonError."""
    target = wearer(obj)
    settings = obj.scale_clothing
    found = rig.recognise(target)
    pose = rig.read_pose(target, depsgraph, found)
    entry = garments.entry(settings.garment)
    return request(target, found, pose, entry, settings.surface, settings.part, options_of(obj))


def put(obj: Object, decoded: Decoded) -> None:
    """Give clothes another shape. Raises AddonError."""
    if obj.data.users - obj.data.use_fake_user > 1:  # a linked duplicate: another rig's clothes have the mesh too
        obj.data = obj.data.copy()
    if decoded.topology is not None:
        _build(obj, decoded.topology, decoded)
        return
    if len(decoded.points) != len(obj.data.vertices):
        raise AddonError(f"'{obj.name}' was edited or its garment has changed; generate it again.")
    normal = obj.data.attributes.get(NORMAL)
    if normal is not None:
        normal.data.foreach_set("vector", decoded.normals.ravel())
    if decoded.colors is not None:
        _color(obj.data, decoded)
    _place(obj, decoded)


def follow(obj: Object, depsgraph: Depsgraph) -> None:
    """Bring clothes to their rig's pose. Raises AddonError and BackendError."""
    put(obj, present_request(obj, depsgraph).decode())


def clear_bake(obj: Object) -> None:
    """Take the baked motion off; the file stays on disk."""
    baked_normals.clear(obj)
    modifier = obj.modifiers.get(CACHE_MODIFIER)
    if modifier is not None:
        obj.modifiers.remove(modifier)


def remove(obj: Object) -> None:
    """Take clothes off: object, mesh, and the mask on the skin."""
    skin_mask.remove(obj)
    clear_bake(obj)
    mesh = obj.data
    bpy.data.objects.remove(obj)
    if not mesh.users:
        bpy.data.meshes.remove(mesh)
