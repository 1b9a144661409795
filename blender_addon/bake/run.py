"""A bake in a window: worked on for a moment at a time, between two redraws."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bpy.types import Object

from ..messages import AddonError
from ..tasks.time_left import TimeLeft, spoken
from . import baking, plan

SHORTEST_STEP, LONGEST_STEP = 0.05, 0.5  # seconds of work between two redraws


class Run:
    """A bake that goes on."""

    def __init__(self, worn: Sequence[Object], settings: plan.BakeSettings, steps: baking.Steps):
        names = f"'{worn[0].name}'" if len(worn) == 1 else f"{len(worn)} characters' clothes"
        count, unit = settings.sampling.count, "frame" if settings.sampling.interval.denominator == 1 else "sample"
        size = plan.megabytes(plan.size(worn, settings))
        self._what = f"{count:,} {unit}{'' if count == 1 else 's'} of {names}, {size}"
        self.steps = steps
        self.progress = baking.Progress(0, 1, "Starting")
        self.stopped = ""  # why, once it is
        self._left = TimeLeft()
        self._started = self._rested = time.monotonic()

    @property
    def share(self) -> float:
        return self.progress.done / max(self.progress.total, 1)

    @property
    def text(self) -> str:
        """Short: a sidebar is narrow."""
        return f"{self.share:.0%}{self._left}"

    def advance(self) -> bool:
        """Work for a moment. False when all is done. Raises AddonError and BackendError."""
        # as long as Blender took for the redraw before: where drawing is slow, the bake still gets on
        began = time.monotonic()
        until = began + min(max(began - self._rested, SHORTEST_STEP), LONGEST_STEP)
        while time.monotonic() < until:
            before = self.progress
            try:
                self.progress = next(self.steps)
            except StopIteration:
                return False
            except ReferenceError as error:
                raise AddonError(
                    "Clothes or characters were deleted while they were being baked; bake what is left again."
                ) from error
            if self.progress.text != before.text:
                self._left = TimeLeft()  # what comes is not as fast as what was
            if self.progress == before:
                break  # the backend is not that far: Blender has the time
        self._left.saw(self.share)
        self._rested = time.monotonic()
        return True

    def stop(self, why: str) -> None:
        """What is there stays, and the scene goes back to its frame."""
        if not self.stopped:
            self.stopped = why
            self.steps.close()

    def summary(self) -> str:
        took = time.monotonic() - self._started
        return f"Baked {self._what}, in {f'{took:.1f} s' if took < 10 else spoken(took)}"
