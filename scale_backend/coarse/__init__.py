"""Coarse cloth: some hundred vertices of a garment fall through the last moments; the network adds what they lack."""

from __future__ import annotations
