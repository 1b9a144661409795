"""Threads, signals, locks. No bpy."""
