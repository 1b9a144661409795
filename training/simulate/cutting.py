"""Garments for cloth in motion: how they are cut, how finely, and where they hold on to the body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ..frames.sequences import ClothGarment, SequenceError
from .dress import make_dress
from .garment_parts import GarmentMesh
from .mesh_tools import Mesh, border_loops
from .moving_cloth import CONTACT, Contact
from .skinning import SkinnedBody
from .skirt_blouse import WAIST, make_skirt_blouse
from .tee_trousers import WAISTBAND, make_moving_tee_trousers

HELD = 0.02  # metres from a neckline, an armhole or a waistband's edge: as wide as a facing
CHEST, COLLAR = 0.1, 0.25  # heights in the rest pose, metres: necklines and armholes are above, necklines alone
MAP_SIZE = 64


@dataclass(frozen=True)
class Cut:
    """A garment's pattern and what it hangs from."""

    make: Callable[[SkinnedBody, float], GarmentMesh]  # on a body, with an edge length in metres
    pins: Callable[[Mesh], NDArray[np.bool_]]  # [V]
    contact: Contact = CONTACT


def near_borders(mesh: Mesh, chosen: Callable[[float], bool]) -> NDArray[np.bool_]:
    """Which vertices [V] lie within 2 cm of the borders whose mean height (metres) is chosen."""
    loops = [loop for loop in border_loops(mesh.triangles) if chosen(float(mesh.vertices[loop, 1].mean()))]
    return cKDTree(mesh.vertices[np.concatenate(loops)]).query(mesh.vertices)[0] < HELD


def dress_pins(mesh: Mesh) -> NDArray[np.bool_]:
    """Neckline and armholes."""
    return near_borders(mesh, lambda height: height > CHEST)


def skirt_blouse_pins(mesh: Mesh) -> NDArray[np.bool_]:
    """Neckline and waistband."""
    return near_borders(mesh, lambda height: height > COLLAR) | (np.abs(mesh.vertices[:, 1] - WAIST) < HELD)


def tee_trousers_pins(mesh: Mesh) -> NDArray[np.bool_]:
    """Neckline and waistband."""
    return near_borders(mesh, lambda height: height > COLLAR or abs(height - WAISTBAND) < HELD)


CUTS = {
    "dress": Cut(make_dress, dress_pins),
    "skirt-blouse": Cut(make_skirt_blouse, skirt_blouse_pins),
    # tight cloth that sticks is pulled through knees and seat in a deep bend
    "tee-trousers": Cut(make_moving_tee_trousers, tee_trousers_pins, Contact(friction=0.5, quality=4)),
}


def contact_of(garment: ClothGarment) -> Contact:
    """How the garment meets the body: its cut's, or what cloth does if it is none of ours."""
    return CUTS[garment.name].contact if garment.name in CUTS else CONTACT


def cut_garment(name: str, body: SkinnedBody, edge_length: float) -> ClothGarment:
    """The garment with its carrier: UVs, spread blend weights, shape components carried over from the skin.

    Raises SequenceError for a name that is not in `CUTS`.
    """
    if name not in CUTS:
        raise SequenceError(f"There is no garment '{name}': choose one of {', '.join(CUTS)}.")
    garment = CUTS[name].make(body, edge_length)
    return with_carrier(garment, CUTS[name].pins(garment.mesh), body, edge_length)


def with_carrier(garment: GarmentMesh, pins: NDArray[np.bool_], body: SkinnedBody, edge_length: float) -> ClothGarment:
    """A mesh that is held at `pins` [V], with what a network's carrier needs."""
    from scale_backend.geometry.body import load_body  # torch: not beside Blender, where it is not needed

    from ..carriers import build_garment_carrier

    raw = replace(garment, pin=pins.astype(float)).raw(body)
    carrier = build_garment_carrier(raw, load_body(body.name), MAP_SIZE)
    return ClothGarment(
        raw.name,
        raw.vertices,
        raw.triangles,
        carrier.uv.numpy(),
        carrier.uv_triangles.numpy().astype(np.int32),
        carrier.blend_weights.numpy(),
        carrier.shape_components.numpy(),
        pins,
        raw.panel,
        raw.panel_names,
        raw.region,
        raw.region_names,
        edge_length,
        raw.body_name,
        raw.body_digest,
    )
