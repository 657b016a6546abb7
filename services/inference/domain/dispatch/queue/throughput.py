"""How fast slots become free, for an estimate of the wait.

Measured is the time for which slots were taken since a while ago, by requests that ended
and by those that still run, for each request that ended: left out, those that run would
make the wait look short, since it is the short ones that end first. While something
waits every slot is taken, so slots / that time become free a second: right from the
first few ends on, after a pause, and at once where replicas come or go. (Ends a second,
counted over a window, are wrong in all three.)
"""

import statistics
from collections import deque
from collections.abc import Iterable, Sequence

_ENDS = 64
_OLDEST_S = 300.0
_ENOUGH = 8


class Throughput:
    """Over the last ends, of at most five minutes."""

    def __init__(self) -> None:
        self._ends: deque[tuple[float, float]] = deque()

    def note_held(self, held_s: float | None, now_s: float) -> None:
        """A slot is free again after so long; None where none was held."""
        if held_s is not None:
            self._ends.append((now_s, max(0.0, held_s)))
            if len(self._ends) > _ENDS + 1:
                self._ends.popleft()

    def interval_ms(self, slots: int, running_s: Iterable[float], now_s: float) -> float | None:
        """The mean time until the next slot is free while all are taken: the wait of the
        first in the queue. None where it is not known. `running_s`: for how long each
        request has held a slot that has one.
        """
        while self._ends and now_s - self._ends[0][0] > _OLDEST_S:
            self._ends.popleft()
        if not self._ends or not slots:
            return None
        counted = list(self._ends)
        since_s = float("-inf")
        if len(counted) > _ENDS:
            since_s, _ = counted.pop(0)
        taken_s = sum(min(held_s, ended_s - since_s) for ended_s, held_s in counted)
        running = [min(max(0.0, one), now_s - since_s) for one in running_s]
        ended = float(len(counted))
        if since_s == float("-inf"):
            ended += len(running) * _begun_share([held_s for _, held_s in counted])
        return 1000.0 * (taken_s + sum(running)) / ended / slots


def _begun_share(held_s: Sequence[float]) -> float:
    """What a running request counts for where all slots began anew with the counting:
    (1 - CV²) / 2, by the renewal theorem (Cox, Renewal Theory, 1962, 4.2). Half of one
    where all take as long, nothing where their ends are as random as can be.
    """
    if len(held_s) < _ENOUGH:
        return 0.375  # as of a CV of a half
    mean_s = statistics.fmean(held_s)
    squared = statistics.pvariance(held_s, mean_s) / mean_s**2 if mean_s else 1.0
    return max(0.0, 1.0 - squared) / 2
