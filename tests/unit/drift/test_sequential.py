"""The false-alarm budget."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.drift.domain.sequential import AlarmBudget, spend

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_spend_accrues_with_time() -> None:
    """A quarter of a false alarm in 90 days: a day accrues .25 / 90, an hour a twenty-fourth of it."""
    day = spend(AlarmBudget(), last_check=START, now=START + timedelta(days=1))
    hour = spend(AlarmBudget(), last_check=START, now=START + timedelta(hours=1))
    assert day == pytest.approx(0.25 / 90)
    assert hour == pytest.approx(day / 24)


def test_spend_is_capped_after_a_pause_and_at_the_first_check() -> None:
    """What was not spent is not saved up."""
    assert spend(AlarmBudget(), last_check=None, now=START) == 0.01
    assert spend(AlarmBudget(), last_check=START, now=START + timedelta(days=60)) == 0.01


@given(st.lists(st.floats(0.01, 200), min_size=1, max_size=300))
def test_spend_over_any_schedule_expects_no_more_false_alarms_than_the_budget(hours: list[float]) -> None:
    """The sum of error rates, which bounds the expectation under any dependence, stays within rate times elapsed time."""
    now, spent = START, 0.0
    for pause in hours:
        spent += spend(AlarmBudget(), last_check=now, now=now + timedelta(hours=pause))
        now += timedelta(hours=pause)
    assert spent <= 0.25 * ((now - START) / timedelta(days=90)) + 1e-9


def test_spend_refuses_a_check_before_the_last() -> None:
    """Time does not run backwards."""
    with pytest.raises(ValueError, match="must come after"):
        spend(AlarmBudget(), last_check=START, now=START)
