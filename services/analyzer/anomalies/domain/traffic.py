"""The anomalies of a subject's traffic (the platform, a tenant, a model), over all figures.

Each figure is judged by itself, then all together by the joint model, which is trained
anew for each day on what was known before it. An incident is told once: tokens are held
against what so many requests usually take, cost against what so many tokens usually
cost, since more requests with more tokens that cost more are no three anomalies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from services.analyzer.anomalies.domain.detector import Judged, Rules, Side, judge, unit_of
from services.analyzer.anomalies.domain.drivers import expected_of_shares, explain
from services.analyzer.anomalies.domain.episodes import Episode, episodes_of, merged
from services.analyzer.anomalies.domain.joint import JointModel, JointScore, deviations, score, train
from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, HourlySeries, series_of

Method = Literal["seasonal", "joint"]
Sums = Mapping[str, Floats]
"""By name (`SUMS`) one value an hour."""

SUMS = ("requests", "failed", "tokens", "cost_usd", "duration_s", "threats")
JOINT = "joint"
_SUM_OF: Mapping[str, str] = {"errors": "failed", "latency_s": "duration_s"}
_EXPOSURE: Mapping[str, str] = {"errors": "requests", "tokens": "requests", "cost_usd": "tokens"}
_SPREAD = 2.0
"""Tokens of requests scatter about as an exponential: so many means is what one counts."""
_TOGETHER = ("requests", "tokens", "cost_usd", "errors", "latency_s")
_LEAST_FOR_MEAN = 5
_JOINT_RULES = Rules(begin=4.0, end=2.0)
_USUAL_HOURS = 4 * WEEK
_MOST_OF_FIGURES = 3


@dataclass(frozen=True, slots=True)
class Driver:
    """Part of an anomaly: `value` of a dimension (tenant, model) made `share` of the
    change. Of the dimension `figure`, where figures do not fit each other, observed and
    expected are in robust standard deviations from what is usual.
    """

    dimension: str
    value: str
    observed: float
    expected: float
    share: float


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An episode and how it was found. Of the joint model `observed` is the squared
    distance of its worst hour, `expected` the median of the hours learnt from, `high`
    their 99.5th percentile.
    """

    method: Method
    episode: Episode
    drivers: tuple[Driver, ...] = ()


@dataclass(eq=False)
class Traffic:
    """A subject's hours from `first_hour` on. `parts` are the same sums of each tenant and
    model of it, by dimension and value.
    """

    sums: Sums
    first_hour: int
    zone: str = "UTC"
    parts: Mapping[str, Mapping[str, Sums]] = field(default_factory=dict)

    def series(self, figure: str) -> HourlySeries:
        """A figure: requests, tokens, cost_usd, threats, errors, latency_s (the mean of an
        hour with five requests and more; of fewer it is unknown).
        """
        if figure == "latency_s":
            requests = self.sums["requests"]
            enough = requests >= _LEAST_FOR_MEAN
            values = np.where(enough, self.sums["duration_s"] / np.maximum(requests, 1), np.nan)
        else:
            values = self.sums[_SUM_OF.get(figure, figure)]
        is_count = figure in ("requests", "threats", "errors")
        return series_of(
            figure, values, first_hour=self.first_hour, kind="count" if is_count else "amount", zone=self.zone
        )


def anomalies_of(traffic: Traffic, *, since: int) -> tuple[Anomaly, ...]:
    """Those that last beyond hour `since`, in the order in which they were found."""
    judged: dict[str, list[Judged]] = {}
    found: dict[str, list[Episode]] = {}
    for figure in ("requests", "tokens", "cost_usd", "errors", "latency_s", "threats"):
        judged[figure], found[figure] = _seasonal(traffic, figure)
    found["threats"] = [one for one in found["threats"] if not _is_implied(one, found["requests"])]
    every = [one for episodes in found.values() for one in episodes]
    told = [Anomaly("seasonal", one, _drivers(traffic, one)) for one in every if one.last >= since]
    told += [
        one
        for one in _joint(traffic, judged, since)
        if not any(_overlap(one.episode, other) for other in every)
    ]
    return tuple(sorted(told, key=lambda one: (one.episode.found, one.episode.name)))


def _seasonal(traffic: Traffic, figure: str) -> tuple[list[Judged], list[Episode]]:
    """Each hour of one figure, and the episodes that they make."""
    series, rules, exposure = traffic.series(figure), Rules(), None
    if figure in _EXPOSURE:
        exposure = traffic.sums[_EXPOSURE[figure]][-len(series) :] if len(series) else series.values
    judged = judge(series, rules, exposure=exposure, unit=_unit(traffic, figure))
    return judged, list(episodes_of(series, judged, rules, with_drifts=exposure is None))


def _is_implied(one: Episode, requests: Sequence[Episode]) -> bool:
    """Where nobody asks, nobody attacks."""
    return one.side == "below" and any(other.side == "below" and _overlap(one, other) for other in requests)


def _overlap(one: Episode, other: Episode) -> bool:
    return one.first <= other.last and other.first <= one.last


def _drivers(traffic: Traffic, episode: Episode) -> tuple[Driver, ...]:
    """Tenants and models that made the change, held against their usual shares of the
    four weeks before.
    """
    name = _SUM_OF.get(episode.name, episode.name)
    first = episode.first if episode.kind != "drift" else episode.last - WEEK + 1
    begin, end = first - traffic.first_hour, episode.last + 1 - traffic.first_hour
    came = _by_value(traffic, name, begin, end)
    usual = _by_value(traffic, name, max(0, begin - _USUAL_HOURS), begin)
    total = episode.total_expected
    if episode.name == "latency_s":  # seconds in all, as these add up
        total *= float(np.nansum(traffic.sums["requests"][begin:end])) / max(1, end - begin)
    expected = {dimension: expected_of_shares(total, shares) for dimension, shares in usual.items()}
    return tuple(
        Driver(one.dimension, each.value, each.observed, each.expected, each.share)
        for one in explain(came, expected)
        for each in one.contributions
    )


def _by_value(traffic: Traffic, name: str, begin: int, end: int) -> dict[str, dict[str, float]]:
    return {
        dimension: {value: float(np.sum(sums[name][max(0, begin) : end])) for value, sums in values.items()}
        for dimension, values in traffic.parts.items()
    }


def _joint(traffic: Traffic, judged: Mapping[str, list[Judged]], since: int) -> list[Anomaly]:
    """Hours whose figures do not fit each other, merged into episodes."""
    names = [one for one in _TOGETHER if np.any(traffic.series(one).values > 0)]
    if len(names) < 2:
        return []
    hours, rows = _deviations(traffic, names, judged)
    scored: list[tuple[Judged, JointScore]] = []
    for day in sorted({hour // DAY for hour in hours if hour >= since - DAY}):
        known = rows[[place for place, hour in enumerate(hours) if hour < day * DAY]]
        model = train(names, known, trained_hour=day * DAY) if len(known) else None
        if model is not None:
            scored += [
                (_as_judged(hour, one, model), one)
                for place, hour in enumerate(hours)
                if hour // DAY == day and (one := score(model, rows[place].tolist())) is not None
            ]
    by_hour = {one.hour: found for one, found in scored}
    episodes = merged(JOINT, [one for one, _ in scored], _JOINT_RULES)
    return [Anomaly("joint", one, _figures(by_hour[one.peak_hour])) for one in episodes if one.last >= since]


def _deviations(
    traffic: Traffic, names: Sequence[str], judged: Mapping[str, list[Judged]]
) -> tuple[list[int], Floats]:
    """Hours in which all figures were judged, and how far each lay from what was expected."""
    by_figure = {name: {one.hour: one for one in judged[name]} for name in names}
    hours = sorted(set.intersection(*[set(one) for one in by_figure.values()]))
    columns = [
        deviations(
            np.array([by_figure[name][hour].observed for hour in hours]),
            np.array([by_figure[name][hour].expected for hour in hours]),
            _unit(traffic, name) or unit_of(traffic.series(name)),
        )
        for name in names
    ]
    return hours, np.column_stack(columns)


def _unit(traffic: Traffic, figure: str) -> float | None:
    """Of tokens and cost what a request makes of them; None: as `unit_of` has it."""
    if figure not in ("tokens", "cost_usd"):
        return None
    requests = float(np.sum(traffic.sums["requests"][: 2 * WEEK]))
    return _SPREAD * float(np.sum(traffic.sums[figure][: 2 * WEEK])) / max(1.0, requests) or None


def _as_judged(hour: int, one: JointScore, model: JointModel) -> Judged:
    side: Side = "above"
    usual, far = model.distances[0], model.distances[-2]
    return Judged(hour, one.distance, usual, 0.0, far, one.score, 1, one.distance, usual, side)


def _figures(one: JointScore) -> tuple[Driver, ...]:
    return tuple(
        Driver("figure", each.name, each.observed, each.expected, each.share)
        for each in one.drivers[:_MOST_OF_FIGURES]
        if math.isfinite(each.share) and each.share > 0
    )
