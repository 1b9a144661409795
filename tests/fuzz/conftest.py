"""The running backend that messages are sent to."""

from tests.backend.conftest import backend, garment, garment_file

__all__ = ["backend", "garment", "garment_file"]
