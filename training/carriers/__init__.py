"""Carriers made of garments: UV charts, blend weights, shape components."""

from training.carriers.garment_surface import build_garment_carrier

__all__ = ["build_garment_carrier"]
