"""Whether the forecast is worth anything: held against what came, and against saying
that it will be as a day or a week ago.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.statistics.hourly_counts import fit, forecast

_DAY, _WEEK = 24, 168
_LEAST_HISTORY = 3 * _DAY


@dataclass(frozen=True, slots=True)
class Backtest:
    """Over `days` days, each forecast from what was known the night before.

    `error` is the mean absolute error of the medians, `naive_error` that of the better
    of the two naive forecasts (`naive`: day or week); `covered` the share of hours
    within their interval, which is to be .8 or a little more, as counts are whole.
    """

    days: int
    error: float
    naive: str
    naive_error: float
    covered: float

    @property
    def skill(self) -> float:
        """The share of the naive error that the forecast saves; below 0 it is worse."""
        return 1 - self.error / self.naive_error if self.naive_error > 0 else 0.0


def backtest(counts: Sequence[int], first_hour: int, *, days: int = 14) -> Backtest | None:
    """The last `days` days forecast one by one; None where fewer than three days and
    one to be forecast are there.
    """
    days = min(days, (len(counts) - _LEAST_HISTORY) // _DAY)
    if days < 1:
        return None
    errors: list[float] = []
    naive: dict[str, list[float]] = {"day": [], "week": []}
    covered = 0
    for day in range(days, 0, -1):
        begin = len(counts) - day * _DAY
        for ahead, expected in enumerate(forecast(fit(counts[:begin], first_hour), _DAY)):
            came = counts[begin + ahead]
            errors.append(abs(came - expected.median))
            covered += expected.low <= came <= expected.high
            naive["day"].append(abs(came - counts[begin + ahead - _DAY]))
            if begin >= _WEEK:
                naive["week"].append(abs(came - counts[begin + ahead - _WEEK]))
    means = {name: sum(one) / len(one) for name, one in naive.items() if len(one) == len(errors)}
    best = min(means, key=lambda name: means[name])
    return Backtest(days, sum(errors) / len(errors), best, means[best], covered / len(errors))
