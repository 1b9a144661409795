"""Files that are whole or not there, and what is said when they cannot be."""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has none, and gives links to administrators alone
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name in the same folder to write to, which is made if it is missing. After an error `path` is as it was.

    Raises OSError that names the path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = name_beside(path)
    try:  # before it is there: a signal that ends the program just then would leave it
        create_own(beside)
        yield beside
        os.replace(beside, path)
    except OSError as error:
        if error.filename is not None or (error.errno is None and type(error) is not OSError):
            raise
        # while it is written; numpy says how many numbers it could write, and gives no code
        code = error.errno or errno.ENOSPC
        raise OSError(code, os.strerror(code), str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write beside, then rename: what stands under the name is complete. Raises OSError that names the path."""
    with written_whole(path) as beside:
        beside.write_bytes(data)


def name_beside(path: Path) -> Path:
    """For what is to become `path`: nobody can know it before, and nothing has it, out of 2^64."""
    return path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.part")


def create_own(path: Path) -> None:
    """An empty file that is neither a link nor anybody else's. Raises OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666))


def opened_own(path: Path) -> BinaryIO:
    """A file to go on with or to begin, read and written: of our own, no link. Raises OSError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK | getattr(os, "O_BINARY", 0), 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode) or os.fstat(file).st_nlink > 1:
        os.close(file)
        raise FileExistsError(errno.EEXIST, "it is a link", str(path))
    return open(file, "r+b")


def append_line(path: Path, line: str) -> None:
    """A line at the end of a file of our own. Raises OSError."""
    with opened_own(path) as file:
        file.seek(0, os.SEEK_END)
        file.write(f"{line}\n".encode())


def write_npz(path: Path, arrays: dict[str, Any], compress: bool = False) -> None:
    """Arrays as .npz; in memory first, as a zip file that meets a full disk complains once more when it is gone."""
    import numpy as np

    memory = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(memory, **arrays)
    with written_whole(path) as beside:
        beside.write_bytes(memory.getbuffer())


def file_error_sentence(error: OSError) -> str:
    """The system's error about a file as one sentence with what to do."""
    if error.errno is None:
        return str(error)  # written by us
    place = error.filename or "A file"
    if error.errno in FULL:
        return f"{place} could not be written ({error.strerror}); free some space there and run the command again."
    if isinstance(error, FileNotFoundError):
        return f"There is no {place}; name one that is there."
    return f"{place} cannot be used ({error.strerror}); correct that or choose another."
