"""What is expected, held against other libraries and against what was drawn."""

import itertools
import math
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from services.common.statistics.hourly_counts import Fitted, fit, forecast
from services.common.statistics.negative_binomial import log_chance, quantile
from services.console.domain.threats import turning
from services.console.domain.threats.backtest import backtest
from services.console.domain.threats.turning import DAY_S, Example, Found, examples, features, learn
from services.console.read_models.threats import outlook_of
from tests.benchmarks.security.threats import _drawn, _histories, _season


@given(st.integers(0, 400), st.floats(0.01, 500), st.floats(0.1, 300))
def test_chance_is_scipys(count: int, mean: float, shape: float) -> None:
    """The same distribution by its own parameters."""
    expected = stats.nbinom.logpmf(count, shape, shape / (shape + mean))
    assert log_chance(count, mean, shape) == pytest.approx(float(expected), rel=1e-6, abs=1e-6)


@given(st.sampled_from([0.1, 0.5, 0.9]), st.floats(0.01, 1500), st.floats(0.3, 200))
def test_quantile_is_scipys(share: float, mean: float, shape: float) -> None:
    """To the count, but for rounding at a step."""
    expected = int(stats.nbinom.ppf(share, shape, shape / (shape + mean)))
    assert abs(quantile(share, mean, shape) - expected) <= 1


@pytest.mark.parametrize("mean", [2_500.0, 80_000.0])
def test_quantile_of_a_large_mean_is_near_scipys(mean: float) -> None:
    """It is not summed."""
    for share in (0.1, 0.5, 0.9):
        expected = float(stats.nbinom.ppf(share, 20, 20 / (20 + mean)))
        assert quantile(share, mean, 20) == pytest.approx(expected, rel=0.02)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=300), st.integers(0, 10**6))
def test_forecast_of_any_history_is_ordered_and_finite(counts: list[int], first: int) -> None:
    """Whatever came."""
    for one in forecast(fit(counts, first)):
        assert math.isfinite(one.mean)
        assert 0 <= one.low <= one.median <= one.high


def test_forecast_of_nothing_is_nothing() -> None:
    """A quiet fortnight."""
    assert all(one.high == 0 or one.mean < 0.1 for one in forecast(fit([0] * 336, 0)))


def test_forecast_knows_the_time_of_day_and_the_weekend() -> None:
    """By what the counts were drawn from."""
    chance = random.Random(5)
    counts = [_drawn(chance, 20 * _season(hour, 0.9), 10) for hour in range(6 * 168)]
    for one in forecast(fit(counts, 0), 168):
        assert one.mean == pytest.approx(20 * _season(one.hour, 0.9), rel=0.4, abs=3)


def test_forecast_is_wider_the_farther_it_looks() -> None:
    """The level is less known then."""
    found = forecast(Fitted((1.0,) * 168, 9.0, 1.0, 0.97, 100.0, 0), 168)
    widths = [one.high - one.low for one in found]
    assert all(later >= earlier - 1 for earlier, later in itertools.pairwise(widths))  # counts are whole
    assert widths[0] < widths[24] == widths[-1]
    assert {one.mean for one in found} == {9.0}


def test_backtest_beats_the_naive_forecast_and_covers_what_it_says() -> None:
    """On the benchmark's histories, all but one of which are scattered or seasonal."""
    for name, counts in _histories(random.Random(1)):
        found = backtest(counts, 0)
        assert found is not None
        assert found.skill > 0, name
        assert found.covered > 0.7, name


def test_backtest_needs_four_days() -> None:
    """Three to learn from, and one."""
    assert backtest([1] * 95, 0) is None
    found = backtest([1] * 96, 0)
    assert found is not None
    assert (found.days, found.naive_error) == (1, 0)


def test_history_without_a_count_is_refused() -> None:
    """There is nothing to go by."""
    with pytest.raises(ValueError, match="at least one hour"):
        fit([], 0)


def test_outlook_begins_with_the_hour_under_way() -> None:
    """Hours without a threat were there."""
    end = datetime(2026, 11, 2, 12, tzinfo=UTC)
    last = int(end.timestamp() // 3600)
    found = outlook_of([(last - 30, 2), (last - 1, 1)], end, 24)
    assert found.hours == 30
    assert [found.expected[0].hour, found.expected[-1].hour] == [last, last + 23]


def test_features_do_not_look_ahead() -> None:
    """What comes after the time changes nothing."""
    past = [Found(DAY_S * day, "jailbreak", "high", 13.0) for day in range(5)]
    later = [*past, Found(DAY_S * 5 + 1, "probing", "critical", 28.0)]
    assert features(past, DAY_S * 5) == features(later, DAY_S * 5)
    assert features(past, DAY_S * 5) != features(later, DAY_S * 5 + 1)


def test_examples_say_what_came_within_a_day_and_leave_out_what_is_not_known_yet() -> None:
    """A critical finding 20 hours later counts, one 30 hours later does not."""
    found = [Found(3600.0 * 12, "jailbreak", "high", 13.0), Found(3600.0 * 40, "jailbreak", "critical", 25.0)]
    made = examples(found, 3600.0 * 72)
    assert {one.at_s / 3600: one.turned for one in made} == {
        12: False, 18: True, 24: True, 30: True, 36: True, 42: False, 48: False,
    }  # fmt: skip
    assert examples([], 1e9) == []


def test_regression_is_that_of_a_known_model() -> None:
    """The weights that the examples were drawn from."""
    chance = random.Random(3)
    rows = [(chance.gauss(0, 1), chance.gauss(0, 1), 1.0) for _ in range(6000)]
    drawn = [float(chance.random() < 1 / (1 + math.exp(-(1.5 * a - 0.7 * b - 1)))) for a, b, _ in rows]
    assert turning._regress(rows, drawn, 1e-6) == pytest.approx((1.5, -0.7, -1.0), abs=0.12)


def _drawn_examples(count: int, *, inverted: bool = False) -> list[Example]:
    chance = random.Random(9)
    made = []
    for number in range(count):
        heat = chance.random()
        flip = -1 if inverted and number > count * 0.6 else 1
        turned = chance.random() < 1 / (1 + math.exp(-(6 * (heat - 0.8) * flip)))
        made.append(Example(float(number), (heat,) * 9, turned))
    return made


def test_chances_come_true_as_often_as_they_say() -> None:
    """On what the model did not see, in five parts."""
    known = _drawn_examples(8000)
    learnt = learn(known)
    assert learnt is not None
    model, quality = learnt
    assert quality.skill > 0.05
    unseen = sorted(known[6400:], key=lambda one: model.chance(one.row))
    for part in range(5):
        some = unseen[part * 320 : part * 320 + 320]
        told = sum(model.chance(one.row) for one in some) / 320
        assert sum(one.turned for one in some) / 320 == pytest.approx(told, abs=0.09)


def test_model_that_later_examples_contradict_says_no_more_than_the_share() -> None:
    """A world that has changed: no user is called more likely than another."""
    learnt = learn(_drawn_examples(4000, inverted=True))
    assert learnt is not None
    model, _ = learnt
    assert model.chance((0.0,) * 9) == pytest.approx(model.chance((1.0,) * 9))


def test_too_few_who_turned_are_no_model() -> None:
    """It would be made of chance."""
    calm = [Example(float(number), (0.1,) * 9, number % 200 == 0) for number in range(2000)]
    assert learn(calm) is None
    assert learn([]) is None
