"""Blender's data from arrays. Knows nothing of clothes."""
