"""A span of time as pieces that the store has sums of. Pure.

Whole days are summed by the day, what is left at both ends by the hour, then by the
minute; only the seconds at the very ends are counted from the requests themselves. So the
sum over the pieces is that over the requests, at a fraction of the rows.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

Step = Literal["day", "hour", "minute", "event"]
STEPS: dict[Step, timedelta] = {
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
}
"""How long each sum's piece of time is; all begin at midnight UTC."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """From `begin` on, up to but without `end`, as sums of `step`."""

    step: Step
    begin: datetime
    end: datetime


def spans(begin: datetime, end: datetime, steps: Sequence[Step] = tuple(STEPS)) -> list[Span]:
    """The pieces of a span, earliest first, of these steps (the longest first) and, at the
    ends, of events. Empty where the span is.
    """
    if begin >= end:
        return []
    if not steps:
        return [Span("event", begin, end)]
    step, shorter = steps[0], steps[1:]
    first, last = _up(begin, STEPS[step]), _down(end, STEPS[step])
    if first >= last:
        return spans(begin, end, shorter)
    return [*spans(begin, first, shorter), Span(step, first, last), *spans(last, end, shorter)]


def _down(moment: datetime, step: timedelta) -> datetime:
    return moment - (moment - _EPOCH) % step


def _up(moment: datetime, step: timedelta) -> datetime:
    return moment + (_EPOCH - moment) % step
