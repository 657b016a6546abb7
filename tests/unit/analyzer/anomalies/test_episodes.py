"""Planted anomalies are found as what they are; hostile and quiet series are left alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analyzer.anomalies.domain.detector import Judged, Rules, judge
from services.analyzer.anomalies.domain.episodes import Episode, anomalies, merged
from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, series_of, slots_of
from tests.benchmarks.analytics.histories import FIRST, counts, office

AT = 4 * WEEK + 9
HOURS = 5 * WEEK
HOSTILE = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, -5.0, 1e300, 1e15, 0.0, 5e-324]), st.floats(0, 1e6)
)


def usual(mean: float, hours: int = HOURS, seed: int = 1) -> Floats:
    """Office hours."""
    return counts(np.random.default_rng(seed), mean * office(slots_of(FIRST, hours, "UTC")), 40)


def found(values: Floats, **more: str) -> tuple[Episode, ...]:
    """Episodes of requests."""
    return anomalies(series_of("requests", values, first_hour=FIRST, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("factor", "hours", "kind", "side"),
    [(4.0, 2, "spike", "above"), (0.15, 5, "dip", "below"), (0.0, 6, "silence", "below")],
)
def test_planted_anomaly_is_one_episode_of_its_kind(factor: float, hours: int, kind: str, side: str) -> None:
    """With what came, what was expected and the bounds, and nothing else is told."""
    values = usual(200)
    values[AT : AT + hours] = np.rint(values[AT : AT + hours] * factor)
    (one,) = found(values)
    assert (one.kind, one.side, one.name) == (kind, side, "requests")
    assert FIRST + AT <= one.found <= FIRST + AT + hours
    assert one.first <= one.peak_hour <= one.last
    assert one.observed == values[one.peak_hour - FIRST]
    assert not one.low <= one.observed <= one.high
    assert one.low < one.expected < one.high
    assert one.score >= Rules().begin


def test_quiet_outage_at_a_few_an_hour_is_found_by_its_length() -> None:
    """No single hour of it says anything: four an hour are none now and then."""
    values = usual(4)
    values[AT : AT + 16] = 0
    silent = [one for one in found(values) if one.kind == "silence"]
    assert len(silent) == 1
    assert FIRST + AT + 2 <= silent[0].found <= FIRST + AT + 14


def test_unknown_hours_are_no_silence() -> None:
    """The platform did not record: nothing is known of the traffic."""
    values = usual(200)
    values[AT : AT + 20] = np.nan
    assert found(values) == ()


def test_new_level_is_told_and_then_usual() -> None:
    """The episodes end within days, and later weeks are as expected."""
    values = usual(200, 7 * WEEK)
    values[AT:] *= 3
    episodes = found(values)
    assert episodes[0].side == "above"
    assert episodes[0].found <= FIRST + AT + 3
    assert max(one.last for one in episodes) < FIRST + AT + 8 * DAY


def test_slow_drift_is_told_once() -> None:
    """A doubling in five weeks, of which no day is unusual after the day before."""
    ramp = 2 ** np.clip((np.arange(10 * WEEK) - AT) / (5 * WEEK), 0, 1)
    values = counts(np.random.default_rng(2), 200 * ramp * office(slots_of(FIRST, 10 * WEEK, "UTC")), 80)
    drifts = [one for one in found(values) if one.kind == "drift"]
    assert len(drifts) == 1
    assert drifts[0].side == "above"
    assert FIRST + AT < drifts[0].found < FIRST + AT + 5 * WEEK


def test_share_of_errors_is_found_while_requests_rise_too() -> None:
    """Ten times the requests with ten times the errors is no change of the share."""
    chance = np.random.default_rng(3)
    requests = usual(500)
    requests[AT - 50 : AT - 47] *= 10
    failed = chance.binomial(requests.astype(int), 0.02).astype(float)
    errors = series_of("errors", failed, first_hour=FIRST)
    assert anomalies(errors, exposure=requests) == ()
    failed[AT : AT + 3] = np.rint(requests[AT : AT + 3] * 0.15)
    (one,) = anomalies(series_of("errors", failed, first_hour=FIRST), exposure=requests)
    assert (one.kind, one.found) == ("spike", FIRST + AT)


def test_weekly_job_is_usual_from_its_third_week_on() -> None:
    """What is anomalous at an hour of the week twice is expected there."""
    values = usual(100, 8 * WEEK)
    for week in range(3, 8):
        values[week * WEEK + 51] = 900
    told = [one.peak_hour - FIRST for one in found(values) if one.observed == 900]
    assert told == [3 * WEEK + 51, 4 * WEEK + 51]


def test_hour_is_judged_by_nothing_that_comes_after_it() -> None:
    """Whatever becomes of the last week."""
    values = usual(50)
    other = values.copy()
    other[-WEEK:] = 0
    before = judge(series_of("x", values, first_hour=FIRST), Rules())[: -(WEEK + DAY)]
    assert judge(series_of("x", other, first_hour=FIRST), Rules())[: len(before)] == before


@settings(max_examples=25, deadline=None)
@given(st.lists(HOSTILE, min_size=380, max_size=420), st.sampled_from(["count", "amount"]))
def test_any_series_gives_finite_episodes(values: list[float], kind: str) -> None:
    """NaN, endless, negative, huge, equal."""
    for one in found(np.array(values), kind=kind):
        assert all(map(math.isfinite, (one.observed, one.expected, one.low, one.high, one.score)))
        assert one.first <= one.found <= one.last
        assert 0 <= one.low <= one.high


@pytest.mark.parametrize("value", [0.0, 7.0, 1e9])
def test_constant_series_has_no_anomaly(value: float) -> None:
    """Nor has one without an hour."""
    assert found(np.full(HOURS, value)) == ()
    assert found(np.array([])) == ()


def test_exposure_of_another_length_is_refused() -> None:
    """With both lengths."""
    with pytest.raises(ValueError, match="3 hours of exposure for 840"):
        anomalies(series_of("errors", np.zeros(HOURS), first_hour=0), exposure=np.ones(3))


def hour(place: int, score: float, side: str = "above") -> Judged:
    """One that was judged so."""
    return Judged(place, 9, 3, 1, 5, score, 1, 9, 3, side)  # type: ignore[arg-type]


def test_hours_that_hover_around_the_border_are_one_episode() -> None:
    """Hysteresis: begun at 5 it lasts while 2 is reached, over pauses of three hours."""
    scores = [0, 5.5, 2.5, 1, 1, 3.0, 0, 0, 0, 0, 0, 3.0, 0, 6.0]
    rows = [hour(place, score) for place, score in enumerate(scores)]
    assert [(one.first, one.last) for one in merged("x", rows, Rules())] == [(1, 5), (13, 13)]


def test_sides_are_never_one_episode() -> None:
    """A rise after a fall is something else."""
    rows = [hour(0, 9, "below"), hour(1, 9, "above")]
    assert [one.side for one in merged("x", rows, Rules())] == ["below", "above"]
