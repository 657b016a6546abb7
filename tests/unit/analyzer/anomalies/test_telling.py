"""Which anomalies are told as breaches, and when their end is."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.events.insight.kpi import KpiBreached, OpenBreach
from services.analyzer.anomalies.domain.tracking import Tracked
from services.analyzer.anomalies.telling import breaches_of

NOW = datetime(2026, 11, 28, 10, tzinfo=UTC)
HOUR = int(NOW.timestamp()) // 3600
ACME, SMALL, PLATFORM = ("acme", ""), ("", "small"), ("", "")


def _lasting(name: str, subject: tuple[str, str] = ACME, **changes: Any) -> Tracked:
    anomaly = {
        "method": "seasonal",
        "figure": "requests",
        "kind": "spike",
        "side": "above",
        "first": HOUR - 2,
        "last": HOUR - 1,
        "observed": 90.0,
        "expected": 10.0,
        "low": 5.0,
        "high": 20.0,
        "score": 9.0,
        "drivers": [],
    } | changes
    return Tracked(name, *subject, anomaly, lasts=True)


def _opened(*tracked: Tracked) -> tuple[OpenBreach, ...]:
    return breaches_of(tracked, (), judged=_judged(ACME, SMALL, PLATFORM), as_of=NOW, now=NOW)[1]


def _judged(*subjects: tuple[str, str]) -> dict[tuple[str, str], dict[str, float]]:
    return {one: {"requests": 12.0} for one in subjects}


def _states(told: Sequence[KpiBreached]) -> dict[str, str]:
    return {one.breach_id: one.state.value for one in told}


def test_end_is_told_of_subjects_that_were_judged_alone() -> None:
    """One that was left out of a round may last: nothing is known of it."""
    opened = _opened(_lasting("a"), _lasting("b", SMALL), _lasting("c", PLATFORM))
    told, still = breaches_of([_lasting("b", SMALL)], opened, judged=_judged(ACME, SMALL), as_of=NOW, now=NOW)
    assert _states(told) == {"a": "recovered"}
    assert {one.breach_id for one in still} == {"b", "c"}
    told, still = breaches_of([], still, judged=_judged(PLATFORM), as_of=NOW, now=NOW)
    assert (_states(told), [one.breach_id for one in still]) == ({"c": "recovered"}, ["b"])


def test_breach_that_nobody_judges_any_more_ends_after_a_week_and_says_so() -> None:
    """A tenant that is gone keeps no alert open for ever; one that is judged again in
    between has a week anew.
    """
    opened = _opened(_lasting("a"))
    told, opened = breaches_of([], opened, judged={}, as_of=NOW, now=NOW)
    assert told == []
    later = NOW + timedelta(days=6)
    told, opened = breaches_of([_lasting("a")], opened, judged=_judged(ACME), as_of=later, now=later)
    assert (told, opened[0].ends_at) == ([], None)
    for day in (7, 13):
        later = NOW + timedelta(days=day)
        told, opened = breaches_of([], opened, judged={}, as_of=later, now=later)
        assert (told, len(opened)) == ([], 1)
    later = NOW + timedelta(days=14)
    told, opened = breaches_of([], opened, judged={}, as_of=later, now=later)
    assert (_states(told), opened) == ({"a": "recovered"}, ())
    assert told[0].summary == "not judged for 7 days: nothing is known of its end"
    assert (told[0].value, told[0].samples) == (0, 0)


def test_end_has_the_figure_of_the_last_hour_or_none() -> None:
    """The line that was crossed is no figure that came; a distance of figures is none."""
    joint = _lasting("joint", figure="joint", method="joint")
    opened = _opened(_lasting("a"), joint)
    told, _ = breaches_of([], opened, judged=_judged(ACME), as_of=NOW, now=NOW)
    ended = {one.breach_id: one for one in told}
    assert (ended["a"].value, ended["a"].samples) == (12.0, 1)
    assert (ended["a"].window_start, ended["a"].window_end) == (NOW - timedelta(hours=1), NOW)
    assert (ended["joint"].value, ended["joint"].samples) == (0, 0)


def test_more_unusual_ones_do_not_end_those_that_last() -> None:
    """200 are open at most: what is open stays so, and new ones have the room that is left."""
    opened = _opened(*[_lasting(f"old{n}", score=6.0) for n in range(150)])
    lasting = [_lasting(f"old{n}", score=6.0) for n in range(149)]
    lasting += [_lasting(f"new{n:03}", score=10.0 + n) for n in range(80)]
    told, still = breaches_of(lasting, opened, judged=_judged(ACME), as_of=NOW, now=NOW)
    begun = {name for name, state in _states(told).items() if state == "breached"}
    assert begun == {f"new{n:03}" for n in range(29, 80)}
    assert _states(told).keys() - begun == {"old149"}
    assert len(still) == 200
