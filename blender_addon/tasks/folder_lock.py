"""A folder that one process works in at a time. No bpy."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from scale_backend.formats.foreign_file import quoted
from scale_backend.formats.whole_files import NO_LINK

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


@contextlib.contextmanager
def held(path: Path, sentence: str) -> Iterator[None]:
    """Hold a lock file that says who holds it, and goes at the end; one that was left behind holds nobody up.

    Raises AddonError with the sentence, its {who} filled in, where another holds it; OSError.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o644)
        try:
            _take(file)
        except (BlockingIOError, PermissionError):  # the latter on Windows
            raise AddonError(sentence.replace("{who}", _holder(file))) from None
        except BaseException:
            os.close(file)
            raise
        if path.exists() and os.path.samestat(os.fstat(file), path.stat()):
            break
        os.close(file)  # its holder has just taken it away
    try:
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        if sys.platform != "win32":
            path.unlink(missing_ok=True)
        os.close(file)
        if sys.platform == "win32":
            with contextlib.suppress(OSError):
                path.unlink()


def _holder(file: int) -> str:
    try:
        who = quoted(os.read(file, 200).decode(errors="replace"))
        return f"another Blender ({who})" if who else "another Blender"
    except OSError:
        return "another Blender"
    finally:
        os.close(file)


def _take(file: int) -> None:
    """Raises BlockingIOError or PermissionError where another open file holds the lock."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
