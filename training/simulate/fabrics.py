"""Fabrics as Blender's cloth takes them: the settings of one material, by name.

The units are Blender's: mass in kg a vertex, stiffness per edge, so a fabric is what it is at one edge length
(`EDGE_LENGTH`). Where a value is not Blender's preset it was found by `training.simulate.calibrate`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..frames.sequences import SequenceError

EDGE_LENGTH = 0.012  # metres: of the meshes that the settings are for


@dataclass(frozen=True)
class Fabric:
    """Settings of Blender's cloth that a material gives; everything else keeps Blender's defaults."""

    name: str
    preset: str  # the preset of Blender that it begins from
    quality: int  # substeps a frame
    mass: float  # kg a vertex
    tension: float
    compression: float
    shear: float
    bending: float
    tension_damping: float
    compression_damping: float
    shear_damping: float
    bending_damping: float = 0.5  # Blender's default: no preset sets it
    air_damping: float = 1.0


def _fabric(
    name: str, preset: str, quality: int, mass: float, stiffness: float, bending: float, damping: float
) -> Fabric:
    return Fabric(name, preset, quality, mass, *(stiffness,) * 3, bending, *(damping,) * 3)


FABRICS = {
    fabric.name: fabric
    for fabric in (
        _fabric("silk", "Silk", 10, 0.16, 5.0, 36.5, 0.0),
        _fabric("cotton", "Cotton", 10, 0.3, 15.0, 102.0, 5.0),
        _fabric("jersey", "Silk", 10, 0.47, 5.0, 334.0, 5.0),
        _fabric("wool", "Cotton", 10, 0.59, 15.0, 168.0, 5.0),
        _fabric("denim", "Denim", 12, 0.81, 40.0, 950.0, 25.0),
        _fabric("leather", "Denim", 12, 0.4, 40.0, 78.0, 25.0),
    )
}


def find_fabric(name: str) -> Fabric:
    """Raises SequenceError for a name that is not known."""
    if name not in FABRICS:
        raise SequenceError(f"There is no fabric '{name}': choose one of {', '.join(FABRICS)}.")
    return FABRICS[name]
