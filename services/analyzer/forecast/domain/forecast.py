"""The next hours of a series, with intervals, and how far they can be trusted.

    forecast(series_of("requests", values, first_hour=hour), hours=24)

A model must beat the better seasonal-naive forecast by two percent in the backtest;
otherwise the naive one is given, and `beats_baseline` says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.analyzer.forecast.domain.backtest import Backtest, backtest
from services.analyzer.forecast.domain.candidates import BASELINES, MODELS, Fits, applicable
from services.analyzer.forecast.domain.history import History, prepared
from services.analyzer.forecast.domain.intervals import covered, spread_of
from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, HourlySeries, Kind, slots_of

LEAST_HOURS, LEAST_FOR_WEEK = DAY, 3 * DAY
MARGIN = 0.98


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of an hour (its number since 1970): half of the times more than
    `median`, and between the bounds four times of five, nineteen of twenty.
    """

    hour: int
    median: float
    low80: float
    high80: float
    low95: float
    high95: float


@dataclass(frozen=True, slots=True)
class Trust:
    """How such forecasts did on the history: `error` and `baseline_error` are mean
    absolute errors, NaN where nothing could be tried; coverage is that of intervals
    made without the origin that they are judged by.
    """

    origins: int
    error: float
    baseline_error: float
    coverage80: float
    coverage95: float

    @property
    def relative_error(self) -> float:
        """The error over the baseline's: below 1 is better. 1 where both are perfect."""
        if self.baseline_error > 0:
            return self.error / self.baseline_error
        return 1.0 if self.error == 0 else math.inf if self.error > 0 else math.nan


@dataclass(frozen=True, slots=True)
class Forecast:
    """`expected` by hour, empty where there is none. `method` made it, `baseline` is the
    better seasonal-naive one. `notes` say in words what limits it.
    """

    name: str
    kind: Kind
    expected: tuple[Expected, ...]
    method: str
    baseline: str
    beats_baseline: bool
    trust: Trust
    known_hours: int
    unknown_hours: int
    rejected: int
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """The sum of the medians."""
        return sum(one.median for one in self.expected)


def forecast(series: HourlySeries, hours: int = DAY) -> Forecast:
    """The next `hours` (1 to 168).

    Raises:
        ValueError: `hours` is outside of it.
    """
    return forecasts(series, (hours,))[0]


def forecasts(series: HourlySeries, horizons: Sequence[int]) -> tuple[Forecast, ...]:
    """One for each horizon, by one backtest: what a model says of an hour does not depend
    on how many follow.

    Raises:
        ValueError: a horizon is not of 1 to 168 hours.
    """
    for hours in horizons:
        if not 1 <= hours <= WEEK:
            raise ValueError(f"{hours} hours cannot be forecast; ask for 1 to {WEEK}")
    possible = [one for one in horizons if series.known >= _least(one)]
    if not possible:
        return tuple([_too_few(series, hours) for hours in horizons])
    history, fits = prepared(series), Fits()
    tried = backtest(series, max(possible), fits)
    return tuple(
        [
            _forecast(series, hours, history, fits, tried.up_to(hours))
            if hours in possible
            else _too_few(series, hours)
            for hours in horizons
        ]
    )


def _least(hours: int) -> int:
    return LEAST_HOURS if hours <= DAY else LEAST_FOR_WEEK


def _too_few(series: HourlySeries, hours: int) -> Forecast:
    return _none(
        series, f"{series.known} known hours are too few for {hours} ahead; {_least(hours)} are needed"
    )


def _forecast(series: HourlySeries, hours: int, history: History, fits: Fits, tried: Backtest) -> Forecast:
    baselines, models = applicable(len(history))
    baseline, method = _chosen(tried, baselines, models, hours)
    ahead = slots_of(series.next_hour, hours, series.zone)
    median = {**BASELINES, **MODELS}[method](history, ahead, fits)
    spread = spread_of(tried.came, tried.said[method], history.unit)
    return Forecast(
        series.name,
        series.kind,
        _expected(series, median, [spread.interval(median, level) for level in (0.8, 0.95)]),
        method,
        baseline,
        method not in baselines,
        _trust(tried, method, baseline, hours, history),
        series.known,
        len(series) - series.known,
        series.rejected,
        _notes(series, history, method in baselines, hours),
    )


def _chosen(tried: Backtest, baselines: list[str], models: list[str], hours: int) -> tuple[str, str]:
    baseline = tried.best(baselines, hours)
    model = tried.best(models, hours)
    better = tried.error(model, hours) < MARGIN * tried.error(baseline, hours)
    return baseline, model if better else baseline


def _expected(
    series: HourlySeries, median: Floats, intervals: list[tuple[Floats, Floats]]
) -> tuple[Expected, ...]:
    """Bounds hold the median between them; those of counts are whole."""
    (low80, high80), (low95, high95) = intervals
    columns = [median, np.minimum(low80, median), np.maximum(high80, median), low95, high95]
    if series.kind == "count":
        columns = [median, *[np.rint(one) for one in columns[1:]]]
        columns[1], columns[2] = np.minimum(columns[1], median), np.maximum(columns[2], median)
    columns[3], columns[4] = np.minimum(columns[3], columns[1]), np.maximum(columns[4], columns[2])
    rows = np.column_stack(columns).tolist()
    return tuple([Expected(series.next_hour + place, *row) for place, row in enumerate(rows)])


def _trust(tried: Backtest, method: str, baseline: str, hours: int, history: History) -> Trust:
    came, said = tried.came, tried.said[method]
    return Trust(
        tried.origins,
        tried.error(method, hours),
        tried.error(baseline, hours),
        covered(came, said, history.unit, 0.8),
        covered(came, said, history.unit, 0.95),
    )


def _notes(series: HourlySeries, history: History, by_baseline: bool, hours: int) -> tuple[str, ...]:  # noqa: FBT001
    unknown = len(series) - series.known
    said = [
        (by_baseline, "no model was better than the naive forecast, which is given"),
        (len(series) < 2 * DAY, "less than two days are known: no time of day is in it"),
        (2 * DAY <= len(series) < 2 * WEEK, "less than two weeks are known: weekends may come as a surprise"),
        (
            hours > DAY and len(series) < 3 * WEEK,
            "less than three weeks are known: a week ahead was hardly tried",
        ),
        (unknown > 0, f"{unknown} hours of the history are unknown and were filled to learn from"),
        (
            history.shift != 1.0,
            f"the level of the last days is {history.shift:.2f} times what it was; it is taken to last",
        ),
        (history.capped > 0, f"{history.capped} unusual hours of the history were capped"),
        (series.rejected > 0, f"{series.rejected} values could not be and count as unknown"),
    ]
    return tuple([text for applies, text in said if applies])


def _none(series: HourlySeries, why: str) -> Forecast:
    nothing = Trust(0, math.nan, math.nan, math.nan, math.nan)
    unknown = len(series) - series.known
    return Forecast(
        series.name,
        series.kind,
        (),
        "none",
        "none",
        False,
        nothing,
        series.known,
        unknown,
        series.rejected,
        (why,),
    )
