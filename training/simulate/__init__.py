"""Clothed training frames from Blender's cloth simulation. The only package of `training` that needs bpy."""
