"""Meshes, nearest neighbours, distances, visibility."""
