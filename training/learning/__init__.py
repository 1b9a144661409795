"""From packed frames to a trained network."""
