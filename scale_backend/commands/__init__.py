"""The commands of scale-backend."""
