"""Watch one number as it comes: ADWIN (Bifet and Gavalda 2007, SDM), by river.

ADWIN keeps the longest recent stretch whose mean looks constant and reports when it has
to cut it. Its guarantee is for independent values in 0..1, hence the scaling by
expected limits and, for strongly autocorrelated traffic, means of neighbours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from river.drift import ADWIN

from services.drift.domain.windows import FloatArray

_RECENT = 30


@dataclass(frozen=True, slots=True)
class MeanChange:
    """ADWIN cut its window: `position` counts the values seen so far, this one
    included.

    What ADWIN keeps after a cut still holds values from before the change, so
    `mean_after` is taken over the last few blocks instead.
    """

    position: int
    mean_before: float
    mean_after: float


class MeanWatch:
    """Feed it values in order; it answers with a change when the mean has moved.

    `low` and `high` are the limits within which values are expected (`for_baseline`
    reads them off); what lies outside is clipped. `delta` bounds the chance that a
    check errs. With `block` > 1 it sees means of so many neighbours: steadier, and
    slower.

    ADWIN needs neither window nor schedule, and pays with patience: it takes thousands
    of requests to see what a window test sees in one.
    """

    @classmethod
    def for_baseline(cls, values: FloatArray, *, block: int = 1, delta: float = 1e-3) -> MeanWatch:
        """Expect what `values`, (n,), has shown."""
        levels = values[: len(values) // block * block].reshape(-1, block).mean(axis=1)
        low, high = float(levels.min()), float(levels.max())
        return cls(low=low, high=high if high > low else low + 1.0, block=block, delta=delta)

    def __init__(self, *, low: float, high: float, block: int = 1, delta: float = 1e-3) -> None:
        if not low < high:
            raise ValueError(f"low must be below high, got {low} and {high}")
        if block < 1:
            raise ValueError(f"block counts the values averaged together, at least 1, got {block}")
        self._low, self._range, self._block = low, high - low, block
        self._adwin: Any = ADWIN(delta=delta, clock=1)  # type: ignore[no-untyped-call] # river has no annotations
        self._pending: list[float] = []
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._seen = 0

    def add(self, value: float) -> MeanChange | None:
        """Take one value in; a change can only be seen when a block is full."""
        self._seen += 1
        self._pending.append(min(1.0, max(0.0, (value - self._low) / self._range)))
        if len(self._pending) < self._block:
            return None
        level = sum(self._pending) / len(self._pending)
        self._pending.clear()
        self._recent.append(level)
        before = self._adwin.estimation
        self._adwin.update(level)
        if not self._adwin.drift_detected:
            return None
        return MeanChange(
            self._seen, self._unscaled(before), self._unscaled(sum(self._recent) / len(self._recent))
        )

    def _unscaled(self, level: float) -> float:
        return self._low + level * self._range


def mean_changes(values: Iterable[float], watch: MeanWatch) -> list[MeanChange]:
    """Feed all values and collect the changes."""
    return [change for value in values if (change := watch.add(value)) is not None]
