"""One round: forecasts of the hours after `as_of`, and anomalies up to it.

Rows come before what is told of them, and the forecasts of all subjects last: where there
are some of an hour, its round is in the store. Whoever is killed between, the next one
does the same round again, writes the same rows into the same places, and tells once.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from schemas.events.insight.kpi import KpiBreached, KpiStateRemembered
from services.analyzer.anomalies.domain.tracking import Known, Tracked, track
from services.analyzer.anomalies.telling import Judged, breaches_of
from services.analyzer.forecast.history import DAYS, Round, StoredHistory, Subject
from services.analyzer.forecast.rows import ANOMALIES, FORECASTS, anomaly_row, forecast_row, none_rows
from services.analyzer.kpi.evaluator import StateLog
from services.common.bus import FencedError
from services.common.clock import Clock, MonotonicClock
from services.common.errors import BusUnavailableError
from services.common.process import metrics
from services.common.process.child.child_process import ChildProcess
from services.common.process.child.on_demand import Child, NotAnsweredError, OnDemandChild
from services.common.store import Store

log = structlog.get_logger(__name__)

_MODULE = "services.analyzer.forecast.child"
_JOB_S = 300.0
_TOLD_AGAIN = timedelta(days=2)
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class SharedStateLog(StateLog, Protocol):
    """Where several analyzers read and write: `BusStateLog`, or a fake."""

    async def read(self) -> KpiStateRemembered | None:
        """Reads what is there, and fences nobody."""


def start_child() -> Awaitable[Child]:
    """A process that works subjects out."""
    return ChildProcess.spawn(_MODULE, **_THREADS)


@dataclass
class Rounds:
    """Does rounds, for the group whose state `state_log` keeps."""

    group: str
    store: Store
    history: StoredHistory
    state_log: SharedStateLog
    clock: Clock
    monotonic: MonotonicClock
    zone: str
    longest_s: float
    child: OnDemandChild = field(default_factory=lambda: OnDemandChild(start_child, 60.0, _JOB_S))
    _stands_back_to_s: float | None = field(default=None, init=False)

    async def do(self, as_of: datetime) -> bool:
        """The round of the hour that ended at `as_of`; False where it was done already.

        Raises:
            BusUnavailableError: not told, or another has taken over.
            StoreUnavailableError: the store is not there now.
        """
        if await self._is_told_by_another(as_of):
            return False
        before = await self.history.newest_round()
        try:
            state = await self.state_log.open()
            if state is not None and state.evaluated_to >= as_of:
                return False
            begun_s = self.monotonic()
            tracked, judged = await self._work_out(as_of, before)
            await self._tell(tracked, judged, state, as_of)
            metrics.FORECAST_ROUND_SECONDS.set(self.monotonic() - begun_s)
            log.info("round_done", as_of=as_of, lasting=sum(one.lasts for one in tracked))
        except FencedError as error:
            self._stands_back_to_s = self.monotonic() + self.longest_s + _JOB_S
            raise BusUnavailableError(f"another forecasts for {self.group} by now") from error
        finally:
            await asyncio.gather(self.child.close(), self.state_log.close())
        return True

    async def close(self) -> None:
        """Ends what works."""
        await asyncio.gather(self.child.close(), self.state_log.close())

    async def _is_told_by_another(self, as_of: datetime) -> bool:
        """Whether who fenced this one has told its round. To begin would fence that one in
        turn, and so on for ever: it is given the time that a round takes.

        Raises:
            BusUnavailableError: not told, and the time is not over.
        """
        if self._stands_back_to_s is None:
            return False
        state = await self.state_log.read()
        is_told = state is not None and state.evaluated_to >= as_of
        if not is_told and self.monotonic() < self._stands_back_to_s:
            raise BusUnavailableError(f"another forecasts for {self.group}; its round is waited for")
        self._stands_back_to_s = None
        return is_told

    async def _work_out(self, as_of: datetime, before: Round | None) -> tuple[list[Tracked], Judged]:
        """Asks for each subject and writes what comes of it: of one whose past was not
        known (history that was recorded late, or could not be worked out) all anomalies.
        Those, and the subjects that were worked out.
        """
        whole = as_of - timedelta(days=DAYS)
        known = await self.history.known(whole)
        ends_s = self.monotonic() + self.longest_s
        tracked: list[Tracked] = []
        judged: dict[tuple[str, str], dict[str, float]] = {}
        rows: list[tuple[Any, ...]] = []
        for subject in await self.history.read(as_of):
            told = before is not None and before.continues(subject, as_of)
            since = before.as_of - _TOLD_AGAIN if before is not None and told else whole
            found = await self._ask(subject, since, ends_s)
            if "left" in found:
                why = f"it could not be worked out: {found['left']}"
                rows += none_rows(as_of, subject.tenant, subject.model, why)
                continue
            judged[subject.tenant, subject.model] = _last_hour(subject)
            rows += [forecast_row(as_of, subject.tenant, subject.model, one) for one in found["forecasts"]]
            tracked += _tracked(subject, found["anomalies"], known, as_of)
        anomalies = [anomaly_row(as_of, one) for one in tracked]
        await self.store.insert(ANOMALIES, anomalies, token=self._token(as_of, anomalies))
        await self.store.insert(FORECASTS, rows, token=self._token(as_of, rows))
        return tracked, judged

    def _token(self, as_of: datetime, rows: Sequence[tuple[Any, ...]]) -> str:
        """The same for the same rows of the same hour. A first try that left subjects out
        wrote others: the second one's replace them.
        """
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()[:32]
        return f"{self.group}-{as_of:%Y%m%d%H}-{digest}"

    async def _ask(self, subject: Subject, since: datetime, ends_s: float) -> dict[str, Any]:
        """What is worked out of a subject, or why nothing is (`left`): the others go on."""
        if self.monotonic() >= ends_s:
            metrics.FORECAST_SUBJECTS.labels("no_time").inc()
            return {"left": f"{self.longest_s:g} s were over (TOCSIN_FORECAST_ROUND_S)"}
        job = {
            "first_hour": subject.first_hour,
            "zone": self.zone,
            "since": int(since.timestamp()) // 3600,
            "sums": subject.sums,
            "parts": subject.parts,
        }
        try:
            found: dict[str, Any] = await self.child.ask(job, tenant="")
        except NotAnsweredError as error:
            found = {"left": f"the process that works it out was not there ({error.why})"}
        metrics.FORECAST_SUBJECTS.labels("failed" if "left" in found else "done").inc()
        if "left" in found:
            log.warning("subject_left", tenant=subject.tenant, model=subject.model, why=found["left"])
        return found

    async def _tell(
        self,
        tracked: Sequence[Tracked],
        judged: Judged,
        state: KpiStateRemembered | None,
        as_of: datetime,
    ) -> None:
        """Breaches that begin and end, and that the round is done, in one transaction."""
        opened_before = state.open if state else ()
        told, opened = breaches_of(tracked, opened_before, judged=judged, as_of=as_of, now=self.clock())
        after = KpiStateRemembered(group=self.group, evaluated_to=as_of, open=opened)
        await self.state_log.write(told, after)
        self._count(told, tracked)

    def _count(self, told: Sequence[KpiBreached], tracked: Sequence[Tracked]) -> None:
        metrics.ANOMALIES_LASTING.clear()
        for one in tracked:
            if one.lasts:
                metrics.ANOMALIES_LASTING.labels(one.anomaly["figure"]).inc()
        for breach in told:
            log.info(
                "anomaly_told", metric=breach.metric, state=breach.state.value, breach_id=breach.breach_id
            )


def _tracked(
    subject: Subject, anomalies: Sequence[dict[str, Any]], known: Sequence[Known], as_of: datetime
) -> list[Tracked]:
    return track(subject.tenant, subject.model, anomalies, known, as_of=int(as_of.timestamp()) // 3600)


def _last_hour(subject: Subject) -> dict[str, float]:
    """Figures of a subject's last hour, as anomalies have them; latency is the mean."""
    last = {name: values[-1] for name, values in subject.sums.items() if values}
    figures: dict[str, float] = {
        name: last[name] for name in ("requests", "tokens", "cost_usd", "threats") if name in last
    }
    if "failed" in last:
        figures["errors"] = last["failed"]
    if last.get("requests") and "duration_s" in last:
        figures["latency_s"] = last["duration_s"] / last["requests"]
    return figures
