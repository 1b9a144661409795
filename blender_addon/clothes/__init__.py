"""Clothes in the scene: mesh objects that belong to a rig and a garment."""
