"""What all files from elsewhere have in common: they may be anything."""

from __future__ import annotations

from pathlib import Path

from scale_backend.formats.errors import UserError


class ForeignFileError(UserError):
    """A file of another program that cannot be used. The sentence names it and says what to do."""


def check_size(path: Path, largest: int) -> None:  # bytes
    """Before it is read into memory. Raises ForeignFileError, OSError."""
    size = path.stat().st_size
    if size > largest:
        raise ForeignFileError(f"{path.name} has {size >> 20} MiB, over {largest >> 20}; choose the right file.")


def quoted(value: object, most: int = 80) -> str:
    """A text from a file, for a sentence: at most so many letters, on one line. Of an error its text, of anything that
    is no text its kind: writing out what a file has made may take longer than anybody waits."""
    if isinstance(value, BaseException):
        value = value.args[0] if value.args and isinstance(value.args[0], str) else type(value).__name__
    if not isinstance(value, str):
        value = str(value) if type(value) in (int, float, bool) else type(value).__name__
    text = " ".join(value[: 4 * most].split())
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    return printable if len(printable) <= most else printable[: most - 1] + "…"
