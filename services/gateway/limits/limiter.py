"""Whether a request is within its limits, and what it takes of them. Pure; the time is
an argument.

A refused request takes nothing of any limit, so whoever keeps asking is let in as soon
as whoever waits; one that was let in and never begun gives back what it took.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from services.common.control.limits import LimitKind, Rule
from services.gateway.limits.meters import Meter, Meters

_NEWS_SHARE = 0.1
"""What the other gateways should know soon: so much of a limit."""
_STREAM_WAIT_S = 1.0
"""When a stream ends is not known."""
_ROUNDING = 1e-9


class Peers(Protocol):
    """The other gateways' part in the limits."""

    def set(self, name: str, amount: float) -> float:
        """This gateway now holds so much; by how much that differs from what the others
        know.
        """

    def use(self, name: str, seconds: float) -> float:
        """So much more was used here; how much the others do not know yet."""

    def give_back_use(self, name: str, seconds: float) -> None:
        """So much was used for nothing."""

    def others(self, name: str) -> float:
        """What the others hold."""


class Cost(NamedTuple):
    """What a request takes of limits of each kind: requests (one for each choice), tokens
    as estimated, and streams.
    """

    requests: int
    tokens: int
    streams: int = 1


class Allowance(NamedTuple):
    """How a limit stands: whole again in `reset_s`."""

    limit: int
    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Refused:
    """The limit that a request exceeds. It may be sent again in `wait_s`; None: it asks
    for more than the limit ever allows.
    """

    rule: Rule
    wait_s: float | None


class Reservation(NamedTuple):
    """What a request took of its limits at `at_s`: tokens as estimated, what is reserved
    of which limit until it is settled (`held`), and what is used of it (`used`).
    """

    tokens: int
    held: tuple[tuple[Rule, Meter, float], ...]
    used: tuple[tuple[Rule, int], ...] = ()
    at_s: float = 0.0

    def unused(self, now_s: float) -> tuple[tuple[Rule, float], ...]:
        """What may be given back of what was used. Time has given back a part of it: no
        more than the rest, or that part would be admitted twice.
        """
        passed_s = max(0.0, now_s - self.at_s)
        return tuple((rule, max(0.0, amount - passed_s / rule.unit_s)) for rule, amount in self.used)


@dataclass
class LocalLimits:
    """Meters the limits of one gateway, and of the others as far as it was told."""

    peer_usage: Peers
    meters: Meters = field(default_factory=Meters)
    has_news: bool = False
    """Whether the others should be told soon; set back by who tells them."""

    def refusal(self, rules: Sequence[Rule], cost: Cost, now_s: float) -> Refused | None:
        """The first limit that a request exceeds; None where it may go on."""
        if (never := self.never(rules, cost)) is not None:
            return never
        for rule in rules:
            wait_s = self._wait_s(rule, cost, now_s)
            if wait_s:
                return Refused(rule, wait_s)
        return None

    def never(self, rules: Sequence[Rule], cost: Cost) -> Refused | None:
        """The first limit that would not allow for a request even if nothing were used."""
        for rule in rules:
            amount = cost.streams if rule.kind is LimitKind.STREAMS else cost.requests
            if not rule.limit or (rule.kind is not LimitKind.TOKENS and amount > rule.limit):
                return Refused(rule, None)
        return None

    def correct(self, rules: Sequence[Rule], used_s: Sequence[float], now_s: float) -> None:
        """Takes over what the shared store says is used of each limit by all gateways: the
        seconds of its period that are used up.
        """
        for rule, seconds in zip(rules, used_s, strict=True):
            self.meters.of(rule.name, now_s).full_at_s = now_s + seconds

    def take(self, rules: Sequence[Rule], costs: Sequence[Cost], now_s: float) -> list[Reservation]:
        """Takes the parts of one call's requests of every limit, whether or not they are
        within them. All together hold no more tokens than a limit has: what is settled
        for each adds up to what was taken for all.
        """
        self.meters.drop_idle(now_s)
        left = {rule.name: rule.limit for rule in rules}
        return [self._take(rules, cost, left, now_s) for cost in costs]

    def give_back(self, reservation: Reservation, now_s: float) -> None:
        """The request was never begun; to be said once, instead of `settle`."""
        self.settle(reservation, 0, now_s)
        for rule, amount in reservation.unused(now_s):
            seconds = amount * rule.unit_s
            self.meters.of(rule.name, now_s).give_back(seconds, now_s)
            self.peer_usage.give_back_use(rule.name, seconds)

    def settle(self, reservation: Reservation, tokens: int, now_s: float) -> None:
        """A request ended and took so many tokens; to be said once."""
        for rule, meter, amount in reservation.held:
            self._hold(rule, meter, -amount)
            if rule.kind is LimitKind.TOKENS and tokens > 0:
                self._use(rule, self.meters.of(rule.name, now_s), tokens, now_s)

    def on_used(self, name: str, seconds: float, at_s: float) -> None:
        """Another gateway used so much."""
        if seconds > 0:
            self.meters.of(name, at_s).use(seconds, at_s)

    def tightest(self, rules: Sequence[Rule], now_s: float) -> dict[LimitKind, Allowance]:
        """The limit of requests, and of tokens, of which the least remains, reservations
        counted as used.
        """
        found: dict[LimitKind, Allowance] = {}
        for rule in rules:
            if rule.kind is LimitKind.STREAMS:
                continue
            used_s = self._used_s(rule, self.meters.of(rule.name, now_s), now_s)
            free = 1.0 - used_s / rule.period_s
            remaining = int((free + _ROUNDING) * rule.limit) if free > 0 else 0
            known = found.get(rule.kind)
            if known is None or (remaining, rule.limit) < (known.remaining, known.limit):
                found[rule.kind] = Allowance(rule.limit, remaining, used_s)
        return found

    def _take(self, rules: Sequence[Rule], cost: Cost, left: dict[str, int], now_s: float) -> Reservation:
        held, used = [], []
        for rule in rules:
            meter = self.meters.of(rule.name, now_s)
            if rule.kind is LimitKind.REQUESTS:
                self._use(rule, meter, cost.requests, now_s)
                used.append((rule, cost.requests))
                continue
            amount = cost.streams if rule.kind is LimitKind.STREAMS else min(cost.tokens, left[rule.name])
            left[rule.name] -= amount
            self._hold(rule, meter, amount)
            held.append((rule, meter, float(amount)))
        return Reservation(cost.tokens, tuple(held), tuple(used), now_s)

    def _wait_s(self, rule: Rule, cost: Cost, now_s: float) -> float:
        """In how long a request is within a limit: 0 at once."""
        meter = self.meters.of(rule.name, now_s)
        if rule.kind is LimitKind.STREAMS:
            held = meter.held + self.peer_usage.others(rule.name) + cost.streams
            return _STREAM_WAIT_S if held > rule.limit else 0.0
        amount = cost.requests if rule.kind is LimitKind.REQUESTS else min(cost.tokens, rule.limit)
        excess_s = self._used_s(rule, meter, now_s) + amount * rule.unit_s - rule.period_s
        return excess_s if excess_s > _ROUNDING * rule.period_s else 0.0

    def _used_s(self, rule: Rule, meter: Meter, now_s: float) -> float:
        used_s = meter.full_at_s - now_s
        if used_s < 0:
            used_s = 0.0
        if rule.kind is LimitKind.TOKENS and rule.limit:
            used_s += (meter.held + self.peer_usage.others(rule.name)) * rule.unit_s
        return used_s

    def _use(self, rule: Rule, meter: Meter, amount: int, now_s: float) -> None:
        if not rule.limit:
            return
        seconds = amount * rule.unit_s
        meter.use(seconds, now_s)
        if self.peer_usage.use(rule.name, seconds) >= _NEWS_SHARE * rule.period_s:
            self.has_news = True

    def _hold(self, rule: Rule, meter: Meter, amount: float) -> None:
        held = meter.held + amount
        meter.held = held if held > 0 else 0.0
        if self.peer_usage.set(rule.name, meter.held) >= _NEWS_SHARE * rule.limit:
            self.has_news = True
