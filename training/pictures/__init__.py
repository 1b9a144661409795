"""Pictures of points and maps, without a renderer."""
