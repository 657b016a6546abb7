"""Hours of one series that are not as they should be.

Each day is forecast from what was known before it, by the combined model of
services.analyzer.forecast.domain.candidates; hours that were found anomalous are
unknown to later days, so that an incident does not become usual. Held against what was
expected are the sums of the last 1, 3, 6, 12 and 24 hours: a quiet outage at two
requests an hour shows in six, not in one. The chance of such a sum, or one farther out,
is a negative binomial's, at low volume as at high; how much sums of so many hours
scatter is learnt from those before, robustly. The score is -log10 of the smallest chance.

A sum must also differ by a share (`Rules.least_change`): at a million an hour a percent
is sure, and of no interest.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from services.analyzer.forecast.domain.candidates import Fits, combined
from services.analyzer.forecast.domain.history import prepared
from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, HourlySeries
from services.analyzer.statistics.negative_binomial import log10_lower_tail, log10_tail

Side = Literal["above", "below"]
WINDOWS = (1, 3, 6, 12, 24)
LEARNING = 2 * WEEK
_REMEMBERED = 4 * WEEK
_HISTORY = 6 * WEEK
_LEAST_PHI, _MOST_PHI, _FIRST_PHI = 0.002, 4.0, 0.1
_FEWEST = 0.02
_HIGHEST = 99.0
_MOSTLY = 0.6
_ROUNDS, _DOUBT = 8, 1.1


@dataclass(frozen=True, slots=True)
class Rules:
    """An episode begins with a score of `begin` and lasts while it is `end` or more, with
    at most `calm` hours between that are not. `least_change` is the share by which a sum
    must differ; a new level is taken as usual once most of `adopt` hours are anomalous,
    and what is anomalous at an hour in two weeks on end is expected there from then on.
    """

    begin: float = 5.0
    end: float = 2.0
    calm: int = 3
    least_change: float = 0.25
    adopt: int = 48


@dataclass(frozen=True, slots=True)
class Judged:
    """An hour: what came and was expected, and the bounds that 95 % keep; the score of
    the most telling window that ends with it, how many hours that has, what came and
    was expected in it, and on which side it lies.
    """

    hour: int
    observed: float
    expected: float
    low: float
    high: float
    score: float
    window: int
    window_observed: float
    window_expected: float
    side: Side


@dataclass
class _State:
    """What is known while hours are judged one after the other. `learnt` has no value
    where an hour is anomalous; `told` hours have no part in later sums. `single` hours were
    anomalous by themselves, `recurring` ones of a week twice: as a week ago is usual there.
    """

    series: HourlySeries
    exposure: Floats | None
    unit: float
    learnt: Floats
    expected: Floats
    told: list[bool]
    fits: Fits = field(default_factory=Fits)
    single: set[int] = field(default_factory=set)
    recurring: set[int] = field(default_factory=set)
    sums: dict[int, list[tuple[float, float]]] = field(default_factory=lambda: {one: [] for one in WINDOWS})
    phi: dict[int, float] = field(default_factory=lambda: dict.fromkeys(WINDOWS, _FIRST_PHI))


def judge(
    series: HourlySeries, rules: Rules, *, exposure: Floats | None = None, unit: float | None = None
) -> list[Judged]:
    """Every known hour after the first two weeks, in order. Nothing that comes later has
    a part in how an hour is judged. With `exposure` (requests, of which the series
    counts the failed ones, or the tokens) the share is what is held against the usual.
    `unit` is what one event is (tokens of a request, say), where it is not `unit_of`.

    Raises:
        ValueError: `exposure` is not as long as the series.
    """
    if exposure is not None and len(exposure) != len(series):
        raise ValueError(f"{len(exposure)} hours of exposure for {len(series)} of {series.name!r}")
    state = _State(
        series,
        exposure,
        unit or unit_of(series),
        series.values.copy(),
        np.full(len(series), np.nan),
        [False] * len(series),
    )
    found: list[Judged] = []
    for begin in range(LEARNING - WEEK, len(series), DAY):
        end = min(len(series), begin + DAY)
        state.expected[begin:end] = _expected(state, begin, end)
        state.phi = {one: _phi(state.sums[one], state.unit) for one in WINDOWS}
        for place in range(begin, end):
            if place % WEEK in state.recurring and math.isfinite(series.values[place - WEEK]):
                state.expected[place] = series.values[place - WEEK]
            judged = _judged(state, place, rules)
            if judged is not None:
                _note(state, place, judged, rules)
                if place >= LEARNING:
                    found.append(judged)
    return found


def unit_of(series: HourlySeries) -> float:
    """One of a count; of amounts a fiftieth of the usual."""
    if series.kind == "count":
        return 1.0
    positive = series.values[series.values > 0]
    return float(np.median(positive[: 2 * WEEK])) / 50 if len(positive) else 1.0


def _expected(state: _State, begin: int, end: int) -> Floats:
    """A day, from what was learnt before it."""
    first = max(0, begin - _HISTORY)
    learnt = state.learnt[first:begin]
    if state.exposure is not None:
        given = state.exposure[first:begin]
        usable = np.isfinite(learnt) & np.isfinite(given) & (given > 0)
        events, of = float(np.sum(learnt[usable])), float(np.sum(given[usable]))
        if state.series.kind == "count":  # as if there had been one of a hundred
            events, of = events + 0.5, of + 50
        share = events / of if of else np.nan
        return np.asarray(share * state.exposure[begin:end], dtype=np.float64)
    if not np.any(np.isfinite(learnt)):
        return np.full(end - begin, np.nan)
    past = HourlySeries(
        state.series.name,
        state.series.kind,
        state.series.first_hour + first,
        learnt,
        state.series.slots[first:begin],
        state.series.zone,
    )
    return combined(prepared(past), state.series.slots[begin:end], state.fits)


def _phi(sums: list[tuple[float, float]], unit: float) -> float:
    """How far sums scatter beyond a Poisson's variance, over the squared mean: by moments
    weighted by their own variance (Breslow 1984), which small counts do not mislead.
    Deviations count as four standard ones at most.
    """
    if len(sums) < 2 * DAY:
        return _FIRST_PHI
    rows = np.array(sums)
    mean = np.maximum(rows[:, 1], _FEWEST * unit)
    away = (rows[:, 0] - mean) ** 2
    phi = _FIRST_PHI
    for _ in range(_ROUNDS):
        variance = unit * mean + phi * mean**2
        weight = mean**2 / variance**2
        beyond = np.minimum(away, 16 * variance) - unit * mean
        phi = float(np.sum(weight * beyond) / np.sum(weight * mean**2))
        phi = min(_MOST_PHI, max(_LEAST_PHI, _DOUBT * phi))
    return phi


def _judged(state: _State, place: int, rules: Rules) -> Judged | None:
    observed, expected = float(state.series.values[place]), float(state.expected[place])
    if not (math.isfinite(observed) and math.isfinite(expected)):
        return None
    best: tuple[float, int, float, float, Side] = (0.0, 1, observed, expected, "above")
    for window in WINDOWS:
        came, usual = _sums(state, place, window)
        side: Side = "above" if came > usual else "below"
        score = _score(came / state.unit, usual / state.unit, state.phi[window], rules)
        if score > best[0]:
            best = (score, window, came, usual, side)
    deviation = 1.96 * math.sqrt(state.unit * expected + state.phi[1] * expected**2)
    low, high = max(0.0, expected - deviation), expected + deviation
    score, window, came, usual, side = best
    return Judged(
        state.series.first_hour + place, observed, expected, low, high, score, window, came, usual, side
    )


def _sums(state: _State, place: int, window: int) -> tuple[float, float]:
    """What came and was expected in the window that ends here, of the hours that are
    known and were not told before.
    """
    came = usual = 0.0
    for one in range(max(0, place - window + 1), place + 1):
        value, expected = float(state.series.values[one]), float(state.expected[one])
        if (one == place or not state.told[one]) and math.isfinite(value) and math.isfinite(expected):
            came += value
            usual += expected
    return came, usual


def _score(came: float, usual: float, phi: float, rules: Rules) -> float:
    mean = max(usual, _FEWEST)
    if abs(came - mean) < rules.least_change * mean:
        return 0.0
    tail = log10_tail(came, 1 / phi, mean) if came > mean else log10_lower_tail(came, 1 / phi, mean)
    return min(_HIGHEST, max(0.0, -tail))


def _note(state: _State, place: int, judged: Judged, rules: Rules) -> None:
    if judged.score < rules.begin or place < LEARNING:
        if judged.score < rules.end:
            for window in WINDOWS:
                state.sums[window].append(_sums(state, place, window))
                del state.sums[window][:-_REMEMBERED]
        return
    since = place - judged.window + 1
    state.told[since : place + 1] = [True] * judged.window
    state.learnt[since : place + 1] = np.nan
    if place >= WEEK and judged.window == 1 and place - WEEK in state.single:
        state.recurring.add(place % WEEK)
    if judged.window == 1:
        state.single.add(place)
    recent = state.told[max(0, place - rules.adopt + 1) : place + 1]
    if sum(recent) >= _MOSTLY * rules.adopt:
        begin = max(0, place - 2 * rules.adopt)
        state.learnt[begin : place + 1] = state.series.values[begin : place + 1]
