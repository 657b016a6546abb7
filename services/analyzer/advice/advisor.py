"""Asks each rule's evidence once a day, and tells what follows.

Nothing is remembered but in the store: what is known is `v_recommendations`. Who is
killed, or begins while another has not ended, at most tells something again, which
changes nothing: only people's decisions, reopening and lapsing make a state.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import structlog

from schemas.events.insight.recommendations import Advice, RecommendationChange, RecommendationChanged
from schemas.topics import RECOMMENDATIONS
from services.analyzer.advice.domain.advice import Recommendation, advise
from services.analyzer.advice.domain.lifecycle import Known, Step, course
from services.analyzer.advice.domain.rule import Rule
from services.analyzer.advice.domain.rules import RULES
from services.common.bus import Outgoing
from services.common.clock import Clock
from services.common.errors import StoreRejectedError, StoreUnavailableError
from services.common.process import metrics
from services.common.store import Store
from services.common.store.saved_queries import SavedQuery, saved_queries

log = structlog.get_logger(__name__)

SETTLE = timedelta(minutes=15)
"""So long after midnight (UTC) the day before is taken to be recorded."""
_ROUND_S = 900.0
_MOST_ROWS = 1000
_MOST_KNOWN = 10_000
_NOT_ASKED = (StoreRejectedError, StoreUnavailableError, TypeError, ValueError, KeyError, ArithmeticError)
"""By the store, or by a NULL or no finite number in the evidence where a rule wants one."""
_KNOWN = (
    "SELECT fingerprint, tenant, rule, state, told_at, severity, days, decided_at, decided_harm, "
    "decided_severity "
    "FROM v_recommendations ORDER BY told_at DESC LIMIT {most:UInt32} "
    "SETTINGS max_execution_time = 30, max_memory_usage = 268435456"
)


@dataclass
class Advisor:
    """The one that advises, while it is the one."""

    store: Store
    send: Callable[[Outgoing], Awaitable[object]]
    clock: Clock
    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    _queries: Mapping[str, SavedQuery] = field(default_factory=saved_queries, init=False)
    _done_to: datetime | None = field(default=None, init=False)

    async def advise_if_due(self) -> bool:
        """Looks at the days up to the last midnight (UTC), once each; whether it did.

        Raises:
            StoreUnavailableError: nothing could be asked; it is due again.
            BusUnavailableError: something was not told; it is due again.
            TimeoutError: it took longer than a quarter of an hour; it is due again.
        """
        due = last_midnight(self.clock() - SETTLE)
        if self._done_to is not None and self._done_to >= due:
            return False
        async with asyncio.timeout(_ROUND_S):
            await self.advise(due)
        self._done_to = due
        return True

    async def advise(self, as_of: datetime) -> None:
        """Looks at the days before `as_of`, a midnight.

        Raises:
            StoreUnavailableError: nothing could be asked.
            BusUnavailableError: something was not told.
        """
        rows = await self.store.query(_KNOWN, {"most": _MOST_KNOWN})
        known = {str(row["fingerprint"]): known_of(row) for row in rows}
        found, judged = await self._found(as_of)
        now = self.clock()
        followed = course(known, found, judged, now, as_of=as_of)
        if followed.passed_over:
            log.warning("recommendations_passed_over", count=followed.passed_over)
            metrics.RECOMMENDATIONS_PASSED_OVER.inc(followed.passed_over)
        for step in followed.steps:
            before = known.get(step.fingerprint)
            change = change_of(step, before.tenant if before else "", now, as_of)
            record = Outgoing(
                RECOMMENDATIONS.name, change, subject=change.fingerprint, tenant=change.tenant, partition=0
            )
            await self.send(record)
            metrics.RECOMMENDATIONS.labels(step.kind).inc()
        log.info("advised", as_of=as_of, rules=len(judged), found=len(found), told=len(followed.steps))

    async def _found(self, as_of: datetime) -> tuple[list[Recommendation], set[str]]:
        """What the rules say, and those of which all evidence was read. One that cannot be
        asked, for it takes too long or too much memory, or makes nothing of its evidence,
        says nothing, and keeps no other from it.
        """
        found: list[Recommendation] = []
        judged: set[str] = set()
        failed: Exception | None = None
        for rule in self.rules.values():
            try:
                rows = await self._evidence(rule, as_of)
                said = _tellable(rule, rows, as_of)
            except _NOT_ASKED as error:
                log.warning("rule_not_asked", rule=rule.id, error=str(error))
                metrics.RECOMMENDATION_RULES_FAILED.labels(rule.id).inc()
                failed = error
                continue
            found += said
            if len(rows) < _MOST_ROWS:
                judged.add(rule.id)
            else:  # whatever was cut off may hold: nothing of this rule lapses
                log.warning("rule_evidence_cut", rule=rule.id, rows=len(rows))
                metrics.RECOMMENDATION_RULES_CUT.labels(rule.id).inc()
        if failed is not None and not judged and not found:
            raise StoreUnavailableError(f"no rule could be asked: {failed}") from failed
        return found, judged

    async def _evidence(self, rule: Rule, as_of: datetime) -> Sequence[Mapping[str, Any]]:
        saved = self._queries[rule.query]
        begin = as_of - timedelta(days=rule.days)
        values = {"from": begin, "to": as_of, "tenant": "", "limit": _MOST_ROWS}
        return await self.store.query(saved.limited, values)


def _tellable(rule: Rule, rows: Sequence[Mapping[str, Any]], as_of: datetime) -> list[Recommendation]:
    """What a rule says; raises here, not when it is told, what cannot be told."""
    said = advise(rule, rows)
    for one in said:
        advice_of(one, as_of)
    return said


def last_midnight(moment: datetime) -> datetime:
    """The midnight (UTC) before a moment."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def known_of(row: Mapping[str, Any]) -> Known:
    """A row of v_recommendations."""
    return Known(
        fingerprint=str(row["fingerprint"]),
        tenant=str(row["tenant"]),
        rule=str(row["rule"]),
        state=row["state"],
        told_at=row["told_at"],
        severity=str(row["severity"]),
        reach=timedelta(days=int(row["days"])),
        decided_at=row["decided_at"],
        decided_harm=float(row["decided_harm"] or 0),
        decided_severity=str(row["decided_severity"] or "info"),
    )


def change_of(step: Step, tenant: str, now: datetime, as_of: datetime) -> RecommendationChanged:
    """A step as it is told; `tenant` is that of one that is known."""
    found = step.found
    return RecommendationChanged(
        change_id=uuid4().hex,
        fingerprint=step.fingerprint,
        tenant=tenant if found is None else found.tenant,
        change=RecommendationChange(step.kind),
        changed_at=now,
        reason=step.reason,
        advice=None if found is None else advice_of(found, as_of),
    )


def advice_of(found: Recommendation, as_of: datetime) -> Advice:
    """A recommendation as it is told."""
    gain = found.gain
    return Advice(
        rule=found.rule.id,
        family=found.rule.family,
        severity=found.severity,
        score=found.score,
        title=found.title,
        why=found.why,
        actions=found.actions,
        subject=found.subject,
        facts=found.facts,
        query=found.rule.query,
        days=found.rule.days,
        as_of=as_of,
        figure=found.rule.harm.figure,
        unit=found.rule.harm.unit,
        harm=gain.harm,
        target=gain.target,
        gain=gain.value,
        gain_low=gain.low,
        gain_high=gain.high,
        confidence=gain.confidence,
        statistic=gain.statistic,
    )
