"""Evidence that is cut, or that a rule can make nothing of."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

from schemas.events.insight.recommendations import RecommendationChanged
from services.analyzer.advice.advisor import Advisor
from services.analyzer.advice.domain.advice import fingerprint_of
from services.analyzer.advice.domain.rule import AtLeast, Harm
from services.analyzer.advice.domain.rules import RULES
from services.common.bus import Outgoing
from services.common.errors import StoreUnavailableError
from services.common.store.saved_queries import saved_queries

NOW = datetime(2026, 11, 28, tzinfo=UTC)
_GOOD, _ODD = (
    replace(
        RULES[name],
        subject=("tenant",),
        lead=AtLeast("usd", 10),
        conditions=(),
        critical=None,
        harm=Harm("dollars", "USD a week", target="usual"),
        title="t",
        why="w",
        actions=(),
    )
    for name in ("truncated_answers", "abandoned_streams")
)


def _row(**values: Any) -> dict[str, Any]:
    return {"tenant": "acme", "usd": 20.0, "usual": 1.0, "daily": [2.0, 4.0, 3.0, 2.0, 4.0, 3.0]} | values


def _known(rule: str, tenant: str) -> dict[str, Any]:
    names = ("decided_at", "decided_harm", "decided_severity")
    return dict.fromkeys(names) | {
        "fingerprint": fingerprint_of(rule, {"tenant": tenant}),
        "tenant": tenant,
        "rule": rule,
        "state": "new",
        "told_at": NOW,
        "severity": RULES[rule].severity,
        "days": 28,
    }


@dataclass
class Scene:
    """A store that answers each rule with its rows, and what is told."""

    rows: dict[str, list[dict[str, Any]]]
    known: list[dict[str, Any]] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)

    async def query(self, sql: str, _parameters: Any) -> list[dict[str, Any]]:
        """What is known, or a rule's evidence."""
        for rule, rows in self.rows.items():
            if sql == saved_queries()[RULES[rule].query].limited:
                return rows
        return self.known

    async def send(self, record: Outgoing) -> None:
        """Notes it."""
        assert isinstance(record.value, RecommendationChanged)
        self.told.append((record.value.change.value, record.tenant))

    async def advise(self) -> None:
        """As an advisor with two rules does."""
        store: Any = self
        await Advisor(store, self.send, lambda: NOW, {one.id: one for one in (_ODD, _GOOD)}).advise(NOW)


def _count(name: str, rule: str) -> float:
    return REGISTRY.get_sample_value(f"tocsin_recommendation_rules_{name}_total", {"rule": rule}) or 0.0


@pytest.mark.parametrize(
    "odd",
    [
        {"usual": None},
        {"usual": float("nan")},
        {"daily": [1e308] * 7},
        {"daily": None},
        {"usd": "many"},
    ],
    ids=str,
)
async def test_rule_that_makes_nothing_of_its_evidence_keeps_no_other_from_it(odd: dict[str, Any]) -> None:
    """It is counted, tells nothing and lapses nothing; the other one is told."""
    scene = Scene({_ODD.id: [_row(), _row(tenant="globex", **odd)], _GOOD.id: [_row()]})
    scene.known = [_known(_ODD.id, "initech"), _known(_GOOD.id, "umbrella")]
    before = _count("failed", _ODD.id)
    await scene.advise()
    assert scene.told == [("raised", "acme"), ("lapsed", "umbrella")]
    assert _count("failed", _ODD.id) == before + 1


async def test_where_no_rule_makes_anything_of_its_evidence_that_is_an_error() -> None:
    """It is tried again."""
    scene = Scene({one.id: [_row(usual=None)] for one in (_ODD, _GOOD)})
    with pytest.raises(StoreUnavailableError, match="no rule could be asked"):
        await scene.advise()


@pytest.mark.parametrize(("rows", "told"), [(999, ["lapsed"]), (1000, [])])
async def test_evidence_that_is_cut_lapses_nothing(rows: int, told: list[str]) -> None:
    """What is beyond 1000 rows was not seen: it may hold."""
    below = [_row(tenant=f"t{number}", usd=1.0) for number in range(rows)]
    scene = Scene({_ODD.id: below, _GOOD.id: []}, [_known(_ODD.id, "acme")])
    before = _count("cut", _ODD.id)
    await scene.advise()
    assert [change for change, _ in scene.told] == told
    assert _count("cut", _ODD.id) - before == (not told)
