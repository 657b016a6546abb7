"""From how many points on a prompt is of which risk."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import ThresholdsChanged
from services.common.control import changes
from services.common.control.errors import InvalidChangeError
from services.common.control.state import ControlState
from services.common.control.thresholds import (
    DEFAULT_THRESHOLDS,
    LEVELS,
    Thresholds,
    parse_thresholds,
    thresholds_for,
)
from tests.unit.common.control.entries import after, state_of


def test_thresholds_are_read_from_a_setting() -> None:
    """Those that are left out are the defaults."""
    assert parse_thresholds("high=13, critical=25") == Thresholds(3, 7, 13, 25)
    assert parse_thresholds("") == DEFAULT_THRESHOLDS


@pytest.mark.parametrize("text", ["high", "high=x", "top=3", "high=30", "low=0", "critical=inf", "low=nan"])
def test_thresholds_that_are_wrong_are_refused(text: str) -> None:
    """The message says how to write them."""
    with pytest.raises(ValueError, match=r"low=3|rise"):
        parse_thresholds(text)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"high": 30}, ("high", "high is 30, critical 20")),
        ({"low": 7}, ("low", "low is 7, medium 7")),
        ({"low": 0}, ("low", "low is 0")),
        ({"critical": 5}, ("high", "high is 12, critical 5")),
        ({"critical": float("inf")}, ("critical", "critical is inf")),
        ({"medium": float("nan")}, ("medium", "medium is nan")),
    ],
)
def test_thresholds_that_do_not_rise_are_refused_by_the_first_that_is_too_high(
    named: dict[str, float], said: tuple[str, str]
) -> None:
    """With both figures: somebody named one of them."""
    made = ThresholdsChanged(tenant="*", **named)
    with pytest.raises(InvalidChangeError) as refused:
        after(ControlState(), changes.create(made))
    field, text = refused.value.problems[0]
    assert (field, text.partition("; ")[2]) == said


@given(st.floats(0, 40))
def test_level_rises_with_the_score(score: float) -> None:
    """As the thresholds have it."""
    level = DEFAULT_THRESHOLDS.level(score)
    assert sum(score >= bound for bound in (3, 7, 12, 20)) == LEVELS.index(level)


def test_scores_of_thresholds_count_once_somebody_names_one() -> None:
    """A change of requests alone does not name them."""
    made = ThresholdsChanged.model_validate({"tenant": "*", "requests_per_hour": (9, 8, 7)})
    state = after(ControlState(), changes.create(made))
    assert not state.thresholds["*"].scores_named
    state = after(state, changes.edit("thresholds", "*", {"requests_per_hour": (6, 5, 4)}))
    assert not state.thresholds["*"].scores_named
    state = after(state, changes.edit("thresholds", "*", {"low": 4}))
    assert (state.thresholds["*"].scores_named, state.thresholds["*"].low) == (True, 4)
    state = after(state, changes.edit("thresholds", "*", {"requests_per_hour": None}))
    assert state.thresholds["*"].scores_named


def test_thresholds_of_a_tenant_are_an_administrators_where_they_rise() -> None:
    """Else the installation's: a setting is not undone by an entry that cannot hold."""
    default = Thresholds(1, 2, 4, 8)
    rising = ThresholdsChanged(tenant="acme", low=4, medium=5, high=6, critical=7)
    falling = ThresholdsChanged(tenant="fall", low=9, medium=8, high=7, critical=6)
    state = state_of(rising, falling)
    told = [thresholds_for(state, one, default) for one in ("acme", "fall", "none")]
    assert told == [Thresholds(4, 5, 6, 7), default, default]
