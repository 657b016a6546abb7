"""How much of each limit is used. Pure.

A limit of N in a period is metered by the generic cell rate algorithm (ATM Forum
TM 4.0, 4.4.2): a request takes period/N seconds of the period, at most a whole period is
taken ahead, and time gives it back. So over any time t at most N + N * t / period are
admitted. In seconds the use drains at the same rate whatever the limit, so gateways
can add up each other's use without knowing the limits.

What is only reserved (`held`) does not drain: it is replaced by what was really used.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice

LONGEST_DEBT_S = 86_400.0
"""However much more was used than was reserved: a day from now it is forgotten."""
_LOOK_AT = 8


@dataclass(slots=True)
class Meter:
    """The use of one limit.

    Until `full_at_s` the period would take to be whole again; `held` is what this
    gateway has reserved of it.
    """

    full_at_s: float = 0.0
    held: float = 0.0

    def used_s(self, now_s: float) -> float:
        """How much of the period is used up, in seconds."""
        return max(0.0, self.full_at_s - now_s)

    def use(self, seconds: float, now_s: float) -> None:
        """So much more is used."""
        self.full_at_s = min(max(self.full_at_s, now_s) + seconds, now_s + LONGEST_DEBT_S)

    def give_back(self, seconds: float, now_s: float) -> None:
        """So much was used for nothing."""
        self.full_at_s = max(self.full_at_s - seconds, now_s)


@dataclass
class Meters:
    """At most `capacity` meters; those that were looked at longest ago are forgotten,
    never one that holds a reservation.
    """

    capacity: int = 65_536
    forgotten: int = 0
    """How many were forgotten while they still showed a use."""
    _meters: "OrderedDict[str, Meter]" = field(default_factory=OrderedDict, init=False)

    def __len__(self) -> int:
        return len(self._meters)

    def of(self, name: str, now_s: float) -> Meter:
        """The meter of a limit, a new one where nothing was used."""
        meter = self._meters.get(name)
        if meter is not None:
            self._meters.move_to_end(name)
            return meter
        if len(self._meters) >= self.capacity:
            self._forget_one(now_s)
        meter = self._meters[name] = Meter()
        return meter

    def drop_idle(self, now_s: float) -> None:
        """Drops some that show nothing: their names tell who was here."""
        for name in list(islice(self._meters, _LOOK_AT)):
            meter = self._meters[name]
            if not meter.held and not meter.used_s(now_s):
                del self._meters[name]

    def _forget_one(self, now_s: float) -> None:
        """The oldest of a few that shows nothing, else the oldest that holds nothing."""
        chosen = None
        for name in list(islice(self._meters, _LOOK_AT)):
            meter = self._meters[name]
            if meter.held:
                self._meters.move_to_end(name)
            elif not meter.used_s(now_s):
                del self._meters[name]
                return
            elif chosen is None:
                chosen = name
        if chosen is not None:
            del self._meters[chosen]
            self.forgotten += 1
