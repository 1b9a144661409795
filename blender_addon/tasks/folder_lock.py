"""A folder that one process works in at a time. No bpy."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ..messages import AddonError


@contextlib.contextmanager
def locked(path: Path, sentence: str) -> Iterator[None]:
    """Hold a lock file. It is the system's lock: it ends with its process, however that ends, and is never left behind.

    The file itself stays: whoever deletes it could delete another's. Raises AddonError with the sentence where another
    holds it.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            _take(file)
        except (BlockingIOError, PermissionError):  # the latter on Windows
            raise AddonError(sentence) from None
        yield
    finally:
        os.close(file)  # gives the lock back


def _take(file: int) -> None:
    """Raises BlockingIOError or PermissionError where another open file holds the lock."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
