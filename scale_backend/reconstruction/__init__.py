"""Surfaces laid through decoded points."""
