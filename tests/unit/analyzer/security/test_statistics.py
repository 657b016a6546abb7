"""The figures that signs rest on, held against their sources and other libraries."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from services.analyzer.security.domain.statistics import hours as usual_hours
from services.analyzer.security.domain.statistics.decay import Amount
from services.analyzer.security.domain.statistics.hours import Hours
from services.analyzer.security.domain.statistics.rates import Rate, RateModel
from services.analyzer.security.domain.statistics.similarity import SKETCH_BYTES, similarities, sketch
from services.analyzer.security.domain.statistics.trend import rising

_DAY = 86_400.0
_MODEL = RateModel(width_s=300, prior_shape=2.0, prior_exposure=0.1)


def test_amount_counts_half_after_a_half_life_and_late_ones_as_waned() -> None:
    """The order in which events come does not matter."""
    early = Amount().plus(4, 0, 100).plus(8, 100, 100)
    late = Amount().plus(8, 100, 100).plus(4, 0, 100)
    assert early.at(100, 100) == late.at(100, 100) == 10
    assert early.at(200, 100) == 5
    assert early.at(1e12, 100) == pytest.approx(0, abs=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 100)), min_size=2, max_size=20), st.randoms())
def test_amount_is_the_same_in_whatever_order_its_parts_come(
    parts: list[tuple[float, float]], chance: object
) -> None:
    """Partitions may deliver a user's events in any order."""
    shuffled = list(parts)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = Amount(), Amount()
    for at_s, value in parts:
        one = one.plus(value, at_s, 3600)
    for at_s, value in shuffled:
        other = other.plus(value, at_s, 3600)
    assert one.at(2e6, 3600) == pytest.approx(other.at(2e6, 3600), rel=1e-9, abs=1e-30)


@pytest.mark.parametrize(
    ("count", "shape", "exposure"), [(60, 100, 10), (45, 0, 0), (400, 900, 90), (500, 4000, 90), (3, 9, 9)]
)
def test_surprise_is_scipys_tail_of_the_negative_binomial(count: int, shape: float, exposure: float) -> None:
    """SciPy's survival function of the same distribution, as a base-10 logarithm."""
    rate = Rate(window=5, count=count, shape=shape, exposure=exposure)
    mean, capped = _MODEL.expected(rate), min(2 + shape, 4.0)
    expected = -stats.nbinom.logsf(count - 1, capped, capped / (capped + mean)) / math.log(10)
    assert _MODEL.surprise(rate) == pytest.approx(expected if count >= 2 * mean else 0.0, rel=1e-5)


def test_surprise_of_a_count_that_cannot_be_is_finite() -> None:
    """A flood of a million is told, not divided by."""
    assert 100 < _MODEL.surprise(Rate(5, 1_000_000, 40, 20)) < 1e7


def test_baseline_follows_the_windows_in_which_something_came() -> None:
    """Nights do not count: who comes back in the morning is as usual."""
    rate = Rate()
    for day in range(5):
        for minute in range(60):
            rate = _MODEL.observe(rate, day * _DAY + minute * 60)
    assert _MODEL.expected(rate) == pytest.approx(5, rel=0.1)
    morning = _MODEL.observe(rate, 30 * _DAY, count=6)
    assert _MODEL.surprise(morning) < 1
    assert _MODEL.surprise(_MODEL.observe(rate, 30 * _DAY, count=90)) > 8


def test_event_from_an_earlier_window_is_counted_in_the_one_under_way() -> None:
    """A baseline that went back would count a window twice."""
    rate = _MODEL.observe(_MODEL.observe(Rate(), 1000), 10)
    assert (rate.window, rate.count) == (3, 2)


def test_sketch_of_a_text_is_that_of_the_same_text_in_other_case_and_spaces() -> None:
    """And one of fixed size, whatever the text."""
    assert sketch("Ignore  ALL\nrules") == sketch("ignore all rules")
    assert sketch(" \n ") == ""
    for text in ("a", "\ud800 lone", "x" * 100_000, "字" * 50):
        assert len(sketch(text)) == 2 * SKETCH_BYTES


@given(st.text(min_size=1, max_size=400), st.text(max_size=60), st.text(max_size=60))
def test_similarity_estimates_that_of_the_sets_of_shingles(middle: str, before: str, after: str) -> None:
    """Within five standard deviations of the exact Jaccard similarity."""
    one, other = (" ".join(text.casefold().split()) for text in (middle, before + middle + after))
    sets = [{text[place : place + 5] for place in range(max(1, len(text) - 4))} for text in (one, other)]
    exact = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    (found,) = similarities(sketch(middle), [sketch(before + middle + after)])
    if not one or not other:
        assert found == 0
    else:
        assert abs(found - exact) < 5 * 0.063


def test_similarity_with_what_is_no_sketch_is_none() -> None:
    """Another version's sketch, and a text without one."""
    good = sketch("what is the capital of France?")
    assert similarities(good, ["", "00ff", good]) == [0.0, 0.0, 1.0]
    assert similarities("", [good, ""]) == [0.0, 0.0]


def test_trend_is_that_of_gilberts_example() -> None:
    """S, its variance and z follow from the definition; SciPy's Kendall agrees in sign
    and in which is stronger.
    """
    rise = [1, 2, 3, 4, 5, 6, 7, 8]
    assert rising(rise) == pytest.approx((28 - 1) / math.sqrt(8 * 7 * 21 / 18))
    assert rising(rise[::-1]) == pytest.approx(-rising(rise))
    assert rising([3] * 10) == 0
    tied = [0, 0, 2, 2, 2, 5, 9, 9]
    assert 0 < rising(tied) < rising(rise)
    assert stats.kendalltau(range(8), tied).statistic > 0


@given(st.lists(st.floats(0, 30), max_size=16))
def test_trend_of_any_figures_is_a_number(values: list[float]) -> None:
    """Whatever the scores are."""
    assert math.isfinite(rising(values))


def test_hour_is_unusual_only_once_the_usual_ones_are_known() -> None:
    """Someone of office hours at three in the morning, not on the third day."""
    hours = Hours()
    for day in range(3):
        for hour in range(9, 17):
            for minute in range(0, 60, 10):
                hours = usual_hours.observe(hours, day * _DAY + hour * 3600 + minute * 60)
    assert usual_hours.unusual(hours, 3 * _DAY + 3 * 3600) == 0
    for day in range(3, 8):
        for hour in range(9, 17):
            hours = usual_hours.observe(hours, day * _DAY + hour * 3600)
    assert usual_hours.unusual(hours, 8 * _DAY + 3 * 3600) > 2
    assert usual_hours.unusual(hours, 8 * _DAY + 10 * 3600) == 0
    assert usual_hours.unusual(hours, 8 * _DAY + 8 * 3600 + 1800) == 0
    assert sum(usual_hours.chance(hours, hour * 3600.0) for hour in range(24)) == pytest.approx(1)
