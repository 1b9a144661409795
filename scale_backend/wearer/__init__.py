"""Clothes on whoever wears them: a garment's body laid onto the body of a character."""
