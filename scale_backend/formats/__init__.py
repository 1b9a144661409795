"""What files and messages hold. Needs numpy alone: Blender imports it."""
