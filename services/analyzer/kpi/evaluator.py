"""Judges one window after the other, and tells what begins and ends.

What is told and what is remembered of it is one transaction, so whoever is killed when,
each breach is told once and so is its end. Between two of them nothing is written but,
each minute, up to when windows were judged; judging some again changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from schemas.events.budgets import BudgetWarned
from schemas.events.insight.kpi import BreachState, KpiBreached, KpiStateRemembered, OpenBreach
from services.analyzer.kpi.domain.breaches import Reading, Rule, Verdict, judge, warn_of_budget
from services.analyzer.kpi.domain.grid import HOP, MINUTE, WINDOW, floor, is_passed_over, next_end
from services.analyzer.kpi.rules import ERROR_RATE, LATENCY, SATISFACTION, THREATS
from services.common.bus import FencedError
from services.common.bus.subscriber import Event
from services.common.clock import Clock
from services.common.errors import BusUnavailableError
from services.common.process import metrics

log = structlog.get_logger(__name__)

_WRITE_EVERY = MINUTE
_METRICS = frozenset({ERROR_RATE, LATENCY, SATISFACTION, THREATS, "budget_share"})


class Readings(Protocol):
    """Where figures come from: `StoredReadings`, or a fake."""

    async def recent(self, end: datetime) -> list[Reading]:
        """Those of the five minutes before `end`."""

    async def slow(self, end: datetime) -> list[Reading]:
        """Those that are asked for once a minute."""

    async def late_requests(self, end: datetime) -> int:
        """How many came late in the minute before `end`."""

    async def examples(self, breach: OpenBreach) -> tuple[str, ...]:
        """Ids of requests that show a breach."""


class StateLog(Protocol):
    """Where it reads and writes: `BusStateLog`, or a fake."""

    async def open(self) -> KpiStateRemembered | None:
        """Fences whoever wrote before, and reads what is there."""

    async def write(self, told: Sequence[KpiBreached], state: KpiStateRemembered) -> None:
        """Writes all of it, or nothing."""

    async def close(self) -> None:
        """Disconnects."""


class Progress(Protocol):
    """Up to when events are recorded: `RecordedProgress`, or a fake."""

    async def watermark(self, now: datetime) -> datetime | None:
        """Everything that ended before is recorded; None where that is not known."""

    def is_quiet_since(self, moment: datetime) -> bool:
        """Whether nothing was published after `moment`."""


@dataclass
class Evaluator:
    """The one that judges, while it is the one."""

    group: str
    rules: dict[str, Rule]
    readings: Readings
    state_log: StateLog
    progress: Progress
    clock: Clock
    _state: KpiStateRemembered | None = field(default=None, init=False)
    _written_to: datetime | None = field(default=None, init=False)
    _working: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def judge_what_is_due(self) -> None:
        """Judges every window that is closed and was not judged yet.

        Raises:
            BusUnavailableError: what follows was not written, or another has taken over;
                what was told is then read again.
            StoreUnavailableError: the store does not tell figures now.
        """
        async with self._working:
            await self._remembering(self._judge_what_is_due)

    async def on_budgets_warned(self, events: Sequence[Event[BudgetWarned]]) -> None:
        """Tells budgets of which a share was spent.

        Raises:
            BusUnavailableError: it was not written, or another has taken over.
        """
        async with self._working:
            await self._remembering(lambda: self._warn([event.message for event in events]))

    async def stand_by(self) -> None:
        """Forgets what it knows: another judges."""
        async with self._working:
            if self._state is not None:
                self._state = None
                await self.state_log.close()
                metrics.KPI_BREACHES_OPEN.clear()

    async def close(self) -> None:
        """Disconnects."""
        await self.state_log.close()

    async def _remembering(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except FencedError as error:
            self._state = None
            raise BusUnavailableError(f"another judges windows for {self.group} by now") from error
        except BusUnavailableError:
            self._state = None
            raise

    async def _judge_what_is_due(self) -> None:
        state, watermark = await self._known(), await self.progress.watermark(self.clock())
        metrics.KPI_BEHIND_SECONDS.set((self.clock() - state.evaluated_to).total_seconds())
        while watermark is not None and (end := next_end(state.evaluated_to, watermark)) is not None:
            if is_passed_over(state.evaluated_to, end):
                log.warning("windows_passed_over", since=state.evaluated_to, until=end)
                metrics.KPI_PASSED_OVER_SECONDS.inc((end - state.evaluated_to).total_seconds())
            state = await self._judge(state, end)

    async def _known(self) -> KpiStateRemembered:
        if self._state is None:
            self._state = await self._opened()
            self._written_to = self._state.evaluated_to
            log.info("windows_known", judged_to=self._state.evaluated_to, open=len(self._state.open))
            self._count_open()
        return self._state

    async def _opened(self) -> KpiStateRemembered:
        found = await self.state_log.open()
        if found is None:  # nothing was judged before: the past is not told of
            found = KpiStateRemembered(group=self.group, evaluated_to=floor(self.clock(), HOP))
            await self.state_log.write((), found)
        return found

    async def _judge(self, state: KpiStateRemembered, end: datetime) -> KpiStateRemembered:
        read = {ERROR_RATE, LATENCY, THREATS}
        is_quiet = self.progress.is_quiet_since(end - WINDOW - timedelta(seconds=1))
        readings = [] if is_quiet else await self.readings.recent(end)
        if end == floor(end, MINUTE):
            read.add(SATISFACTION)
            readings += await self.readings.slow(end)
            if not is_quiet:
                metrics.KPI_LATE.inc(await self.readings.late_requests(end))
        verdict = judge(self.rules, readings, state.open, at=end, read=read)
        metrics.KPI_WINDOWS.inc()
        return await self._keep(state, verdict, end)

    async def _warn(self, warnings: Sequence[BudgetWarned]) -> None:
        state = await self._known()
        for warned in warnings:
            verdict = warn_of_budget(warned, state.open, judged_to=state.evaluated_to)
            state = await self._keep(state, verdict, state.evaluated_to)

    async def _keep(self, state: KpiStateRemembered, verdict: Verdict, end: datetime) -> KpiStateRemembered:
        """Writes what is to be told with what is to be remembered, where something is."""
        if verdict.passed_over:
            log.warning("breaches_passed_over", count=verdict.passed_over, open=len(verdict.open))
            metrics.KPI_BREACHES_PASSED_OVER.inc(verdict.passed_over)
        after = KpiStateRemembered(group=self.group, evaluated_to=end, open=verdict.open)
        is_due = self._written_to is None or end - self._written_to >= _WRITE_EVERY
        if verdict.told or verdict.open != state.open or is_due:
            told = [await self._complete(one) for one in verdict.told]
            await self.state_log.write(told, after)
            self._written_to = end
            self._tell(told)
        self._state = after
        if verdict.open != state.open:
            self._count_open()
        return after

    async def _complete(self, one: KpiBreached) -> KpiBreached:
        """With examples where it begins, and when it was noticed."""
        examples: tuple[str, ...] = ()
        if one.state is BreachState.BREACHED:
            examples = await self.readings.examples(
                OpenBreach.model_validate(one.model_dump(include=set(OpenBreach.model_fields)))
            )
        return one.model_copy(update={"examples": examples, "detected_at": self.clock()})

    def _tell(self, told: Sequence[KpiBreached]) -> None:
        for one in told:
            log.info("kpi_breach", metric=one.metric, state=one.state.value, breach_id=one.breach_id)
            metrics.KPI_BREACHES.labels(one.metric, one.state.value).inc()

    def _count_open(self) -> None:
        opened = [one.metric for one in self._state.open] if self._state else []
        for metric in sorted(_METRICS):
            metrics.KPI_BREACHES_OPEN.labels(metric).set(opened.count(metric))
