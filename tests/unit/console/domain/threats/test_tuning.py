"""Thresholds that follow from what people said of findings."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.control.thresholds import DEFAULT_THRESHOLDS, Thresholds
from services.console.domain.threats.tuning import Judged, TunedLevel, tune

LEVELS: tuple[TunedLevel, ...] = ("medium", "high", "critical")


def judged(*counts: tuple[float, int, int]) -> list[Judged]:
    """So many true and so many false alarms at each score."""
    return [
        Judged(score, is_false)
        for score, true, false in counts
        for is_false in [False] * true + [True] * false
    ]


def test_lowest_threshold_that_keeps_the_target_is_proposed() -> None:
    """False alarms below 15, none above: high begins there, the others stay."""
    found = tune(judged((13.0, 60, 60), (15.0, 500, 0)), DEFAULT_THRESHOLDS, "high", 0.05, 0.95)
    assert found.proposed == Thresholds(3, 7, 13.5, 20)
    assert found.chosen is not None
    assert (found.chosen.alarms, found.chosen.false_alarms) == (500, 0)
    assert found.chosen.high <= 0.05
    assert (found.present.threshold, found.present.alarms, found.present.false_alarms) == (12.0, 620, 60)


def test_threshold_is_lowered_where_false_alarms_are_few() -> None:
    """More is flagged at the same share."""
    found = tune(judged((8.0, 900, 5)), DEFAULT_THRESHOLDS, "high", 0.05, 0.95)
    assert found.proposed == Thresholds(3, 7, 7.5, 20)


@pytest.mark.parametrize("count", [0, 1, 20])
def test_few_statements_propose_nothing(count: int) -> None:
    """Twenty true alarms and no false one do not show that 95 of 100 are true."""
    found = tune(judged((15.0, count, 0)), DEFAULT_THRESHOLDS, "high", 0.05, 0.95)
    assert found.proposed is None
    assert found.present.alarms == count


@given(
    st.lists(st.builds(Judged, st.floats(0, 30), st.booleans()), max_size=60),
    st.lists(st.floats(0.1, 29.9), min_size=4, max_size=4, unique=True).map(sorted),
    st.sampled_from(LEVELS),
    st.floats(0.01, 0.99),
)
def test_proposed_thresholds_rise_and_only_one_is_another(
    found: list[Judged], points: list[float], level: TunedLevel, target: float
) -> None:
    """Whatever was said, they can be set as they are."""
    thresholds = Thresholds(*points)
    tuning = tune(found, thresholds, level, target, 0.9)
    if tuning.proposed is not None:
        assert tuning.proposed.rise
        assert tuning.chosen is not None
        assert tuning.chosen.high <= target
        same = {name for name in Thresholds._fields if name != level}
        assert all(getattr(tuning.proposed, name) == getattr(thresholds, name) for name in same)
    assert len(tuning.candidates) <= 64


def test_threshold_that_is_not_good_enough_is_hardly_ever_proposed() -> None:
    """Where each alarm is false with a chance above the target at any threshold, one is
    proposed at most as often as the confidence allows: 5 of 100 times.
    """
    draw = random.Random(9)
    wrong = 0
    for _ in range(300):
        found = [Judged(draw.uniform(7, 20), draw.random() < 0.12) for _ in range(400)]
        wrong += tune(found, DEFAULT_THRESHOLDS, "high", 0.1, 0.95).proposed is not None
    assert wrong <= 15


@pytest.mark.parametrize(("target", "confidence"), [(0, 0.9), (1, 0.9), (0.1, 0), (0.1, 1)])
def test_shares_that_are_none_are_refused(target: float, confidence: float) -> None:
    """With what is wrong."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        tune([], DEFAULT_THRESHOLDS, "high", target, confidence)
