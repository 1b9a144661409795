"""A fabric, or what lies between two, as weights of those that a garment was trained on."""

from __future__ import annotations

from collections.abc import Sequence


def fabric_weights(known: Sequence[str], fabric: str, other: str = "", mix: float = 0.0) -> tuple[float, ...]:
    """mix: how much of the other there is, from 0 to 1. A fabric that is not known stands for the garment's first,
    which alone is said by no weights; another that is not known adds nothing."""
    share = min(max(mix, 0.0), 1.0) if other in known else 0.0
    if fabric not in known:
        if not share:
            return ()
        fabric = known[0]
    return tuple((1 - share) * (name == fabric) + share * (name == other) for name in known)
