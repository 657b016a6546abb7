"""What begins and ends in windows."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.control import Subject
from schemas.events.alerts import Severity
from schemas.events.budgets import BudgetWarned
from schemas.events.insight.kpi import BreachState, KpiBreached, OpenBreach
from services.analyzer.kpi.domain.breaches import (
    CLEAR_FOR,
    MOST_OPEN,
    Reading,
    Rule,
    Verdict,
    judge,
    warn_of_budget,
)
from services.analyzer.kpi.domain.grid import HOP, WINDOW

AT = datetime(2026, 11, 28, 10, tzinfo=UTC)
ERRORS = Rule("error_rate", 0.05, "above", WINDOW, "requests", 20, 3)
GOOD = Rule("satisfaction", 0.7, "below", timedelta(hours=24), "ratings", 20, 3)
RULES = {one.metric: one for one in (ERRORS, GOOD)}


def _errors(bad: int, of: int, model: str = "m") -> Reading:
    return Reading("error_rate", bad / of, of, bad, model=model)


def _run(windows: list[list[Reading]]) -> tuple[list[KpiBreached], tuple[OpenBreach, ...]]:
    """Judges windows, a hop apart."""
    told: list[KpiBreached] = []
    verdict = Verdict((), ())
    for number, readings in enumerate(windows):
        verdict = judge(RULES, readings, verdict.open, at=AT + number * HOP, read=set(RULES))
        told += verdict.told
    return told, verdict.open


@pytest.mark.parametrize(
    ("reading", "begins"),
    [
        (_errors(1, 2), False),  # at night
        (_errors(2, 20), False),  # a tenth, but two
        (_errors(19, 19), False),
        (_errors(3, 20), True),
        (_errors(5, 100), True),  # the threshold itself
        (_errors(49, 1000), False),
        (Reading("satisfaction", 0.7, 100, 30), False),
        (Reading("satisfaction", 0.69, 100, 31), True),
        (Reading("satisfaction", 0.0, 19, 19), False),
        (Reading("unheard_of", 9e9, 10**9), False),
    ],
)
def test_breach_begins_where_enough_is_on_the_bad_side(reading: Reading, begins: object) -> None:
    """A figure of a handful of requests is none."""
    told, opened = _run([[reading]])
    assert (len(told) == 1, len(opened) == 1) == (begins, begins)


def test_breach_is_told_once_and_its_end_once() -> None:
    """Nothing in between, however it goes up and down near the threshold."""
    minute = CLEAR_FOR // HOP
    near = [[_errors(9 + number % 3, 200)] for number in range(100)]  # .045 to .055
    clear = [[_errors(2, 200)]] * (minute + 1)
    told, opened = _run([[_errors(30, 200)], *near, *clear])
    assert [one.state for one in told] == [BreachState.BREACHED, BreachState.RECOVERED]
    assert told[0].breach_id == told[1].breach_id
    assert (told[0].value, told[0].threshold, told[0].severity) == (0.15, 0.05, Severity.CRITICAL)
    assert told[0].window_end - told[0].window_start == WINDOW
    assert not opened


def test_breach_ends_a_minute_after_traffic_has_ceased() -> None:
    """Too little to tell is not a breach for ever; the end says so."""
    told, opened = _run([[_errors(30, 200)], *[[]] * 31])
    assert [one.state for one in told] == [BreachState.BREACHED, BreachState.RECOVERED]
    assert "too few requests" in told[1].summary
    assert not opened


def test_a_bad_window_begins_the_minute_anew() -> None:
    """Clear has to hold without a break."""
    told, opened = _run([[_errors(30, 200)], *[[]] * 30, [_errors(30, 200)], *[[]] * 30])
    assert len(told) == 1
    assert opened[0].clear_since is not None


def test_metrics_that_were_not_read_stay_as_they_are() -> None:
    """Satisfaction is asked for once a minute: between two times it is not clear."""
    begun = judge(RULES, [Reading("satisfaction", 0.2, 50, 40)], (), at=AT, read={"satisfaction"})
    later = judge(RULES, [], begun.open, at=AT + timedelta(hours=1), read={"error_rate"})
    assert (later.told, later.open) == ((), begun.open)


def test_what_came_late_begins_a_breach_of_its_own_window() -> None:
    """And ends like any other; the present window's figure goes before it."""
    then = AT - timedelta(minutes=20)
    late = Reading("error_rate", 0.5, 40, 20, model="m", window_end=then)
    begun = judge(RULES, [late], (), at=AT, read={"error_rate"})
    assert (begun.told[0].window_end, len(begun.open)) == (then, 1)
    both = judge(RULES, [_errors(30, 200), late], (), at=AT, read={"error_rate"})
    assert [one.window_end for one in both.told] == [AT]
    calm = judge(RULES, [_errors(0, 200), late], begun.open, at=AT + HOP, read={"error_rate"})
    assert calm.told == ()
    assert calm.open[0].clear_since == AT + HOP


def test_more_breaches_than_are_kept_are_counted() -> None:
    """An attacker with a thousand tenants cannot fill the state."""
    many = [_errors(30, 200, f"m{number:04}") for number in range(MOST_OPEN + 7)]
    verdict = judge(RULES, many, (), at=AT, read={"error_rate"})
    assert (len(verdict.told), len(verdict.open), verdict.passed_over) == (MOST_OPEN, MOST_OPEN, 7)


def _warned(share: str = "0.8", **changes: object) -> BudgetWarned:
    values = {
        "budget_id": "b1",
        "tenant": "acme",
        "subject": Subject(kind="user", id="marie"),
        "period": "day",
        "time_zone": "UTC",
        "period_start": AT,
        "renews_at": AT + timedelta(days=1),
        "share": Decimal(share),
        "limit_usd": Decimal(10),
        "spent_usd": Decimal("8.25"),
        "hard": True,
        "warned_at": AT + timedelta(hours=1),
    }
    return BudgetWarned(**(values | changes))


def test_budget_is_told_once_without_a_name_and_ends_when_it_is_renewed() -> None:
    """80 % warns, all of it is critical; a warning that comes again changes nothing."""
    first = warn_of_budget(_warned(), (), judged_to=AT)
    again = warn_of_budget(_warned(), first.open, judged_to=AT)
    full = warn_of_budget(_warned("1"), first.open, judged_to=AT)
    assert [one.severity for one in full.open] == [Severity.WARNING, Severity.CRITICAL]
    assert (first.told[0].value, first.told[0].threshold) == (0.825, 0.8)
    assert again.told == ()
    assert "marie" not in first.told[0].model_dump_json() + first.open[0].model_dump_json()
    before = judge(RULES, [], full.open, at=AT + timedelta(hours=23), read=set(RULES))
    after = judge(RULES, [], full.open, at=AT + timedelta(hours=24), read=set(RULES))
    assert (before.told, len(after.told), after.open) == ((), 2, ())
    late = warn_of_budget(_warned(), (), judged_to=AT + timedelta(hours=24))
    assert late.told == ()


_READING = st.builds(
    lambda metric, samples, bad, model: Reading(
        metric, min(bad, samples) / samples, samples, min(bad, samples), model=model
    ),
    st.sampled_from(sorted(RULES)),
    st.integers(1, 400),
    st.integers(0, 60),
    st.sampled_from(["a", "b"]),
)
_WINDOWS = st.lists(
    st.lists(_READING, max_size=4, unique_by=lambda one: one.subject), min_size=1, max_size=120
)


@given(_WINDOWS)
def test_breaches_and_recoveries_alternate_whatever_comes(windows: list[list[Reading]]) -> None:
    """Of each subject: begun, ended, begun again; never within a minute of its begin; and
    what is open is what was begun and not ended.
    """
    told, opened = _run(windows)
    last: dict[tuple[str, str], KpiBreached] = {}
    for one in told:
        before = last.get((one.metric, one.model))
        assert (before is None or before.state is BreachState.RECOVERED) == (
            one.state is BreachState.BREACHED
        )
        if before is not None and one.state is BreachState.RECOVERED:
            assert one.breach_id == before.breach_id
            assert one.window_end - before.window_end >= CLEAR_FOR
        last[one.metric, one.model] = one
    still = {one.breach_id for one in last.values() if one.state is BreachState.BREACHED}
    assert still == {one.breach_id for one in opened}


@given(_WINDOWS, st.randoms(use_true_random=False))
def test_order_of_readings_does_not_matter(windows: list[list[Reading]], random: object) -> None:
    """A window is a set of figures."""
    shuffled = [list(one) for one in windows]
    for one in shuffled:
        random.shuffle(one)  # type: ignore[attr-defined]
    assert _told_by(windows) == _told_by(shuffled)


def _told_by(windows: list[list[Reading]]) -> list[list[str]]:
    told, _ = _run(windows)
    return sorted([one.breach_id, one.state.value, one.window_end.isoformat()] for one in told)
