"""How each way of forecasting would have done on the history itself.

Rolling origins (Tashman: Out-of-sample tests of forecasting accuracy, International
Journal of Forecasting 16, 2000): at each origin every model forecasts from what was
known then. Origins are 13 hours apart, so that they fall on all hours of the day.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.analyzer.forecast.domain.candidates import (
    BASELINES,
    MODELS,
    Fits,
    applicable,
)
from services.analyzer.forecast.domain.history import prepared
from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, HourlySeries

_STEP = 13
_MOST_ORIGINS = 36
_FIRST_SHORT, _FIRST_LONG = DAY, 2 * WEEK


@dataclass(frozen=True, slots=True, eq=False)
class Backtest:
    """What came at each origin and hour ahead, and what each model had said: arrays of
    float64, origins × hours, NaN where nothing came (yet).
    """

    came: Floats
    said: dict[str, Floats]

    @property
    def origins(self) -> int:
        """How many there were."""
        return len(self.came)

    def up_to(self, hours: int) -> "Backtest":
        """The same of so many hours ahead."""
        return Backtest(self.came[:, :hours], {name: one[:, :hours] for name, one in self.said.items()})

    def error(self, name: str, hours: int) -> float:
        """The mean absolute error up to so many hours ahead; NaN without any."""
        away = np.abs(self.came[:, :hours] - self.said[name][:, :hours])
        return float(np.nanmean(away)) if np.any(~np.isnan(away)) else float("nan")

    def best(self, names: Sequence[str], hours: int) -> str:
        """Whose error is least, of equals the first."""
        return min(names, key=lambda name: self.error(name, hours))


def backtest(series: HourlySeries, hours: int, fits: Fits) -> Backtest:
    """All that apply to the series, over its last weeks; no origin where it is shorter
    than a day and some hours.
    """
    origins = [one for one in _origins(len(series), hours) if series.before(one).known]
    baselines, models = applicable(len(series))
    names = [*baselines, *models]
    came = np.full((len(origins), hours), np.nan)
    said = {name: np.full((len(origins), hours), np.nan) for name in names}
    known = {**BASELINES, **MODELS}
    for row, origin in enumerate(origins):
        past, ahead = prepared(series.before(origin)), series.slots[origin : origin + hours]
        came[row, : len(ahead)] = series.values[origin : origin + hours]
        for name in names:
            if name == "combined":
                continue
            said[name][row, : len(ahead)] = known[name](past, ahead, fits)
    if "combined" in said:
        said["combined"] = (said["dynamic"] + said["cells"]) / 2
    return Backtest(came, said)


def _origins(length: int, hours: int) -> list[int]:
    """The newest last. The first leaves enough to learn from: two weeks where there are
    four, a half of what there is otherwise.
    """
    first = max(_FIRST_SHORT, min(_FIRST_LONG, length // 2))
    if first % WEEK and first > WEEK:
        first = max(WEEK + DAY, first)
    last = length - min(hours, DAY)
    every = _STEP if length >= 4 * DAY else 3
    return list(range(last, first - 1, -every))[:_MOST_ORIGINS][::-1]
