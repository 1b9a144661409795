"""CPU cores that work on separate pieces of a frame, or on separate frames, without waiting for each other.

torch splits every operation over its threads and waits for the slowest at the end of each; where another program holds
a core that is slower than one thread alone. Here a thread takes a whole piece of work and computes it alone, so a
slow core only gets fewer pieces.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class Cores:
    """`count` threads, each computing on one core. With a count of 1 the caller's own thread does all."""

    def __init__(self, count: int):
        self.count = max(1, count)
        self.workers: set[int] = set()
        self.pool = ThreadPoolExecutor(self.count, "core") if self.count > 1 else None
        if self.pool is not None:
            self._start(self.pool)

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Tell every worker to compute alone; the threads that come later keep torch's number."""
        threads = torch.get_num_threads()
        together = threading.Barrier(self.count, timeout=60)

        def begin() -> None:
            together.wait()  # so that each worker takes one of these
            self.workers.add(threading.get_ident())
            torch.get_num_threads()  # a thread's first question resets its number to the process's, so ask before
            torch.set_num_threads(1)

        for started in [pool.submit(begin) for _ in range(self.count)]:
            started.result()
        torch.set_num_threads(threads)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """torch's own threads off for the caller: after an operation they turn on their cores, which work here."""
        threads = torch.get_num_threads()
        if self.pool is None or threads == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def map(self, function: Callable[[Piece], Result], pieces: Iterable[Piece]) -> list[Result]:
        """`function` of each piece, in order. Inside a piece that a core works on: one after another."""
        if self.pool is None or threading.get_ident() in self.workers:
            return [function(piece) for piece in pieces]

        def compute(piece: Piece) -> Result:
            with torch.inference_mode(inference):  # a thread's own setting
                return function(piece)

        inference = torch.is_inference_mode_enabled()
        started = [self.pool.submit(compute, piece) for piece in pieces]
        try:
            return [one.result() for one in started]
        finally:
            for one in started:  # after an error nothing goes on in the background
                one.cancel()
            wait(started)

    def tiles(self, rows: int, largest: int) -> list[slice]:
        """Equal shares of `rows` of at most `largest`, as many for each core."""
        per_core = max(1, -(-rows // (largest * self.count)))
        size = max(1, -(-rows // (per_core * self.count)))
        return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


@functools.cache
def shared_cores(count: int) -> Cores:
    """The process's threads: decoders take turns with them."""
    return Cores(count)
