"""An armature as a pose of a body."""
