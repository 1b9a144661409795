"""Start a backend and talk to it. Needs numpy alone: Blender imports it."""
