"""From rows to recommendations."""

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.analyzer.advice.domain.advice import advise, fingerprint_of, ranked
from services.analyzer.advice.domain.rule import AtLeast, Harm, NotWorse, Rule, ShareAbove
from services.analyzer.advice.domain.rules import RULES
from services.common.store.saved_queries import QUERIES, saved_queries

_RULE = Rule(
    id="plain",
    family="cost",
    severity="info",
    days=14,
    subject=("tenant",),
    lead=AtLeast("usd", 10),
    critical=AtLeast("usd", 1000),
    harm=Harm("dollars", "USD a week", target="usual"),
    title="{tenant} spends {usd}",
    why="{usd} in all, {gain} to gain",
    actions=("tocsin costs --tenant {tenant}",),
)


def _row(**values: Any) -> dict[str, Any]:
    return {"tenant": "acme", "usd": 20.0, "usual": 1.0, "daily": [2.0, 4.0, 3.0, 2.0, 4.0, 3.0]} | values


def test_row_becomes_a_recommendation_with_its_figures() -> None:
    """Text, gain for a week, subject, and a fingerprint that is always the same."""
    (found,) = advise(_RULE, [_row()])
    assert (found.title, found.tenant, found.severity) == ("acme spends 20", "acme", "info")
    assert found.gain.harm == pytest.approx(3)
    assert found.gain.value == pytest.approx(14)
    assert found.fingerprint == fingerprint_of("plain", {"tenant": "acme"})
    assert found.fingerprint == advise(_RULE, [_row(usd=50.0)])[0].fingerprint
    assert advise(_RULE, [_row(usd=2000.0)])[0].severity == "critical"


@pytest.mark.parametrize(
    "row",
    [_row(usd=9.9), _row(usd=None), _row(daily=[3.0] * 4), _row(daily=[1.0] * 7), _row(daily=[None] * 9)],
)
def test_row_below_the_line_or_with_too_little_or_without_gain_says_nothing(row: dict[str, Any]) -> None:
    """No recommendation without its condition, five days, and something to gain."""
    assert advise(_RULE, [row]) == []


def test_names_in_commands_are_one_word_to_a_shell() -> None:
    """Whoever names a tenant writes no command."""
    (found,) = advise(_RULE, [_row(tenant="a; rm -rf {usd}")])
    assert found.actions == ("tocsin costs --tenant 'a; rm -rf {usd}'",)


def test_share_that_is_above_by_luck_is_not_told() -> None:
    """The lower end of Wilson's interval must be above the line."""
    condition = ShareAbove("bad", "all", 0.2)
    assert condition.excess({"bad": 3, "all": 10}) is None
    assert condition.excess({"bad": 300, "all": 1000}) == pytest.approx(1 / 3)
    assert condition.excess({"bad": 0, "all": 0}) is None
    even = NotWorse("g", "n", "h", "m", 0.1)
    assert even.excess({"g": 160, "n": 200, "h": 160, "m": 200}) == 0
    assert even.excess({"g": 16, "n": 20, "h": 16, "m": 20}) is None


@given(st.lists(st.tuples(st.floats(0, 1e6), st.lists(st.floats(0, 1e6), max_size=20)), max_size=20))
def test_scores_are_bounded_and_rank_alike_in_any_order(rows: list[tuple[float, list[float]]]) -> None:
    """0 to 100, whatever the figures; intervals hold their values."""
    found = advise(_RULE, [_row(tenant=str(n), usd=usd, daily=days) for n, (usd, days) in enumerate(rows)])
    assert ranked(found) == ranked(found[::-1])
    for one in found:
        assert 0 <= one.score <= 100
        assert 0 <= one.gain.low <= one.gain.high
        assert 0 < one.gain.confidence < 1


def test_rules_are_explicit_and_have_their_query() -> None:
    """At least twenty, in four families, each text filled by its own query's columns."""
    saved = saved_queries()
    assert len(RULES) >= 20
    assert {one.family for one in RULES.values()} == {"security", "performance", "usage", "cost"}
    for rule in RULES.values():
        sql = saved[rule.query].sql
        names = {
            name
            for text in (rule.title, rule.why, *rule.actions)
            for _, name, _, _ in string.Formatter().parse(text)
            if name
        }
        assert all(name in sql for name in names), rule.id
        assert rule.harm.counted or rule.harm.target in sql
        assert set(saved[rule.query].parameters) == {"from", "to", "tenant", "limit"}


def test_page_lists_every_rule_with_its_conditions() -> None:
    """docs/concepts/analytics/recommendations.md is what the code does."""
    page = (QUERIES.parents[2] / "docs/concepts/analytics/recommendations.md").read_text(encoding="utf-8")
    for rule in RULES.values():
        line = next(one for one in page.splitlines() if one.startswith(f"| `{rule.id}` "))
        assert all(one.described() in line for one in (rule.lead, *rule.conditions)), rule.id
        assert f"| {rule.days} |" in line
