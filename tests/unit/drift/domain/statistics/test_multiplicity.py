"""Holm's correction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.drift.domain.statistics.multiplicity import holm


def test_holm_of_a_worked_example() -> None:
    """By hand: sorted .005, .01, .03, .04 times 4, 3, 2, 1 is .02, .03, .06, .04, made
    non-decreasing (R: p.adjust(method="holm")).
    """
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_one_test_changes_nothing() -> None:
    """A family of one needs no correction; none at all gives none."""
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_holm_with_weights_of_a_worked_example() -> None:
    """By hand: p/w is .01, .005, .04, so the order is b, a, c: 4 * .005 = .02, then 2 *
    .01 = .02, then 1 * .04 = .04, none below the one before.
    """
    assert holm([0.01, 0.01, 0.04], [1.0, 2.0, 1.0]) == pytest.approx([0.02, 0.02, 0.04])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_between_the_p_value_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    """Never below the p-value, never above Bonferroni or 1, and the ranking stays."""
    adjusted = holm(p_values)
    assert all(p <= q <= min(1.0, len(p_values) * p) + 1e-12 for p, q in zip(p_values, adjusted, strict=True))
    by_p = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert by_p == sorted(by_p)
