"""Days and months of a time zone as spans of UTC. Pure.

A day begins at its local midnight; where the clock jumps over that, with the first
moment after the jump. Days are 23 to 25 hours long where clocks change.
"""

import functools
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

PeriodKind = Literal["day", "month"]


class Period(NamedTuple):
    """A span from its start on, up to but without its end; both UTC."""

    start: datetime
    end: datetime

    def has(self, moment: datetime) -> bool:
        """Whether a moment lies in it."""
        return self.start <= moment < self.end


@functools.cache
def zone_names() -> frozenset[str]:
    """The time zones that mean the same on every machine, and to the store: not this
    machine's own `localtime`, nor what its disk has besides, as right/UTC.
    """
    return frozenset(available_timezones() - {"localtime", "Factory", "posixrules"})


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a local day, in UTC."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def period_at(moment: datetime, kind: PeriodKind, zone: ZoneInfo) -> Period:
    """The period in which a moment lies."""
    first = moment.astimezone(zone).date()
    if kind == "month":
        first = first.replace(day=1)
    found = _period_from(first, kind, zone)
    # Where a clock is put back over midnight, the moment after it still says the day before.
    while moment >= found.end:
        first = _next(first, kind)
        found = _period_from(first, kind, zone)
    while moment < found.start:
        first = _before(first, kind)
        found = _period_from(first, kind, zone)
    return found


def _period_from(first: date, kind: PeriodKind, zone: ZoneInfo) -> Period:
    return Period(start_of_day(first, zone), start_of_day(_next(first, kind), zone))


def _next(first: date, kind: PeriodKind) -> date:
    if kind == "day":
        return first + timedelta(days=1)
    return (first + timedelta(days=31)).replace(day=1)


def _before(first: date, kind: PeriodKind) -> date:
    day = first - timedelta(days=1)
    return day if kind == "day" else day.replace(day=1)
