"""Anomalous hours merged into episodes, and slow drifts, which no single hour shows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from services.analyzer.anomalies.domain.detector import (
    LEARNING,
    Judged,
    Rules,
    Side,
    judge,
)
from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, HourlySeries

Kind = Literal["spike", "dip", "silence", "shift", "drift"]
_LONG = DAY
_DRIFT_LEAST, _DRIFT_SIGMAS = 0.35, 4.0
_DRIFT_BACK = 3 * WEEK


@dataclass(frozen=True, slots=True)
class Episode:
    """One anomaly. `found` is the hour in which it could first be told, `first` to `last`
    the hours that it covers; observed, expected and bounds are those of the hour with
    the highest score, `total_observed` and `total_expected` of the whole.
    """

    name: str
    kind: Kind
    side: Side
    found: int
    first: int
    last: int
    peak_hour: int
    observed: float
    expected: float
    low: float
    high: float
    score: float
    total_observed: float
    total_expected: float


def anomalies(
    series: HourlySeries, rules: Rules | None = None, *, exposure: Floats | None = None
) -> tuple[Episode, ...]:
    """All episodes of a series after its first two weeks, in the order in which they were
    found. A drift is told where no episode of the same side came in three weeks.

    Raises:
        ValueError: `exposure` is not as long as the series.
    """
    rules = rules or Rules()
    return episodes_of(series, judge(series, rules, exposure=exposure), rules, with_drifts=exposure is None)


def episodes_of(
    series: HourlySeries, judged: Sequence[Judged], rules: Rules, *, with_drifts: bool
) -> tuple[Episode, ...]:
    """The same, of hours that are judged already. Of a share there are no drifts: its sums
    follow the traffic.
    """
    found = merged(series.name, judged, rules)
    if with_drifts:
        found += [one for one in _drifts(series) if not _explained(one, found)]
    return tuple(sorted(found, key=lambda one: (one.found, one.first)))


def merged(name: str, judged: Sequence[Judged], rules: Rules) -> list[Episode]:
    """Hours from the first of score `begin` on, until more than `calm` hours (and the
    window that told last) have a score below `end`, or the side is another.
    """
    found: list[list[Judged]] = []
    until = -1
    for one in judged:
        running = bool(found) and one.hour <= until and one.side == found[-1][0].side
        if running and one.score >= rules.end:
            found[-1].append(one)
            until = one.hour + rules.calm + (one.window if one.score >= rules.begin else 1)
        elif one.score >= rules.begin:
            found.append([one])
            until = one.hour + rules.calm + one.window
    by_hour = {one.hour: one for one in judged}
    return [_episode(name, one, by_hour) for one in found]


def _episode(name: str, hours: list[Judged], by_hour: dict[int, Judged]) -> Episode:
    peak = max(hours, key=lambda one: (one.score, -one.hour))
    first, last = hours[0].hour - hours[0].window + 1, hours[-1].hour
    whole = [by_hour[hour] for hour in range(first, last + 1) if hour in by_hour]
    came, usual = sum(one.observed for one in whole), sum(one.expected for one in whole)
    return Episode(
        name,
        _kind(peak, last - first + 1),
        peak.side,
        hours[0].hour,
        first,
        last,
        peak.hour,
        peak.observed,
        peak.expected,
        peak.low,
        peak.high,
        peak.score,
        came,
        usual,
    )


def _kind(peak: Judged, hours: int) -> Kind:
    if peak.side == "below" and peak.window_observed == 0:
        return "silence"
    if hours >= _LONG:
        return "shift"
    return "spike" if peak.side == "above" else "dip"


def _drifts(series: HourlySeries) -> list[Episode]:
    """Weeks that differ from the one that ended two weeks before theirs began, by more
    than the changes between days of the same name let expect: once for each time that
    the border is crossed.
    """
    filled = np.where(np.isfinite(series.values), series.values, np.nan)
    days = len(filled) // DAY
    if days < 5 * 7:
        return []
    with np.errstate(invalid="ignore"):
        known = np.isfinite(filled[: days * DAY]).reshape(days, DAY)
        daily = (
            np.nansum(filled[: days * DAY].reshape(days, DAY), axis=1)
            * DAY
            / np.maximum(1, known.sum(axis=1))
        )
    found: list[Episode] = []
    above_border = False
    for day in range(4 * 7, days + 1):
        week, before = float(daily[day - 7 : day].sum()), float(daily[day - 28 : day - 21].sum())
        change = math.log((week + 1) / (before + 1))
        border = max(_DRIFT_LEAST, _DRIFT_SIGMAS * _daily_noise(daily[:day]), 5 / math.sqrt(before + 1))
        if abs(change) > border and not above_border and day * DAY >= LEARNING:
            found.append(_drift(series, day, week, before, abs(change) / border))
        above_border = abs(change) > (border if not above_border else border / 2)
    return found


def _daily_noise(daily: Floats) -> float:
    """The standard deviation of a week's mean log change, from day against same day."""
    changes = np.log(daily[7:] + 1) - np.log(daily[:-7] + 1)
    around = np.median(changes)
    usual = 1.4826 * float(np.median(np.abs(changes - around)))
    return max(usual, 0.5 * float(np.std(changes))) / math.sqrt(7)


def _drift(series: HourlySeries, day: int, week: float, before: float, size: float) -> Episode:
    last = series.first_hour + day * DAY - 1
    hourly, usual = week / WEEK, before / WEEK
    side: Side = "above" if week > before else "below"
    spread = math.exp(_DRIFT_LEAST)
    return Episode(
        series.name, "drift", side, last, last - 2 * WEEK + 1, last, last,
        hourly, usual, usual / spread, usual * spread, 5.0 * size, week, before,
    )  # fmt: skip


def _explained(drift: Episode, found: Sequence[Episode]) -> bool:
    return any(
        one.side == drift.side and drift.last - _DRIFT_BACK <= one.last and one.first <= drift.last
        for one in found
    )
