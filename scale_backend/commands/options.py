"""Options that several commands share, and the error of a command that was called wrongly."""

from __future__ import annotations

from typing import Literal

from scale_backend.formats.errors import UserError

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
PrecisionName = Literal["auto", "float32", "split", "bfloat16", "float16"]
NormalsName = Literal["faces", "decoded"]


class UsageError(UserError):
    """The command cannot be carried out as it was given. The sentence says what to do."""
