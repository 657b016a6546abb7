"""What a figure of days is on average, and whether it changed, each with an interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.common.statistics.student import t_chance, t_quantile

CONFIDENCE = 0.9
"""Of every interval here."""
LEAST_DAYS = 5
MEAN_STATISTIC = "mean of days, t interval with the days' first autocorrelation (Bayley and Hammersley 1946)"
LEAST_WEEKS_BEFORE, LEAST_WEEKS_AFTER, MOST_WEEKS_BEFORE = 3, 1, 8
EFFECT_STATISTIC = "means of whole weeks before and after, pooled t interval (Ibragimov and Mueller 2010)"
_LEAST_DAYS_OF_WEEK = 4
_MOST_AUTOCORRELATION = 0.8
_MOST_CHANCE = 0.999
Days = Sequence[float | None]
"""A value for each day, the oldest first; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its interval; `error` is its standard error."""

    value: float
    low: float
    high: float
    days: int
    error: float

    def chance_above(self, border: float) -> float:
        """How likely the true mean is above a border, at most .999."""
        if self.error == 0:
            return _MOST_CHANCE if self.value > border else 1 - _MOST_CHANCE
        chance = t_chance((self.value - border) / self.error, self.days - 1)
        return min(max(chance, 1 - _MOST_CHANCE), _MOST_CHANCE)


def mean_of_days(days: Days) -> Mean | None:
    """The mean of the days that are known; None with fewer than five.

    Days hang together: the standard error is as if there were n(1 - r)/(1 + r) of them,
    r being the first autocorrelation between 0 and .8 (Bayley and Hammersley: The
    "effective" number of independent observations in an autocorrelated time series,
    JRSS Suppl. 8, 1946). A rhythm of the week counts as scatter: it makes intervals
    wider than they need be.
    """
    known = [one for one in days if one is not None and math.isfinite(one)]
    count = len(known)
    if count < LEAST_DAYS:
        return None
    value = math.fsum(known) / count
    off = [one - value for one in known]
    scatter = math.fsum(one * one for one in off)
    if scatter <= 0:
        return Mean(value, value, value, count, 0.0)
    together = math.fsum(one * other for one, other in pairwise(off)) / scatter
    together = min(max(together, 0.0), _MOST_AUTOCORRELATION)
    error = math.sqrt(scatter / (count - 1) / count * (1 + together) / (1 - together))
    half = t_quantile((1 + CONFIDENCE) / 2, count - 1) * error
    return Mean(value, value - half, value + half, count, error)


@dataclass(frozen=True, slots=True)
class Effect:
    """By how much a figure's mean changed: `change` is after less before; a figure that is
    a harm got better where the whole interval lies below 0.
    """

    before: float
    after: float
    change: float
    low: float
    high: float
    weeks_before: int
    weeks_after: int

    @property
    def verdict(self) -> str:
        """better, worse, or not sure, of a figure of which less is better."""
        return "better" if self.high < 0 else "worse" if self.low > 0 else "not sure"


@dataclass(frozen=True, slots=True)
class TooLittle:
    """No effect can be told yet: what there is, and what is needed."""

    weeks_before: int
    weeks_after: int

    @property
    def needed(self) -> str:
        """In words."""
        return (
            f"{self.weeks_before} whole weeks before and {self.weeks_after} after are known; "
            f"{LEAST_WEEKS_BEFORE} and {LEAST_WEEKS_AFTER} are needed"
        )


def effect_of(before: Days, after: Days) -> Effect | TooLittle:
    """What changed between the days up to a moment and those from it on.

    Each whole week is one value, its mean, so that the rhythm of the week does not count
    and days may hang together within it: few groups, compared by t, keep their error
    rate then (Ibragimov and Mueller: t-Statistic Based Correlation and Heterogeneity
    Robust Inference, JBES 28, 2010). The variance is taken to be the same before and
    after, so one week after can be told. What else changed at that time, and a trend
    that there was before, are not told apart from it.
    """
    weeks_before = _weeks(list(before)[::-1])[:MOST_WEEKS_BEFORE]
    weeks_after = _weeks(list(after))
    count, other = len(weeks_before), len(weeks_after)
    if count < LEAST_WEEKS_BEFORE or other < LEAST_WEEKS_AFTER:
        return TooLittle(count, other)
    mean, mean_after = math.fsum(weeks_before) / count, math.fsum(weeks_after) / other
    squares = math.fsum((one - mean) ** 2 for one in weeks_before)
    squares += math.fsum((one - mean_after) ** 2 for one in weeks_after)
    freedom = count + other - 2
    error = math.sqrt(squares / freedom * (1 / count + 1 / other))
    half, change = t_quantile((1 + CONFIDENCE) / 2, freedom) * error, mean_after - mean
    return Effect(mean, mean_after, change, change - half, change + half, count, other)


def _weeks(days: list[float | None]) -> list[float]:
    """The mean of each whole week from the first day on, of those with four known days."""
    found = []
    for begin in range(0, len(days) - 6, 7):
        known = [one for one in days[begin : begin + 7] if one is not None and math.isfinite(one)]
        if len(known) >= _LEAST_DAYS_OF_WEEK:
            found.append(math.fsum(known) / len(known))
    return found
