"""The process that computes: its Python, its start, its end."""
