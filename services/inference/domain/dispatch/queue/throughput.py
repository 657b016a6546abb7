"""How fast requests end, for an estimate of the wait."""

from collections import deque

_WINDOW_S = 10.0


class Throughput:
    """Counts ends over the last ten seconds, a tenth of a second at a time."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque()
        self._total = 0

    def note_end(self, now_s: float) -> None:
        """A request ended."""
        tenth = int(now_s * 10)
        if self._counts and self._counts[-1][0] == tenth:
            self._counts[-1] = (tenth, self._counts[-1][1] + 1)
        else:
            self._counts.append((tenth, 1))
        self._total += 1
        self._forget(now_s)

    def interval_ms(self, now_s: float) -> float | None:
        """The mean time between two ends: the wait of the first in the queue. None where
        nothing ended.
        """
        self._forget(now_s)
        return 1000.0 * _WINDOW_S / self._total if self._total else None

    def _forget(self, now_s: float) -> None:
        while self._counts and self._counts[0][0] < (now_s - _WINDOW_S) * 10:
            self._total -= self._counts.popleft()[1]
