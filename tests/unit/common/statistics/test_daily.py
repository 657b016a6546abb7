"""Means of days, and what changed: golden values, properties, error rates."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.statistics.daily import Effect, TooLittle, effect_of, mean_of_days
from services.common.statistics.student import t_chance, t_quantile
from services.common.statistics.wilson import difference_interval

_DAYS = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=40)


@pytest.mark.parametrize(
    ("chance", "freedom", "value"),
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.95, 3, 2.3534),
        (0.975, 10, 2.2281),
        (0.95, 27, 1.7033),
        (0.995, 120, 2.6174),
    ],
)
def test_quantile_of_t_is_that_of_the_tables(chance: float, freedom: int, value: float) -> None:
    """Fisher and Yates, Statistical Tables, table III."""
    assert t_quantile(chance, freedom) == pytest.approx(value, abs=5e-5)
    assert t_chance(value, freedom) == pytest.approx(chance, abs=1e-5)


def test_quantile_of_t_refuses_what_is_no_chance_or_no_freedom() -> None:
    """Nothing is told of nothing."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        t_quantile(1.0, 3)
    with pytest.raises(ValueError, match="degrees of freedom"):
        t_chance(0.0, 0)


def test_interval_of_a_difference_is_that_of_newcombe() -> None:
    """Newcombe (1998), table II, method 10: 56/70 less 48/80, and 9/10 less 3/10."""
    assert difference_interval(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference_interval(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)
    assert difference_interval(0, 0, 3, 10) is None


@given(_DAYS, st.floats(0.01, 100))
def test_mean_lies_in_its_interval_and_scales(days: list[float | None], factor: float) -> None:
    """Whatever the days, and in whatever unit they are counted."""
    found = mean_of_days(days)
    known = [one for one in days if one is not None]
    assert (found is None) == (len(known) < 5)
    if found is None:
        return
    assert found.low <= found.value <= found.high
    assert 0 < found.chance_above(found.low) < 1
    assert found.chance_above(found.value + 1) <= found.chance_above(found.value - 1)
    scaled = mean_of_days([None if one is None else one * factor for one in days])
    assert scaled is not None
    assert scaled.value == pytest.approx(found.value * factor, rel=1e-6, abs=1e-6)


def test_interval_of_a_mean_covers_what_it_says() -> None:
    """About nine of ten times, of days that do not hang together; of autocorrelated ones
    hardly less, where an interval that took them for independent covers 66 %.
    """
    drawn = random.Random(1)
    for together, least in ((0.0, 0.87), (0.5, 0.78)):
        covered = 0
        for _ in range(1000):
            days, now = [], drawn.gauss(0, 1)
            for _ in range(28):
                now = together * now + math.sqrt(1 - together**2) * drawn.gauss(0, 1)
                days.append(10 + now)
            found = mean_of_days(days)
            assert found is not None
            covered += found.low <= 10 <= found.high
        assert covered / 1000 >= least


def test_effect_of_nothing_is_told_as_one_in_ten_at_most() -> None:
    """A figure with a rhythm of the week that did not change: better or worse by luck in
    about 10 %, with one week after as with four; a fall by a third is mostly seen.
    """
    drawn = random.Random(2)
    for weeks, factor, least, most in ((1, 1.0, 0.0, 0.14), (4, 1.0, 0.0, 0.14), (2, 0.66, 0.9, 1.0)):
        told = 0
        for _ in range(400):
            usual = [100 + 40 * (day % 7 < 5) for day in range(7 * (8 + weeks))]
            days = [one * (1 if at < 56 else factor) + drawn.gauss(0, 20) for at, one in enumerate(usual)]
            found = effect_of(days[:56], days[56:])
            assert isinstance(found, Effect)
            told += found.verdict != "not sure"
        assert least <= told / 400 <= most


def test_effect_with_too_little_says_what_is_needed() -> None:
    """Three weeks before, one after; days that are not known are none."""
    found = effect_of([1.0] * 20, [1.0] * 6)
    assert found == TooLittle(2, 0)
    assert "3 and 1 are needed" in found.needed
    assert isinstance(effect_of([1.0, None] * 14, [None] * 7), TooLittle)
    exact = effect_of([3.0] * 21, [1.0] * 7)
    assert isinstance(exact, Effect)
    assert (exact.change, exact.verdict) == (-2.0, "better")


@given(_DAYS, _DAYS)
def test_effect_lies_in_its_interval(before: list[float | None], after: list[float | None]) -> None:
    """Whatever the days."""
    found = effect_of(before, after)
    if isinstance(found, Effect):
        assert found.low <= found.change <= found.high
        assert found.change == pytest.approx(found.after - found.before)
