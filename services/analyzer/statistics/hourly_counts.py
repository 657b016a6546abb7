"""How many events are usual at each hour of the week, and at what level they are now.

Counts are negative binomial around a level times what is usual at that hour of the day
and on that day of the week. The level is a Gamma rate that is discounted from hour to
hour (West, Harrison, Migon: Dynamic Generalized Linear Models and Bayesian Forecasting,
JASA 80, 1985), so that it follows a change within a day or so; how fast, and how
scattered the counts are, is chosen by what would have predicted the history best, hour
by hour (Dawid: The prequential approach, JRSS A 147, 1984).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from services.analyzer.statistics.negative_binomial import log_chance

HOURS_OF_WEEK = 168
_DISCOUNTS = (0.9, 0.97, 0.99, 0.995, 0.999)
_SHAPES = (0.5, 1.0, 2.0, 5.0, 20.0, 100.0)
_HALF_LIFE_HOURS = 14 * 24.0
_PRIOR_HOURS, _PRIOR_DAYS = 2.0, 8.0
_FIRST_HOURS = 48


@dataclass(frozen=True, slots=True)
class Fitted:
    """A history's model: `seasons` by hour of the week, the level's Gamma as it stands
    after the last hour, and how counts scatter.
    """

    seasons: tuple[float, ...]
    shape: float
    exposure: float
    discount: float
    scatter: float
    next_hour: int


def fit(
    counts: Sequence[float],
    first_hour: int,
    *,
    slots: Sequence[int] | None = None,
    alike: Fitted | None = None,
) -> Fitted:
    """The model of a history: a count for each hour, without a gap, the first being of
    `first_hour` since 1970. `slots` are the hours of the week where they are not UTC's;
    discount and scatter are taken from `alike`, the model of about the same history,
    where it is given, which is six times as fast.

    Raises:
        ValueError: there is no history, or a count is negative.
    """
    if not counts or min(counts) < 0:
        raise ValueError("a forecast needs the count of at least one hour, none of them negative")
    if slots is None:
        slots = [(first_hour + place) % HOURS_OF_WEEK for place in range(len(counts))]
    seasons = _seasons(counts, slots)
    usual = [seasons[slot] for slot in slots]
    best = (
        max(product(_DISCOUNTS, _SHAPES), key=lambda one: (_likelihood(counts, usual, *one), one))
        if alike is None
        else (alike.discount, alike.scatter)
    )
    shape, exposure = _level(counts, usual, best[0])[-1]
    return Fitted(seasons, shape, exposure, *best, first_hour + len(counts))


def _seasons(counts: Sequence[float], slots: Sequence[int]) -> tuple[float, ...]:
    """What is usual at each hour of the week, 1 being the mean: a factor of the hour of
    the day times one of the day of the week, both drawn to 1 where little is known. An
    outbreak of an hour counts as the 98th percentile.
    """
    most = sorted(counts)[int(0.98 * (len(counts) - 1))] + 1
    weights = [0.5 ** ((len(counts) - 1 - place) / _HALF_LIFE_HOURS) for place in range(len(counts))]
    capped = [min(count, most) for count in counts]
    mean = sum(map(float.__mul__, weights, map(float, capped))) / sum(weights)
    if mean <= 0:
        return (1.0,) * HOURS_OF_WEEK
    relative = [count / mean for count in capped]
    by_hour = _factors(relative, [1.0] * len(counts), weights, _Cycle(1, 24, _PRIOR_HOURS), slots)
    usual = [by_hour[slot % 24] for slot in slots]
    by_day = _factors(relative, usual, weights, _Cycle(24, 7, _PRIOR_DAYS), slots)
    return tuple([by_hour[hour % 24] * by_day[hour // 24 % 7] for hour in range(HOURS_OF_WEEK)])


@dataclass(frozen=True, slots=True)
class _Cycle:
    """Parts of `width` hours that come again after `length` of them; `prior` hours speak
    for no difference between them.
    """

    width: int
    length: int
    prior: float


def _factors(
    relative: Sequence[float],
    usual: Sequence[float],
    weights: Sequence[float],
    cycle: _Cycle,
    slots: Sequence[int],
) -> list[float]:
    """How much more than usual comes in each part of a cycle."""
    seen, expected = [cycle.prior] * cycle.length, [cycle.prior] * cycle.length
    for count, weight, season, slot in zip(relative, weights, usual, slots, strict=True):
        part = slot // cycle.width % cycle.length
        seen[part] += weight * count
        expected[part] += weight * season
    factors = [one / other for one, other in zip(seen, expected, strict=True)]
    scale = sum(factors) / cycle.length
    return [one / scale for one in factors]


def _level(counts: Sequence[float], usual: Sequence[float], discount: float) -> list[tuple[float, float]]:
    """The level's shape and exposure before each hour, and after the last."""
    shape, exposure = 1.0, 1.0 / (sum(counts) / len(counts) + 0.1)
    found = [(shape, exposure)]
    for count, season in zip(counts, usual, strict=True):
        shape, exposure = max(0.05, discount * shape + count), discount * exposure + season
        found.append((shape, exposure))
    return found


def _likelihood(counts: Sequence[float], usual: Sequence[float], discount: float, scatter: float) -> float:
    """The logarithm of the chance of the history, each hour predicted by those before;
    the first two days only teach, where there are more.
    """
    begin = min(_FIRST_HOURS, len(counts) // 2)
    levels = _level(counts, usual, discount)
    return math.fsum(
        log_chance(counts[place], shape / exposure * usual[place], _together(shape, scatter))
        for place, (shape, exposure) in enumerate(levels[:-1])
        if place >= begin
    )


def _together(shape: float, scatter: float) -> float:
    """The shape of counts that scatter around a level that is itself uncertain: squared
    coefficients of variation add up.
    """
    return 1 / (1 / shape + 1 / scatter)
