"""Warns once when a share of a budget is spent, however many gateways see it.

All gateways share one transactional id. A gateway that has something to warn of starts a
producer with that id, which fences the gateway that used it before. Then it reads which
warnings were given, and writes those that are missing in one transaction, which commits
only if no other gateway has taken the id since. A budget's newest record says up to which
share it was warned, so that restarts do not warn again.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import structlog
from pydantic import TypeAdapter

from schemas.events.budgets import BudgetWarned
from schemas.topics import BUDGETS_WARNED
from services.common.bus import MessageReader, Outgoing, Start, Tail, TransactionalProducer
from services.common.clock import Clock
from services.common.errors import TocsinError
from services.common.process import metrics
from services.gateway.budgets.book import Budget, BudgetBook
from services.gateway.budgets.spending import Spending

log = structlog.get_logger(__name__)

_EVERY_S = 0.5
_AFTER_FAILURE_S = 2.0
_TIMEOUT_S = 15.0
TRANSACTIONAL_ID = "tocsin-budget-warnings"


def due(
    budgets: Iterable[Budget],
    spending: Spending,
    warned: Mapping[str, BudgetWarned],
    now: datetime,
) -> list[BudgetWarned]:
    """The warnings that are still to be said, in rising shares."""
    found = []
    for budget in budgets:
        spent = spending.spent(budget.spend_key, now)
        if not budget.warn_at or not spent:
            continue
        period = spending.period(budget.spend_key, now)
        known = warned.get(budget.id)
        told = Decimal(0)
        if known is not None and (known.period_start, known.limit_usd) == (period.start, budget.limit_usd):
            told = known.share
        found += [
            BudgetWarned(
                budget_id=budget.id,
                tenant=budget.tenant,
                subject=budget.entry.subject,
                period=budget.spend_key.period,
                time_zone=budget.spend_key.time_zone,
                period_start=period.start,
                renews_at=period.end,
                share=share,
                limit_usd=budget.limit_usd,
                spent_usd=spent,
                hard=budget.hard,
                warned_at=now,
            )
            for share in budget.warn_at
            if told < share and spent >= share * budget.limit_usd
        ]
    return found


@dataclass
class BudgetWarner:
    """Looks a few times a second; `is_known` says whether a budget's spending is."""

    url: str = field(repr=False)
    name: str
    book: BudgetBook
    spending: Spending
    is_known: Callable[[Budget], bool]
    clock: Clock
    every_s: float = _EVERY_S
    _warned: dict[str, BudgetWarned] = field(default_factory=dict, init=False)
    _tail: Tail | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._reader = MessageReader(TypeAdapter(BudgetWarned), BUDGETS_WARNED.name)

    async def run(self) -> None:
        """Warns until cancelled."""
        while True:
            await asyncio.sleep(self.every_s * random.uniform(0.5, 1.5))  # noqa: S311  gateways take turns
            if not self._due():
                continue
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await self._warn()
            except (TocsinError, TimeoutError) as error:
                log.info("budget_warning_waits", error=str(error))
                await asyncio.sleep(_AFTER_FAILURE_S * random.uniform(0.2, 1.0))  # noqa: S311

    async def close(self) -> None:
        """Disconnects."""
        if self._tail is not None:
            await self._tail.close()

    def _due(self) -> list[BudgetWarned]:
        known = (one for one in self.book.budgets if self.is_known(one))
        return due(known, self.spending, self._warned, self.clock())

    async def _warn(self) -> None:
        await self._read()  # another gateway may have said it: then nobody is fenced
        if not self._due():
            return
        producer = TransactionalProducer(self.url, self.name, transactional_id=TRANSACTIONAL_ID)
        try:
            await producer.start(timeout_s=_TIMEOUT_S)
            await self._read()
            wanted = self._due()
            if not wanted:
                return
            async with producer.transaction(self.name, {}):
                for one in wanted:
                    await producer.send_soon(_record(one))
        finally:
            await producer.close()
        for one in wanted:
            self._warned[one.budget_id] = one
            metrics.BUDGETS_WARNED.labels(one.subject.kind, one.period).inc()
            log.info(
                "budget_warned",
                budget=one.budget_id,
                tenant=one.tenant,
                share=str(one.share),
                renews_at=str(one.renews_at),
            )

    async def _read(self) -> None:
        """What was warned of by now."""
        if self._tail is None:
            tail = Tail(self.url, self.name, committed_only=True, topic=BUDGETS_WARNED.name)
            await tail.start([0], Start.BEGINNING)
            self._tail = tail
        async for records in self._tail.read_to_end(poll_s=0.05):
            for record in records:
                if record.value is None:  # the budget's owner was erased
                    self._warned.pop((record.key or b"").decode(errors="replace"), None)
                    continue
                warned = self._reader.read(record)
                if warned is not None:
                    self._warned[warned.budget_id] = warned


def _record(warned: BudgetWarned) -> Outgoing:
    return Outgoing(BUDGETS_WARNED.name, warned, subject=warned.budget_id, tenant=warned.tenant, partition=0)
