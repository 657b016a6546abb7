"""Every rule on the real store: what is planted is told, what is nearly it is not."""

from datetime import timedelta

import pytest

from services.analyzer.advice.domain.advice import advise
from services.analyzer.advice.domain.rules import RULES
from services.common.store import Store
from services.common.store.saved_queries import saved_queries
from tests.contract.analytics.advice.cases import CASES
from tests.contract.analytics.advice.rows import TO

SAVED = saved_queries()


def test_each_rule_has_its_case_and_its_query() -> None:
    """Nothing is left untested, and no evidence without a rule."""
    assert sorted(CASES) == sorted(RULES)
    assert {name for name in SAVED if name.startswith("recommendations/")} == {
        one.query for one in RULES.values()
    }


@pytest.mark.parametrize("name", sorted(RULES))
async def test_rule_tells_what_is_planted_and_not_what_is_nearly_it(planted: Store, name: str) -> None:
    """With the figures that were counted by hand; and the evidence of the tenant alone is
    the same row.
    """
    rule, case = RULES[name], CASES[name]
    saved = SAVED[rule.query]
    given = {"from": (TO - timedelta(days=rule.days)).isoformat(), "to": TO.isoformat(), "limit": "1000"}
    rows = await planted.query(saved.limited, saved.values(given, TO))
    assert all(set(rule.subject) <= set(row) for row in rows)
    told = [one for one in advise(rule, rows) if any(text.startswith(name) for text in one.subject.values())]
    assert [one.subject for one in told] == [case.subject], [
        {key: value for key, value in row.items() if key != "daily"}
        for row in rows
        if any(str(row[part]).startswith(name) for part in rule.subject)
    ]
    one = told[0]
    assert {key: one.facts[key] for key in case.facts} == case.facts
    assert 0 <= one.gain.low <= one.gain.value <= one.gain.high
    assert 0 < one.gain.confidence < 1
    assert "{" not in one.title + one.why
    if one.tenant:
        own = await planted.query(saved.limited, saved.values(given | {"tenant": one.tenant}, TO))
        assert [again.subject for again in advise(rule, own)] == [case.subject]
