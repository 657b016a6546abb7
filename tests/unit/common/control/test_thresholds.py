"""From how many points on a prompt is of which risk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.control.thresholds import DEFAULT_THRESHOLDS, LEVELS, Thresholds, parse_thresholds


def test_thresholds_are_read_from_a_setting() -> None:
    """Those that are left out are the defaults."""
    assert parse_thresholds("high=13, critical=25") == Thresholds(3, 7, 13, 25)
    assert parse_thresholds("") == DEFAULT_THRESHOLDS


@pytest.mark.parametrize("text", ["high", "high=x", "top=3", "high=30", "low=0", "critical=inf", "low=nan"])
def test_thresholds_that_are_wrong_are_refused(text: str) -> None:
    """The message says how to write them."""
    with pytest.raises(ValueError, match=r"low=3|rise"):
        parse_thresholds(text)


@given(st.floats(0, 40))
def test_level_rises_with_the_score(score: float) -> None:
    """As the thresholds have it."""
    level = DEFAULT_THRESHOLDS.level(score)
    assert sum(score >= bound for bound in (3, 7, 12, 20)) == LEVELS.index(level)
