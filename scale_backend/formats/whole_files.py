"""Files that are whole or not there, and what is said when they cannot be."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name in the same folder to write to, which is made if it is missing. After an error `path` is as it was.

    Raises OSError that names the path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
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
