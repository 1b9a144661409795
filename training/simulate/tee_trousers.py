"""A short-sleeved t-shirt that hangs over the waist of long trousers: one mesh of two pieces.

The two never touch: from the waist to below the tee's hem the trousers are pinned close to the body, and the body
that the cloth collides with is thicker there (see `waist_padding`), so the tee hangs outside of them.
"""

from __future__ import annotations

import numpy as np

from .garment_parts import Field, GarmentMesh, Pieces, body_part, finish
from .mesh_tools import Array, smoothstep
from .skinning import SkinnedBody

HEM, WAISTBAND, ANKLE = -0.225, -0.10, -1.02  # heights in the rest pose, metres
SLEEVE_END, ARMHOLE = 0.325, 0.182  # |x|
PADDING = 0.007
SEAT_EASE = 0.014
LEG_PIN, SLEEVE_PIN = 0.15, 0.05  # soft: keeps tight tubes from being pulled through the limbs in deep bends
PANELS = (
    "tee front",
    "tee back",
    "left sleeve front",
    "left sleeve back",
    "right sleeve front",
    "right sleeve back",
    "left leg front",
    "left leg back",
    "right leg front",
    "right leg back",
)
REGIONS = ("tee", "sleeves", "hips", "legs")


def tee_field(points: Array) -> Array:
    """Positive where the t-shirt is: above the hem, inside the sleeve ends, below a round neckline."""
    x, y, z = points.T
    depth = 0.045 + 0.035 * smoothstep(z, 0.03, 0.10)
    neckline = (np.hypot(x / 0.090, (y - 0.305) / depth) - 1) * 0.07
    neckline = np.where(y > 0.305, np.minimum(neckline, np.abs(x) - 0.090), neckline)
    return np.minimum(np.minimum(SLEEVE_END - np.abs(x), neckline), y - HEM)


def sleeve_field(points: Array, side: int) -> Array:
    """Positive in the left (side 1) or right (-1) sleeve; the hips, as wide, are none."""
    return np.minimum(side * points[:, 0] - ARMHOLE, points[:, 1])


def tee_front(points: Array) -> Array:
    """Positive in front of the side seams, the shoulder seams and the arms' middle."""
    middle = 0.062 - 0.018 * smoothstep(points[:, 1], 0.05, 0.20)
    return points[:, 2] - middle


def tee_looseness(points: Array) -> Array:
    """How far off the body the t-shirt is cut [V]: more towards hem and sleeve ends."""
    sleeve = smoothstep(np.abs(points[:, 0]), 0.16, SLEEVE_END)
    torso = smoothstep(points[:, 1], 0.22, HEM)
    return 0.011 + np.maximum(0.011 * sleeve, 0.011 * torso)


def trousers_field(points: Array) -> Array:
    return np.minimum(WAISTBAND - points[:, 1], points[:, 1] - ANKLE)


def trousers_front(points: Array) -> Array:
    """Positive in front of the outer and inner leg seams."""
    middle = np.interp(
        points[:, 1], [-1.1, -1.0, -0.637, -0.40, -0.30, -0.10], [0.005, 0.010, 0.048, 0.05, 0.042, 0.060]
    )
    return points[:, 2] - middle


def trousers_looseness(points: Array) -> Array:
    """Close at the hips, wide at the ankles, narrow between the thighs."""
    height = points[:, 1]
    inseam = smoothstep(np.abs(points[:, 0]), 0.075, 0.02) * smoothstep(height, -0.55, -0.40)
    return (0.006 + 0.014 * smoothstep(height, -0.36, -0.52) + 0.010 * smoothstep(height, -0.60, -0.95)) * (
        1 - 0.5 * inseam
    )


def waist_padding(points: Array) -> Array:
    """How much thicker the colliding body is [V]: a band that holds the tee off the trousers."""
    height = points[:, 1]
    return PADDING * smoothstep(height, -0.33, -0.27) * smoothstep(height, WAISTBAND + 0.04, WAISTBAND)


def no_ease(points: Array) -> Array:
    return np.zeros(len(points))


def seat_ease(points: Array) -> Array:
    """How much wider trousers for a body that moves are cut [V]: room to sit down in."""
    between = smoothstep(np.abs(points[:, 0]), 0.02, 0.09)  # none where the legs meet
    return SEAT_EASE * between * smoothstep(points[:, 1], WAISTBAND - 0.03, HEM - 0.04)


def make_tee_trousers(body: SkinnedBody, edge_length: float, ease: Field = no_ease) -> GarmentMesh:
    """Cut both from the body; about 3,600 vertices at 22 mm. `ease` makes the trousers wider (metres)."""

    def wide(points: Array) -> Array:
        return trousers_looseness(points) + ease(points)

    tee = body_part(body, tee_field, (0.0, 0.1, 0.17), tee_looseness)
    tee_pieces = Pieces(tee, np.zeros(len(tee.triangles), int))
    for side, panel in ((1, 2), (-1, 4)):
        tee_pieces = tee_pieces.divided(-sleeve_field(tee_pieces.mesh.vertices, side), panel)
    tee_pieces = tee_pieces.divided(tee_front(tee_pieces.mesh.vertices), 1)
    legs = body_part(body, trousers_field, (0.12, -0.5, 0.13), wide)
    leg_pieces = Pieces(legs, np.full(len(legs.triangles), 6)).divided(legs.vertices[:, 0], 2)
    leg_pieces = leg_pieces.divided(trousers_front(leg_pieces.mesh.vertices), 1)
    tee_mesh, tee_panel, tee_weights = finish(body, tee_pieces, edge_length, lambda p: 0.8 * tee_looseness(p))
    leg_mesh, leg_panel, leg_weights = finish(body, leg_pieces, edge_length, lambda p: 0.8 * wide(p), 4)
    both = Pieces(tee_mesh, tee_panel).joined(Pieces(leg_mesh, leg_panel))
    across, height, depth = both.mesh.vertices.T
    in_tee = np.arange(len(height)) < len(tee_mesh.vertices)
    region = np.where(
        in_tee, sleeve_field(both.mesh.vertices * np.sign(across)[:, None], 1) > 0, np.where(height > -0.36, 2, 3)
    )
    collar = np.hypot(across / 0.125, (height - 0.305) / (0.085 + 0.035 * smoothstep(depth, 0.03, 0.10)))
    leg_pin = np.maximum(smoothstep(height, -0.41, -0.33), LEG_PIN)
    tee_pin = np.maximum(smoothstep(collar, 1.25, 0.90), SLEEVE_PIN * smoothstep(np.abs(across), 0.16, 0.20))
    pin = np.where(in_tee, tee_pin, leg_pin)
    return GarmentMesh(
        "tee-trousers", both.mesh, both.panel, PANELS, region, REGIONS, pin, np.concatenate([tee_weights, leg_weights])
    )


def make_moving_tee_trousers(body: SkinnedBody, edge_length: float) -> GarmentMesh:
    """The same with room for the seat; about 7,500 vertices at 16 mm."""
    return make_tee_trousers(body, edge_length, seat_ease)
