"""The false-alarm budget."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.drift.domain.statistics.sequential import AlarmBudget, Episode, follow, spend

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_spend_accrues_with_time() -> None:
    """A quarter of a false alarm in 90 days: a day accrues .25 / 90, an hour a
    twenty-fourth of it.
    """
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
    """The sum of error rates, which bounds the expectation under any dependence, stays
    within rate times elapsed time.
    """
    now, spent = START, 0.0
    for pause in hours:
        spent += spend(AlarmBudget(), last_check=now, now=now + timedelta(hours=pause))
        now += timedelta(hours=pause)
    assert spent <= 0.25 * ((now - START) / timedelta(days=90)) + 1e-9


def test_spend_refuses_a_check_before_the_last() -> None:
    """Time does not run backwards."""
    with pytest.raises(ValueError, match="must come after"):
        spend(AlarmBudget(), last_check=START, now=START)


def days(*, window: int, now: int) -> dict[str, datetime]:
    """A check on day `now` of the traffic since day `window`."""
    return {"window_start": START + timedelta(days=window), "now": START + timedelta(days=now)}


def test_follow_raises_one_alarm_for_one_drift() -> None:
    """Found on days 2, 3 and 5 by windows of two days, quiet on day 4 whose window
    still holds its requests: one alarm.
    """
    episode: Episode | None = None
    raised = []
    for now, drifted in ((1, False), (2, True), (3, True), (4, False), (5, True)):
        alarm, episode = follow(episode, drifted=drifted, **days(window=now - 2, now=now))
        raised.append(alarm)
    assert raised == [False, True, False, False, False]
    assert episode == Episode(raised_at=START + timedelta(days=2), last_seen=START + timedelta(days=5))


def test_follow_ends_an_episode_when_a_clean_window_shares_nothing_with_it() -> None:
    """Last found on day 2: a clean window from day 2 on closes it, and the next drift
    is a new alarm.
    """
    open_since = Episode(raised_at=START, last_seen=START + timedelta(days=2))
    assert follow(open_since, drifted=False, **days(window=1, now=3)) == (False, open_since)
    assert follow(open_since, drifted=False, **days(window=2, now=4)) == (False, None)
    assert follow(None, drifted=True, **days(window=5, now=7))[0]
