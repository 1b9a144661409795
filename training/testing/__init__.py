"""Trained garments on frames that they have not seen."""
