"""Somebody to dress, and how they move."""
