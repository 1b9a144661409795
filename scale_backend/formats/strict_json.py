"""JSON from elsewhere: texts, truths, and numbers that a float64 or an int64 can hold. Standard library only."""

from __future__ import annotations

import json
import math
from typing import Any

LARGEST_INT = 1 << 63


def strict_json(text: str | bytes | bytearray) -> Any:
    """What a text says. Python's own reader takes NaN, and whole numbers that nothing else can hold.

    Raises ValueError.
    """
    try:
        return json.loads(text, parse_constant=_no_number, parse_int=_int, parse_float=_float)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(text: str) -> None:
    raise ValueError(f"it holds {text}")


def _int(text: str) -> int:
    if len(text) > 20 or not -LARGEST_INT <= int(text) < LARGEST_INT:
        raise ValueError("it holds a number that is too large")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("it holds a number that is too large")
    return value
