"""Motions from files."""

from scale_backend.formats.motions.reading import load_motion

__all__ = ["load_motion"]
