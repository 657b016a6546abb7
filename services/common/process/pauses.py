"""Notices that this process stood still: it was stopped, or its machine was.

What happened meanwhile lies unread in the log and in the sockets. Until it is read,
nobody's silence counts, and nothing is asked for or taken back.
"""

from dataclasses import dataclass, field

_PAUSE_S = 1.0
"""Several times the interval at which the watchdog looks at the clock."""


@dataclass
class PauseDetector:
    """Compares each look at the clock with the watchdog's last one.

    The first call after a pause notices it, so that no order among the tasks that
    wake matters.
    """

    _ticked_s: float | None = field(default=None, init=False)
    _woke_at: float = field(default=float("-inf"), init=False)

    def tick(self, now: float) -> None:
        """The watchdog looks at the clock (monotonic seconds)."""
        self.woke_at(now)
        self._ticked_s = now

    def woke_at(self, now: float) -> float:
        """When the last pause ended, as far as is known now; minus infinity where there
        was none.
        """
        if self._ticked_s is not None and now - self._ticked_s > _PAUSE_S:
            self._woke_at = self._ticked_s = now
        return self._woke_at
