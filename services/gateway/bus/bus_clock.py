"""The broker's time, by which the log is looked up.

The topics carry the time at which the broker appended a record, and a request's id the
time from which to look for its records. Were that this machine's time, a clock that is
minutes wrong would make requests impossible to find. So it is learned from the broker's
acknowledgements, and carried on by the monotonic clock, which no adjustment moves.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.common.clock import Clock, MonotonicClock

_BROKERS_DIFFER_S = 1.0
"""By which the clocks of a cluster's brokers may differ."""
_QUICK_S = 0.5
"""An acknowledgement that took longer says little about when the record was appended."""


@dataclass
class BusClock:
    """Until it has learned, it goes by this machine's clock."""

    clock: Clock
    monotonic: MonotonicClock
    learned: bool = field(default=False, init=False)
    _ahead_s: float = field(default=0.0, init=False)
    _late_by_s: float = field(default=0.0, init=False)

    def learn(self, appended_ms: int, *, sent_s: float) -> None:
        """A record that was sent at `sent_s` (monotonic) was appended at `appended_ms`
        (Unix milliseconds), and acknowledged now.
        """
        acknowledged_s = self.monotonic()
        if self.learned and acknowledged_s - sent_s > _QUICK_S:
            return
        self._ahead_s = appended_ms / 1000 - acknowledged_s
        self._late_by_s = acknowledged_s - sent_s
        self.learned = True

    def now_ms(self) -> int:
        """Unix milliseconds by the broker's clock.

        Late by the time that an acknowledgement takes, never ahead: what is published
        later is appended at this time or later.
        """
        if not self.learned:
            return int(self.clock().timestamp() * 1000)
        return int((self.monotonic() + self._ahead_s) * 1000)

    def latest_after(self, seconds: float) -> datetime | None:
        """The latest time that the broker's clock may show in so many seconds; None
        while that is not known.
        """
        if not self.learned:
            return None
        return self.now() + timedelta(seconds=seconds + self._late_by_s + _BROKERS_DIFFER_S)

    def now(self) -> datetime:
        """The same as aware UTC."""
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)
