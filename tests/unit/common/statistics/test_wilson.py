"""Wilson's score interval."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.statistics.wilson import wilson_interval


@pytest.mark.parametrize(
    ("positive", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_interval_of_published_counts_is_the_published_one(
    positive: int, total: int, low: float, high: float
) -> None:
    """Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table
    I, method 3.
    """
    assert wilson_interval(positive, total) == pytest.approx((low, high), abs=5e-5)


def test_interval_of_no_ratings_is_none() -> None:
    """Nothing was counted, so nothing is known."""
    assert wilson_interval(0, 0) is None


@given(st.integers(1, 10**9).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_interval_of_any_counts_holds_the_share_within_0_and_1(counts: tuple[int, int]) -> None:
    """The share itself is never outside."""
    positive, total = counts
    low, high = wilson_interval(positive, total) or (1.0, 0.0)
    assert 0.0 <= low <= positive / total <= high <= 1.0


@pytest.mark.parametrize(("positive", "total"), [(2, 1), (-1, 5)])
def test_counts_that_are_no_share_are_refused(positive: int, total: int) -> None:
    """More good ones than ratings is a mistake of the caller's."""
    with pytest.raises(ValueError, match="is no share"):
        wilson_interval(positive, total)
