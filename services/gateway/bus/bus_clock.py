"""The brokers' time, by which the log is looked up.

The topics carry the time at which a broker appended a record, and a request's id the
time from which to look for its records. Were that this machine's time, a clock that is
minutes wrong would make requests impossible to find. So it is learned from
acknowledgements, and carried on by the monotonic clock, which no adjustment moves.

Each partition has the clock of the broker that leads it, and brokers' clocks differ: what
is compared with the times of one partition goes by its leader's clock alone, and what is
looked for in several by the one that is furthest behind.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.common.bus import TopicPartition
from services.common.clock import Clock, MonotonicClock

_BROKERS_DIFFER_S = 1.0
"""By how much a clock may be off where another broker begins to lead, or clocks are
adjusted.
"""
_QUICK_S = 0.5
"""An acknowledgement that took longer says little about when the record was appended."""
_LEARN_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Leader:
    """The clock of a partition's leader: so much ahead of the monotonic one, or up to
    `late_by_s` more.
    """

    ahead_s: float
    late_by_s: float
    learned_s: float


@dataclass
class BusClock:
    """Until it has learned, it goes by this machine's clock."""

    clock: Clock
    monotonic: MonotonicClock
    _leaders: dict[TopicPartition, _Leader] = field(default_factory=dict, init=False)
    _ahead_s: float = field(default=0.0, init=False)

    def learn(
        self, place: TopicPartition, appended_ms: int, *, sent_s: float, for_certain: bool = False
    ) -> None:
        """A record that was sent at `sent_s` (monotonic) was appended to a partition at
        `appended_ms` (Unix milliseconds), and acknowledged now.

        What is known already is looked at anew once a second, and where the record was
        acknowledged quickly; `for_certain`: it is known to be wrong.
        """
        now_s, known = self.monotonic(), self._leaders.get(place)
        took_s = now_s - sent_s
        if known is not None and not for_certain and not _is_better(known, took_s, now_s):
            return
        fresh = _Leader(appended_ms / 1000 - now_s, took_s, now_s)
        if known is not None and _is_another_clock(known, fresh):
            self._leaders.clear()  # this machine slept, or clocks were set: nothing known is good any more
        self._leaders[place] = fresh
        self._ahead_s = min(leader.ahead_s for leader in self._leaders.values())

    def now_ms(self) -> int:
        """Unix milliseconds by the clock that is furthest behind.

        Late by the time that an acknowledgement takes, never ahead: what is published
        later is appended at this time or later, in whichever of the known partitions.
        """
        if not self._leaders:
            return int(self.clock().timestamp() * 1000)
        return int((self.monotonic() + self._ahead_s) * 1000)

    def now(self) -> datetime:
        """The same as aware UTC."""
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)

    def latest_after(self, place: TopicPartition, seconds: float) -> datetime | None:
        """The latest time that a partition's leader may write in so many seconds; None
        while its clock is not known.
        """
        leader = self._leaders.get(place)
        if leader is None:
            return None
        later_s = leader.ahead_s + leader.late_by_s + _BROKERS_DIFFER_S + seconds
        return datetime.fromtimestamp(self.monotonic() + later_s, UTC)


def _is_better(known: _Leader, took_s: float, now_s: float) -> bool:
    is_due = now_s - known.learned_s >= _LEARN_EVERY_S or known.late_by_s > _QUICK_S
    return is_due and took_s <= _QUICK_S


def _is_another_clock(known: _Leader, fresh: _Leader) -> bool:
    return abs(fresh.ahead_s - known.ahead_s) > max(fresh.late_by_s, known.late_by_s) + _BROKERS_DIFFER_S
