"""How recommendations live on: a state machine over days."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analyzer.advice.domain.advice import Gain, Recommendation, fingerprint_of
from services.analyzer.advice.domain.lifecycle import MOST_NEW, MOST_NEW_OF_TENANT, Known, course
from services.analyzer.advice.domain.rules import RULES

NOW = datetime(2026, 11, 28, tzinfo=UTC)
_RULE = RULES["attack_waves"]
_DAY = timedelta(days=1)


def _found(
    tenant: str = "acme", *, harm: float = 3.0, severity: Any = "warning", score: float = 50
) -> Recommendation:
    gain = Gain(harm, 0, harm, harm, harm, 0.9, "counted")
    print_ = fingerprint_of(_RULE.id, {"tenant": tenant})
    return Recommendation(_RULE, print_, tenant, {"tenant": tenant}, severity, score, "t", "w", (), gain, {})


def _known(**values: Any) -> Known:
    one = Known(_found().fingerprint, _RULE.id, "new", NOW - _DAY, "warning", timedelta(days=28))
    return replace(one, **values)


def _kinds(known: Known | None, *found: Recommendation, judged: tuple[str, ...] = (_RULE.id,)) -> list[str]:
    before = {known.fingerprint: known} if known else {}
    return [one.kind for one in course(before, found, judged, NOW, as_of=NOW).steps]


def test_new_is_raised_then_renewed_once_a_day_and_lapses() -> None:
    """What is not found any more lapses, if its rule was asked."""
    assert _kinds(None, _found()) == ["raised"]
    assert _kinds(_known(), _found()) == ["renewed"]
    assert _kinds(_known(told_at=NOW - timedelta(hours=3)), _found()) == []
    assert _kinds(_known(told_at=NOW), _found(severity="critical")) == ["renewed"]
    assert _kinds(_known()) == ["lapsed"]
    assert _kinds(_known(), judged=()) == []
    assert _kinds(_known(state="lapsed"), _found()) == ["reopened"]


@pytest.mark.parametrize(
    ("known", "found", "kinds"),
    [
        (_known(state="accepted"), (), []),
        (_known(state="accepted"), (_found(),), ["renewed"]),
        (_known(state="done", decided_at=NOW - 27 * _DAY), (_found(),), []),
        (_known(state="done", decided_at=NOW - 28 * _DAY), (_found(),), ["reopened"]),
        (
            _known(state="dismissed", decided_at=NOW - 9 * _DAY, decided_harm=2, decided_severity="warning"),
            (_found(),),
            [],
        ),
        (
            _known(state="dismissed", decided_at=NOW, decided_harm=1.5, decided_severity="warning"),
            (_found(),),
            ["reopened"],
        ),
        (
            _known(state="dismissed", decided_at=NOW, decided_harm=9, decided_severity="info"),
            (_found(),),
            ["reopened"],
        ),
        (
            _known(
                state="dismissed", decided_at=NOW - 90 * _DAY, decided_harm=9, decided_severity="critical"
            ),
            (_found(),),
            ["reopened"],
        ),
    ],
)
def test_what_people_decided_stays_but_for_a_reason(
    known: Known, found: tuple[Recommendation, ...], kinds: list[str]
) -> None:
    """Accepted ones are not taken back; done ones return when they hold of days after;
    dismissed ones when they are twice as bad, more urgent, or ninety days old.
    """
    told = course({known.fingerprint: known}, found, (_RULE.id,), NOW, as_of=NOW).steps
    assert [one.kind for one in told] == kinds
    assert all(one.reason for one in told if one.kind == "reopened")


def test_most_pressing_ones_are_told_where_there_is_no_room_for_all() -> None:
    """500 are new at most; the others are counted."""
    found = [_found(str(n), score=n / 10) for n in range(MOST_NEW + 7)]
    told = course({}, found, (_RULE.id,), NOW, as_of=NOW)
    assert (len(told.steps), told.passed_over) == (MOST_NEW, 7)
    assert min(one.found.score for one in told.steps if one.found) == 0.7


def test_accepted_ones_take_no_room_and_no_tenant_takes_all() -> None:
    """A tenant with more than its share, however pressing, leaves another its own; what
    lapses makes room at once.
    """
    accepted = {str(n): _known(fingerprint=str(n), state="accepted") for n in range(MOST_NEW)}
    many = [
        replace(_found(score=90), fingerprint=f"{tenant}-{n}", tenant=tenant)
        for tenant, count in (("acme", MOST_NEW), ("", 60))
        for n in range(count)
    ]
    told = course(accepted, [*many, _found("globex", score=1)], (), NOW, as_of=NOW)
    tenants = Counter(one.found.tenant for one in told.steps if one.found)
    assert tenants == {"acme": MOST_NEW_OF_TENANT, "": 60, "globex": 1}
    assert told.passed_over == MOST_NEW - MOST_NEW_OF_TENANT
    full = {str(n): _known(fingerprint=str(n), tenant="acme") for n in range(MOST_NEW_OF_TENANT)}
    assert course(full, many[:1], (), NOW, as_of=NOW).steps == ()
    kinds = Counter(one.kind for one in course(full, many[:1], (_RULE.id,), NOW, as_of=NOW).steps)
    assert kinds == {"raised": 1, "lapsed": MOST_NEW_OF_TENANT}


def test_done_one_returns_for_days_after_it_was_done_alone() -> None:
    """Evidence ends at midnight: 28 days after noon of the 1st it still begins before it."""
    done = _known(state="done", decided_at=NOW - 28 * _DAY)
    later = NOW + timedelta(hours=12)
    assert course({done.fingerprint: done}, (_found(),), (), later, as_of=NOW).steps[0].kind == "reopened"
    done = replace(done, decided_at=NOW - 28 * _DAY + timedelta(hours=12))
    assert course({done.fingerprint: done}, (_found(),), (), later, as_of=NOW).steps == ()


_STATE = {"raised": "new", "reopened": "new", "lapsed": "lapsed"}


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(["", "accepted", "dismissed", "done"])), max_size=60)
)
def test_history_is_told_once_whatever_comes(days: list[tuple[bool, str]]) -> None:
    """Day by day found or not, decided or not: raised once; nobody's decision is undone
    but by reopening; telling again what was told already tells nothing.
    """
    known: Known | None = None
    raised = 0
    for day, (is_found, decision) in enumerate(days):
        now = NOW + day * _DAY
        found = (_found(),) if is_found else ()
        steps = course({known.fingerprint: known} if known else {}, found, (_RULE.id,), now, as_of=now).steps
        for step in steps:
            raised += step.kind == "raised"
            before = known.state if known else None
            known = replace(known or _known(), state=_STATE.get(step.kind, before or "new"), told_at=now)
            assert step.kind != "lapsed" or before == "new"
            assert step.kind != "reopened" or before in ("lapsed", "dismissed", "done")
        assert not course(
            {known.fingerprint: known} if known else {}, found, (_RULE.id,), now, as_of=now
        ).steps
        if known and decision:
            known = replace(known, state=decision, decided_at=now, decided_harm=3, decided_severity="warning")  # type: ignore[arg-type]
    assert raised <= 1
