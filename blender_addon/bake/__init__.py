"""Bakes and exports: what is written, where, and how it goes on after a stop."""
