"""Frames to learn from: raw, packed, mirrored, checked."""
