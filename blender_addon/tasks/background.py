"""A thread that decodes beside Blender: of each clothes the newest pose alone, so that a heavy one delays nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

IDLE = 30.0  # seconds after which a thread that has nothing to do ends; the next work starts another

Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What came of a work: its value, or the error that it raised."""

    value: Result | None
    error: Exception | None
    seconds: float


class DecodingThread(Generic[Result]):
    """Does one work for each key, the newest. What is done waits to be collected. No work may touch Blender's data."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked: dict[int, Callable[[], Result]] = {}
        self._done: dict[int, Outcome[Result]] = {}
        self._working = False
        self._thread: threading.Thread | None = None
        self._generation = 0

    @property
    def busy(self) -> bool:
        with self._changed:
            return bool(self._asked) or self._working

    def ask(self, key: int, work: Callable[[], Result]) -> None:
        """Have a work done; it takes the place of one for the same key that has not begun."""
        with self._changed:
            self._asked[key] = work  # at the older one's place in the queue: each gets its turn
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="scale-decoding", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Until all is done, or for some seconds. Whether all is done."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.busy, seconds)

    def collect(self) -> dict[int, Outcome[Result]]:
        """What has been done since the last call, by key."""
        with self._changed:
            done, self._done = self._done, {}
            return done

    def forget(self) -> None:
        """Drop what is asked and what is done; a work that has begun ends unheard."""
        with self._changed:
            self._generation += 1
            self._asked.clear()
            self._done.clear()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._asked, IDLE):
                    self._thread = None
                    return
                key = next(iter(self._asked))
                work = self._asked.pop(key)
                generation, self._working = self._generation, True
            began = time.monotonic()
            value, error = None, None
            try:
                value = work()
            except Exception as raised:  # whoever collects hears of it
                error = raised
            with self._changed:
                self._working = False
                if generation == self._generation:
                    self._done[key] = Outcome(value, error, time.monotonic() - began)
                self._changed.notify_all()
