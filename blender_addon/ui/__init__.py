"""All that registers a class with Blender: properties, preferences, operators, panels."""
