"""The moments of a scene that are baked, and the batches in which they are decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

BATCH = 8  # samples decoded together, between two signs of life


@dataclass(frozen=True)
class Sampling:
    """Samples from one frame to another.

    On a CPU each frame is the same to the bit in any batch. On a GPU, which takes a batch as a whole, the last bits
    depend on the batch's size and the pose's place in it. So batches lie on a grid that begins at frame 0, whatever is
    baked, and short ones are filled up: parts of a range that are baked apart, or resumed after a kill, are those of
    the whole to the bit on either.
    """

    first: int  # frames
    last: int
    step: int = 1  # frames from one sample to the next
    per_frame: int = 1  # samples in a step, for motion blur

    @property
    def interval(self) -> Fraction:
        return Fraction(self.step, self.per_frame)

    @property
    def count(self) -> int:
        return max(math.floor((self.last - self.first) / self.interval) + 1, 0)

    def time(self, index: int) -> Fraction:
        return self.first + index * self.interval

    def times(self) -> Iterator[tuple[int, float]]:
        """Frame and subframe of each sample."""
        for index in range(self.count):
            frame = math.floor(self.time(index))
            yield frame, float(self.time(index) - frame)

    @property
    def lead(self) -> int:
        """How many places of the first batch lie before the first sample."""
        return math.floor(self.first / self.interval) % BATCH

    @property
    def batches(self) -> int:
        return math.ceil((self.lead + self.count) / BATCH)

    def batch_of(self, index: int) -> int:
        return (self.lead + index) // BATCH

    def samples_of(self, batch: int) -> range:
        """The samples in a batch."""
        begin = batch * BATCH - self.lead
        return range(max(begin, 0), min(begin + BATCH, self.count))

    def filled(self, values: np.ndarray, batches: range) -> np.ndarray:  # [F, ...] -> [BATCH * len(batches), ...]
        """What belongs into some batches; empty places repeat the nearest sample."""
        places = np.arange(batches.start * BATCH, batches.stop * BATCH) - self.lead
        return values[np.clip(places, 0, self.count - 1)]

    def whole(self, there: int) -> int:
        """Samples in whole batches, of those that a file holds."""
        return self.count if there >= self.count else max(self.batch_of(there) * BATCH - self.lead, 0)
