"""The ways in which a series may go on. Which one is believed is decided by a backtest.

Each takes a history and the hours of the week that are to be forecast, and gives the
median of each hour. MSTL with ETS, Theta and Holt-Winters were measured and left out:
docs/adr/0028-forecasts-anomalies-capacity.md.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from services.analyzer.forecast.domain.history import History
from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, Whole
from services.analyzer.statistics.hourly_counts import Fitted, fit

_HALF_LIFE_HOURS = 14 * 24.0
_CELL_PRIOR = 1.0
_LEVEL_WEIGHTS = (0.005, 0.02, 0.05, 0.1, 0.3)
_SBA_WEIGHT = 0.05
_SCALE_TO = 200.0


@dataclass
class Fits:
    """What was learnt of a series once and need not be learnt at each origin."""

    dynamic: Fitted | None = field(default=None)


Model = Callable[[History, Whole, Fits], Floats]


def same_hour_of_day(history: History, ahead: Whole, _: Fits) -> Floats:
    """Seasonal-naive by the day: as it was at this hour the last time."""
    return _last_of(history, history.slots % DAY, ahead % DAY)


def same_hour_of_week(history: History, ahead: Whole, _: Fits) -> Floats:
    """Seasonal-naive by the week."""
    return _last_of(history, history.slots, ahead)


def level(history: History, ahead: Whole, _: Fits) -> Floats:
    """Simple exponential smoothing, its weight by one-step errors (Hyndman, Athanasopoulos:
    Forecasting, 3rd edition, section 8.1).
    """
    tried = [_smoothed(history.values, weight) for weight in _LEVEL_WEIGHTS]
    return np.full(len(ahead), min(tried)[1])


def intermittent(history: History, ahead: Whole, _: Fits) -> Floats:
    """Croston's method as Syntetos and Boylan corrected it (2005): size of a demand over
    the hours between two, times 1 - weight / 2. For counts that are zero mostly.
    """
    places = np.flatnonzero(history.values > 0)
    if not len(places):
        return np.zeros(len(ahead))
    size, between = float(history.values[places[0]]), len(history) / len(places)
    for before, place in itertools.pairwise(places):
        size += _SBA_WEIGHT * (float(history.values[place]) - size)
        between += _SBA_WEIGHT * (float(place - before) - between)
    return np.full(len(ahead), (1 - _SBA_WEIGHT / 2) * size / max(between, 1.0))


def dynamic(history: History, ahead: Whole, fits: Fits) -> Floats:
    """Counts around a level that moves, times what is usual: services.analyzer.statistics.
    Amounts are counted in steps.
    """
    unit = history.unit
    top = float(np.mean(history.values)) / unit
    scale = unit * max(1.0, top / _SCALE_TO)
    counts = (history.values / scale).tolist()
    fitted = fit(counts, history.first_hour, slots=history.slots.tolist(), alike=fits.dynamic)
    fits.dynamic = fits.dynamic or fitted
    base = fitted.shape / fitted.exposure * scale
    return base * np.array(fitted.seasons)[ahead]


def cells(history: History, ahead: Whole, _: Fits) -> Floats:
    """Each hour of the week of its own, drawn to its hour of the day where little is
    known, on the scale of square roots, with a level that moves.
    """
    roots = np.sqrt(history.values)
    weights = 0.5 ** (np.arange(len(roots))[::-1] / _HALF_LIFE_HOURS)
    by_hour = _means(roots, weights, history.slots % DAY, DAY, 0.0)
    rest = roots - by_hour[history.slots % DAY]
    by_slot = _means(rest, weights, history.slots, WEEK, _CELL_PRIOR)
    rest = rest - by_slot[history.slots]
    moved = min(_smoothed(rest, weight) for weight in _LEVEL_WEIGHTS)[1]
    found: Floats = np.maximum(0.0, by_hour[ahead % DAY] + by_slot[ahead] + moved) ** 2
    return found


def combined(history: History, ahead: Whole, fits: Fits) -> Floats:
    """The mean of the last two (Bates, Granger: The Combination of Forecasts, 1969)."""
    return (dynamic(history, ahead, fits) + cells(history, ahead, fits)) / 2


BASELINES: dict[str, Model] = {
    "same_hour_of_day": same_hour_of_day,
    "same_hour_of_week": same_hour_of_week,
}
MODELS: dict[str, Model] = {
    "level": level,
    "intermittent": intermittent,
    "dynamic": dynamic,
    "cells": cells,
    "combined": combined,
}


def applicable(hours: int) -> tuple[list[str], list[str]]:
    """Baselines and models for a history of so many hours: seasons need two of them."""
    baselines = [
        name for name, least in (("same_hour_of_day", DAY), ("same_hour_of_week", WEEK)) if hours >= least
    ]
    models = list(MODELS) if hours >= 2 * DAY else ["level"]
    return baselines, models


def _last_of(history: History, parts: Whole, ahead: Whole) -> Floats:
    """The last value as it was seen of each part of a cycle; the last of all where a part
    was never seen.
    """
    values = np.where(np.isnan(history.seen), history.values, history.seen)
    size = int(max(parts.max(), ahead.max())) + 1
    last = np.full(size, values[-1])
    last[parts] = values
    return last[ahead]


def _smoothed(values: Floats, weight: float) -> tuple[float, float]:
    """The mean squared one-step error after the first day, and the last level."""
    found, errors = float(values[0]), 0.0
    for place, value in enumerate(values.tolist()):
        error = value - found
        errors += error * error if place >= DAY else 0.0
        found += max(weight, 1 / (place + 1)) * error
    return errors, found


def _means(values: Floats, weights: Floats, parts: Whole, size: int, prior: float) -> Floats:
    """The weighted mean of each part; of a part that was never seen the mean of all (0
    with a prior, which draws to 0).
    """
    weighed = np.bincount(parts, weights * values, minlength=size)
    weight = np.bincount(parts, weights, minlength=size)
    overall = 0.0 if prior else float(np.average(values, weights=weights))
    seen = weight + prior > 0
    return np.where(seen, weighed / np.where(seen, weight + prior, 1.0), overall)
