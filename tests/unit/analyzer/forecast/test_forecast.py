"""Forecasts of series with a known structure, and of hostile ones."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.analyzer.forecast.domain.backtest import backtest
from services.analyzer.forecast.domain.candidates import Fits, intermittent
from services.analyzer.forecast.domain.forecast import Forecast, forecast
from services.analyzer.forecast.domain.history import prepared
from services.analyzer.forecast.domain.intervals import spread_of
from services.analyzer.forecast.domain.series import DAY, WEEK, Floats, series_of, slots_of
from tests.benchmarks.analytics.histories import FIRST, counts, office

HOSTILE = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, -5.0, 1e300, 1e15, 0.0, 5e-324]),
    st.floats(0, 1e6),
)


def of(values: Floats, hours: int = DAY, **more: str) -> Forecast:
    """A forecast of a count."""
    return forecast(series_of("requests", values, first_hour=FIRST, **more), hours)  # type: ignore[arg-type]


def medians(found: Forecast) -> Floats:
    """As an array."""
    return np.array([one.median for one in found.expected])


def working_week(seed: int, mean: float, weeks: int = 5, zone: str = "UTC", swing: float = 0.8) -> Floats:
    """Office hours, scattered."""
    slots = slots_of(FIRST, weeks * WEEK, zone)
    return counts(np.random.default_rng(seed), mean * office(slots, swing), 30)


@settings(max_examples=40, deadline=None)
@given(st.lists(HOSTILE, max_size=150), st.sampled_from(["count", "amount"]), st.sampled_from([1, 24, 168]))
def test_forecast_of_any_series_is_finite_ordered_and_never_negative(
    values: list[float], kind: str, hours: int
) -> None:
    """Or it is refused with a note."""
    found = forecast(series_of("x", np.array(values), first_hour=FIRST, kind=kind), hours)  # type: ignore[arg-type]
    assert len(found.expected) in (0, hours)
    assert found.expected or found.notes
    for one in found.expected:
        ordered = [0.0, one.low95, one.low80, one.median, one.high80, one.high95]
        assert all(map(math.isfinite, ordered))
        assert ordered == sorted(ordered)


def test_forecast_of_the_same_series_is_the_same() -> None:
    """Nothing is drawn."""
    values = working_week(1, 20)
    assert repr(of(values)) == repr(of(values))


def test_forecast_beats_the_naive_one_and_its_intervals_hold() -> None:
    """On a working week, of what it has not seen."""
    values = working_week(2, 50, weeks=6)
    found, came = of(values[:-WEEK], WEEK), values[-WEEK:]
    naive = values[-2 * WEEK : -WEEK]
    assert found.beats_baseline
    assert np.mean(np.abs(came - medians(found))) < 0.9 * np.mean(np.abs(came - naive))
    within = [one.low80 <= value <= one.high80 for one, value in zip(found.expected, came, strict=True)]
    assert 0.7 < np.mean(within) < 0.97
    assert 0.7 < found.trust.coverage80 < 0.95 <= found.trust.coverage95


def test_forecast_no_better_than_the_naive_one_says_so_and_gives_it() -> None:
    """A week that comes again exactly cannot be forecast better."""
    week = np.random.default_rng(3).integers(0, 900, WEEK).astype(float)
    found = of(np.tile(week, 5), WEEK)
    assert not found.beats_baseline
    assert found.method == found.baseline == "same_hour_of_week"
    assert medians(found).tolist() == week.tolist()
    assert any("naive" in note for note in found.notes)


def test_forecast_of_a_constant_is_the_constant_without_width() -> None:
    """All equal."""
    found = of(np.full(4 * WEEK, 7.0))
    assert {(one.low95, one.median, one.high95) for one in found.expected} == {(7.0, 7.0, 7.0)}
    assert of(np.zeros(4 * WEEK)).total == 0


def test_forecast_with_too_little_history_is_refused_with_what_is_needed() -> None:
    """A day for the next day, three for the next week."""
    refused = of(np.ones(23))
    assert (refused.expected, refused.method) == ((), "none")
    assert "24 are needed" in refused.notes[0]
    assert of(np.ones(60), WEEK).expected == ()
    assert of(np.full(100, np.nan)).expected == ()
    assert len(of(np.ones(24)).expected) == DAY


def test_forecast_of_a_short_history_says_what_it_cannot_know() -> None:
    """No time of day under two days, no weekend under two weeks."""
    assert any("time of day" in note for note in of(working_week(4, 50)[:40]).notes)
    assert any("weekends" in note for note in of(working_week(4, 50)[: 6 * DAY]).notes)
    assert not any("weekends" in note for note in of(working_week(4, 50)).notes)


def test_forecast_follows_a_new_level_within_two_days() -> None:
    """What came before it is half of it."""
    values = working_week(5, 100)
    values[-2 * DAY :] *= 2
    truth = 200 * office(slots_of(FIRST + len(values), DAY, "UTC"))
    assert medians(of(values)).sum() == pytest.approx(truth.sum(), rel=0.25)


def test_forecast_forgets_an_incident_of_yesterday() -> None:
    """An hour of fifty times the usual is not expected again."""
    values = working_week(6, 100)
    calm = medians(of(values))
    values[-20:-18] *= 50
    assert medians(of(values)).sum() == pytest.approx(calm.sum(), rel=0.15)


def test_forecast_keeps_to_the_clock_when_it_changes() -> None:
    """Paris puts it on at FIRST + 5 days: with its zone the rush stays where people are."""
    values = working_week(7, 100, weeks=6, zone="Europe/Paris", swing=0.95)
    begin = 3 * WEEK
    first = FIRST - begin
    values = counts(
        np.random.default_rng(7), 100 * office(slots_of(first, begin + 6 * DAY, "Europe/Paris"), 0.95), 60
    )
    truth = 100 * office(slots_of(first + len(values), DAY, "Europe/Paris"), 0.95)
    errors = {
        zone: np.abs(medians(forecast(series_of("x", values, first_hour=first, zone=zone))) - truth).mean()
        for zone in ("UTC", "Europe/Paris")
    }
    assert errors["Europe/Paris"] < errors["UTC"]


def test_forecast_with_a_tenth_unknown_is_about_the_same() -> None:
    """Gaps are filled to learn from, never counted as nothing."""
    values = working_week(8, 100)
    whole = medians(of(values)).sum()
    gaps = np.where(np.random.default_rng(8).random(len(values)) < 0.1, np.nan, values)
    found = of(gaps)
    assert medians(found).sum() == pytest.approx(whole, rel=0.1)
    assert found.unknown_hours > 40


def test_intermittent_demand_is_crostons_corrected_by_syntetos_and_boylan() -> None:
    """Demand of 10 each tenth hour: its rate, less half of the smoothing weight."""
    values = np.zeros(40 * DAY)
    values[9::10] = 10
    history = prepared(series_of("x", values, first_hour=0))
    exact = 10 / 10 * (1 - 0.05 / 2)
    history.values[:] = values
    assert intermittent(history, np.arange(3), Fits()).tolist() == pytest.approx([exact] * 3)


def test_backtest_never_sees_what_comes_after_its_origin() -> None:
    """Whatever becomes of the last day changes no forecast made before it."""
    values = working_week(9, 100)
    other = values.copy()
    other[-DAY:] = 90_000
    tried = [backtest(series_of("x", one, first_hour=FIRST), DAY, Fits()) for one in (values, other)]
    for name in tried[0].said:
        assert np.array_equal(tried[0].said[name], tried[1].said[name], equal_nan=True), name
        assert np.isfinite(tried[0].said[name]).all()
    assert tried[0].origins > 20


def test_intervals_are_never_narrower_farther_ahead() -> None:
    """However the errors of a stretch happened to be."""
    chance = np.random.default_rng(10)
    said = np.full((30, WEEK), 100.0)
    came = said + chance.normal(0, np.linspace(30, 5, WEEK), (30, WEEK))
    low, high = spread_of(came, said, 1.0).interval(np.full(WEEK, 100.0), 0.8)
    widths = high - low
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(widths))


@pytest.mark.parametrize("hours", [0, 169, -1])
def test_forecast_beyond_a_week_is_refused(hours: int) -> None:
    """With what may be asked."""
    with pytest.raises(ValueError, match="1 to 168"):
        of(np.ones(500), hours)
