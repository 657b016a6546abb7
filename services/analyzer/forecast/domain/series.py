"""A series by the hour, as forecasts and anomalies read it.

Hours are numbered since 1970 in UTC, so none is missing or doubled when clocks change.
What is usual depends on the hour of the week as people have it: `slots` are local hours
of the week, and seasons follow them through a change of clocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
Kind = Literal["count", "amount"]

DAY, WEEK = 24, 168
MOST_HOURS = 26 * WEEK
_MOST = 1e15


@dataclass(frozen=True, slots=True, eq=False)
class HourlySeries:
    """`values` one an hour from `first_hour` on, NaN where nothing is known; `slots` the
    local hour of the week (0: Monday, midnight) of each; `rejected` counts the values
    that could not be (endless, negative, beyond 1e15) and are unknown for that.
    """

    name: str
    kind: Kind
    first_hour: int
    values: Floats
    slots: Whole
    zone: str = "UTC"
    rejected: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def before(self, place: int) -> "HourlySeries":
        """What was known at that place."""
        return replace(self, values=self.values[:place], slots=self.slots[:place])

    @property
    def known(self) -> int:
        """In how many hours something is known."""
        return int(np.count_nonzero(~np.isnan(self.values)))

    @property
    def next_hour(self) -> int:
        """The first hour after the last."""
        return self.first_hour + len(self.values)


def series_of(
    name: str, values: Floats, *, first_hour: int, kind: Kind = "count", zone: str = "UTC"
) -> HourlySeries:
    """A series of what is given; of more than half a year the newest. Hours before the
    first known one are left out.

    Raises:
        ValueError: `values` has more than one dimension, or the zone is not known.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1:
        raise ValueError(f"series {name!r} has {given.ndim} dimensions; give one value an hour")
    first_hour, given = first_hour + max(0, len(given) - MOST_HOURS), given[-MOST_HOURS:]
    with np.errstate(invalid="ignore"):
        wrong = np.isinf(given) | (given < 0) | (given > _MOST)
    usable = np.where(wrong, np.nan, given)
    known = np.flatnonzero(~np.isnan(usable))
    begin = int(known[0]) if len(known) else len(usable)
    usable, first_hour = usable[begin:], first_hour + begin
    slots = slots_of(first_hour, len(usable), zone)
    return HourlySeries(name, kind, first_hour, usable, slots, zone, int(np.count_nonzero(wrong)))


def series_of_events(
    name: str,
    by_hour: Mapping[int, float],
    *,
    hours: range,
    unknown: frozenset[int] = frozenset(),
    kind: Kind = "count",
    zone: str = "UTC",
) -> HourlySeries:
    """A series of what the store sums by hour. An hour without a row is **zero**: what is
    summed are events, and there were none. It is unknown only where the caller knows
    that nothing was recorded then (the platform was down): such hours are `unknown`.
    """
    values = [np.nan if hour in unknown else float(by_hour.get(hour, 0.0)) for hour in hours]
    return series_of(name, np.array(values), first_hour=hours.start, kind=kind, zone=zone)


def slots_of(first_hour: int, count: int, zone: str) -> Whole:
    """The local hour of the week of `count` hours.

    Raises:
        ValueError: the zone is not known.
    """
    hours = first_hour + np.arange(count, dtype=np.int64)
    if zone == "UTC":
        return (hours + 3 * DAY) % WEEK  # 1970 began on a Thursday
    try:
        place = ZoneInfo(zone)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"time zone {zone!r} is not known; name one as Europe/Paris") from error
    local = [datetime.fromtimestamp(int(hour) * 3600, UTC).astimezone(place) for hour in hours]
    return np.array([one.weekday() * DAY + one.hour for one in local], dtype=np.int64)
