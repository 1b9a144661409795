"""How long a work will still take, judged by how fast it went lately. No bpy."""

from __future__ import annotations

import time
from collections import deque

LATELY = 20.0  # seconds that are looked at
ENOUGH = 2.0  # seconds of work before anything is said


class TimeLeft:
    """Hears now and then how much of a work is done, from 0 to 1."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def saw(self, share: float, now: float | None = None) -> None:
        now = time.monotonic() if now is None else now
        self._seen.append((now, share))
        while len(self._seen) > 2 and now - self._seen[0][0] > LATELY:
            self._seen.popleft()

    @property
    def seconds(self) -> float | None:
        """None where it is too early to tell."""
        if not self._seen:
            return None
        (first, had), (last, has) = self._seen[0], self._seen[-1]
        if last - first < ENOUGH or has <= had:
            return None
        return (1.0 - has) * (last - first) / (has - had)

    def __str__(self) -> str:
        """Such as ', 2 min left'; nothing where it is too early to tell."""
        return "" if self.seconds is None else f", {spoken(self.seconds)} left"


def spoken(seconds: float) -> str:
    """About how long, in words: nobody wants to read seconds of an hour."""
    if seconds < 55:
        return f"{max(5 * round(seconds / 5), 5)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
