"""Decode body poses into clothes: body, carrier, network, surfaces and the local server."""

__version__ = "0.1.0"
