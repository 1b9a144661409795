"""What a .blend remembers: settings of the panel on the scene, and of clothes on their object."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    FloatVectorProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)
from bpy.types import Context, Object, PropertyGroup

from .. import settings
from ..appearance import fabrics, looks, materials, modifiers
from ..bake import formats
from ..blender import meshes
from ..blender.objects import mesh_of
from ..characters import motion
from ..clothes import unattended
from ..garments import kinds, library, previews
from ..present import present
from ..rig import body_mesh, recognition, wearer
from ..settings import clothes_settings

# Blender keeps no reference to the strings of a computed enum: somebody must. While a render goes on they are not
# computed anew, nor drawn: where the engine's call, in a thread of its own, ends just then, Blender lets no script
# change anything any more, until it is started again
_garment_items: list[tuple] = []
_motion_items: list[tuple] = []
# from 4.5 on Blender asks which paths may start with //
BLEND_RELATIVE = {"ANIMATABLE"} | ({"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set())
MOTION_DESCRIPTIONS = {
    "walk": "A walk, straight ahead",
    "dance": "A dance with turns and high arms",
    "stretch": "Stretching: reaching, bending, sitting down",
}


def garment_items(_self: object, _context: Context | None) -> list[tuple]:
    if _garment_items and unattended.is_rendering():
        return _garment_items
    _garment_items[:] = [
        (
            entry.key,
            entry.title,
            (entry.summary.description or "A garment") if entry.summary else entry.problem,
            (previews.icon(entry) or "MOD_CLOTH") if entry.summary else "ERROR",
            library.number(entry.key),
        )
        for entry in library.library()
    ] or [(library.NONE, "No garments found", "Put a garment file into your garment folder, or add one", "ERROR", 0)]
    return _garment_items


def motion_items(_self: object, _context: Context | None) -> list[tuple]:
    if _motion_items and unattended.is_rendering():
        return _motion_items
    _motion_items[:] = [
        (
            path.stem,
            path.stem.replace("_", " ").title(),
            MOTION_DESCRIPTIONS.get(path.stem, "A motion that ships with the add-on"),
            "ARMATURE_DATA",
            library.number(path.stem),
        )
        for path in motion.shipped_motions()
    ] or [("NONE", "No motions found", "The add-on's motions are missing; install it again", "ERROR", 0)]
    return _motion_items


def _is_rig(_self: object, candidate: Object) -> bool:
    return candidate.type == "ARMATURE" and recognition.is_rig(candidate)


def _pre_roll_changed(_self: settings.SceneSettings, context: Context) -> None:
    from ..clothes import live

    live.update(present(context.scene), context.evaluated_depsgraph_get())


class SceneSettings(PropertyGroup):
    """The panel's choices."""

    rig: PointerProperty(
        name="Character",
        description="Armature that wears the clothes. Empty: the selected one",
        type=Object,
        poll=_is_rig,
    )
    motion: EnumProperty(
        name="Motion",
        description="A motion that ships with the add-on",
        items=motion_items,
        default=library.number("dance"),
    )
    garment: EnumProperty(
        name="Garment",
        description="The trained clothes to put on",
        items=garment_items,
        default=library.number("dress"),
    )
    surface: EnumProperty(
        name="Surface", description="What the clothes are made of in the scene", items=kinds.SURFACES, default="MESH"
    )
    part: EnumProperty(
        name="Part",
        description="Whether to generate only the clothes, or the whole clothed body",
        items=kinds.PARTS,
        default="CLOTHES",
    )
    bake_folder: StringProperty(
        name="Folder",
        description="Where baked clothes are written. // is the folder of the .blend file",
        subtype="DIR_PATH",
        default="//clothes",
        options=BLEND_RELATIVE,
    )
    bake_format: EnumProperty(
        name="Format", description="What clothes are baked to", items=formats.ITEMS, default="PC2"
    )
    bake_step: IntProperty(
        name="Step", description="Frames from one baked sample to the next", min=1, soft_max=10, max=100, default=1
    )
    bake_samples: IntProperty(
        name="Samples per Step",
        description="Samples baked in each step: 2 also bakes what lies half-way, for motion blur",
        min=1,
        soft_max=5,
        max=16,
        default=1,
    )
    pre_roll: BoolProperty(
        name="Pre-Roll",
        description="Let the clothes feel what the animation has before the scene's first frame. Off: until then the "
        "character stands still in that frame's pose",
        default=True,
        update=_pre_roll_changed,
    )
    bake_everyone: BoolProperty(
        name="All Characters", description="Bake the clothes of every character of the scene", default=False
    )


def _look_changed(self: settings.ClothesSettings, _context: Context) -> None:
    looks.apply(self.id_data)


def _fabric_changed(self: settings.ClothSettings, context: Context) -> None:
    """A fabric is how cloth looks and how it hangs."""
    looks.weave(self.id_data, self)
    if isinstance(self, ClothesSettings):
        _behaviour_changed(self, context)


def _behaviour_changed(self: settings.ClothesSettings, context: Context) -> None:
    if library.entry(self.garment).fabrics():
        _live_changed(self, context)


def _known_fabrics(self: settings.ClothesSettings, _context: Context, _typed: str) -> list[str]:
    return [name.capitalize() for name in library.entry(self.garment).fabrics()]


def _color_changed(self: settings.ClothSettings, _context: Context) -> None:
    looks.dye(self.id_data, self)


def _radius_changed(self: settings.ClothesSettings, _context: Context) -> None:
    modifiers.set_radius(self.id_data, self.radius)


def _live_changed(self: settings.ClothesSettings, context: Context) -> None:
    from ..clothes import live

    live.toggled(self.id_data, context)


def _normals_changed(self: settings.ClothesSettings, context: Context) -> None:
    if self.normals == "FACES":  # those of the clothes' last pose would stay where they are not live
        meshes.drop_normals(mesh_of(self.id_data))
    _live_changed(self, context)


def _fit_changed(self: settings.ClothesSettings, context: Context) -> None:
    from ..clothes import live, skin_mask

    live.toggled(self.id_data, context)
    skin_mask.show(self.id_data, self.hide_skin)


def _is_mesh(self: settings.ClothesSettings, candidate: Object) -> bool:
    return candidate in body_mesh.candidates(self.id_data)


def _body_changed(self: settings.ClothesSettings, context: Context) -> None:
    from ..clothes import selection

    wearer.look_again(self.id_data)
    for obj in selection.clothes_of(self.id_data):
        _fit_changed(clothes_settings(obj), context)


def _hide_skin_changed(self: settings.ClothesSettings, _context: Context) -> None:
    from ..clothes import skin_mask

    skin_mask.show(self.id_data, self.hide_skin)


class ClothSettings:
    """What a cloth is made of."""

    fabric: EnumProperty(
        name="Fabric",
        description="What the cloth is woven of. You can change colour and everything else in the material",
        items=fabrics.ITEMS,
        default="COTTON",
        update=_fabric_changed,
    )
    color: FloatVectorProperty(
        name="Color",
        description="Colour of the cloth",
        subtype="COLOR",
        size=4,
        min=0.0,
        max=1.0,
        default=fabrics.FABRICS[0].color,
        update=_color_changed,
    )
    cloth_material: PointerProperty(
        name="Cloth Material", description="The material of these clothes as cloth", type=bpy.types.Material
    )


class PieceSettings(ClothSettings, PropertyGroup):
    """A piece of the clothes that is sewn to no other, as trousers under a tee. The first piece has none of these."""

    is_apart: BoolProperty(
        name="Own Fabric",
        description="Make this piece of another fabric than the first",
        default=False,
        update=_look_changed,
    )


class ClothesSettings(ClothSettings, PropertyGroup):
    """What makes an object clothes: who wears it, of which garment, as what."""

    is_clothes: BoolProperty(default=False, options={"HIDDEN"})
    is_sample_body: BoolProperty(default=False, options={"HIDDEN"})
    rig: PointerProperty(name="Character", description="Armature whose pose the clothes follow", type=Object)
    garment: StringProperty(name="Garment", description="Name or file of the garment")
    surface: EnumProperty(name="Surface", items=kinds.SURFACES, default="MESH")
    part: EnumProperty(name="Part", items=kinds.PARTS, default="CLOTHES")
    live: BoolProperty(
        name="Live Update",
        description="Let the clothes follow the pose when the frame changes or a bone is moved",
        default=True,
        update=_live_changed,
    )
    push_out: BoolProperty(
        name="Keep Out of Body",
        description="Move cloth that ends up inside the body out of it",
        default=True,
        update=_live_changed,
    )
    behaves_as: StringProperty(
        name="Behaves As",
        description="Fabric that the cloth moves and folds as, of those that the garment was trained on. Empty: the "
        "fabric that it looks like",
        search=_known_fabrics,
        update=_behaviour_changed,
    )
    mixed_with: StringProperty(
        name="Mixed With",
        description="Another fabric that the cloth moves and folds as in part. Empty: none",
        search=_known_fabrics,
        update=_behaviour_changed,
    )
    mix: FloatProperty(
        name="Mix",
        description="How much the cloth moves and folds as that other fabric: 0 not at all, 1 as that alone",
        min=0.0,
        max=1.0,
        default=0.5,
        subtype="FACTOR",
        update=_behaviour_changed,
    )
    motion: FloatProperty(
        name="Motion",
        description="How much the clothes feel of how the character moved: 1 as in life, 0 they hang at rest in each "
        "pose",
        min=0.0,
        max=1.0,
        default=1.0,
        subtype="FACTOR",
        update=_live_changed,
    )
    fit_to_rig: BoolProperty(
        name="Fit to Rig",
        description="Let the clothes have the size and the proportions of the character's bones. Off: those of the "
        "body that the garment was trained on. Shape keys of that body (Shape000 and so on) come first",
        default=True,
        update=_fit_changed,
    )
    fit_to_body: BoolProperty(
        name="Fit to Body's Surface",
        description="Lay the garment onto the mesh of the character's own body. Off: fit it to the bones alone",
        default=True,
        update=_fit_changed,
    )
    body: PointerProperty(
        name="Body",
        description="Of an armature: the mesh of the character's own body, without clothes and hair. Empty: the mesh "
        "with skin on most joints",
        type=Object,
        poll=_is_mesh,
        update=_body_changed,
    )
    normals: EnumProperty(
        name="Normals",
        description="What a surface with faces is shaded with. Points always have the normals that the model gives",
        items=kinds.NORMALS,
        default="FACES",
        update=_normals_changed,
    )
    hide_skin: BoolProperty(
        name="Hide Covered Skin",
        description="Mask the skin that the clothes cover, so that it cannot show through them",
        default=True,
        update=_hide_skin_changed,
    )
    look: EnumProperty(
        name="Look",
        description="How the clothes are shaded",
        items=materials.LOOKS,
        default="CLOTH",
        update=_look_changed,
    )
    pieces: CollectionProperty(
        name="Further Pieces", description="Pieces of the clothes other than the first", type=PieceSettings
    )
    radius: FloatProperty(
        name="Radius",
        description="Size of the spheres that show the points",
        subtype="DISTANCE",
        default=0.004,
        min=0.0001,
        soft_max=0.02,
        update=_radius_changed,
    )


CLASSES = (SceneSettings, PieceSettings, ClothesSettings)
NAME = "scale_clothing"  # of what Blender's own types get
OWNERS: dict[type, type] = {bpy.types.Scene: SceneSettings, bpy.types.Object: ClothesSettings}


def register() -> None:
    for kind, group in OWNERS.items():
        setattr(kind, NAME, PointerProperty(type=group))  # type: ignore[func-returns-value]  # it does give one


def unregister() -> None:
    for kind in OWNERS:
        delattr(kind, NAME)
