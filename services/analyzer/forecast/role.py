"""The forecast role: when a round is due, and who does it."""

import asyncio
import contextlib
from datetime import datetime, timedelta

import structlog

from schemas.topics import COMPLETED, FINDINGS
from services.analyzer.forecast.history import StoredHistory
from services.analyzer.forecast.round import Rounds
from services.analyzer.kpi.progress import RecordedProgress
from services.analyzer.kpi.state_log import BusStateLog
from services.analyzer.settings import Settings
from services.common.bus.administration.group_progress import GroupProgress
from services.common.bus.subscriber.asyncapi import Document
from services.common.clock import monotonic_s, utc_now
from services.common.errors import BusUnavailableError, StoreRejectedError, StoreUnavailableError
from services.common.process import metrics
from services.common.process.health import Reporter
from services.common.retry import Pauses
from services.common.store import Store

log = structlog.get_logger(__name__)

_EVERY_S = 5.0
_PAUSES = Pauses(first_s=_EVERY_S, longest_s=600.0)
"""After rounds that failed: each is done again whole."""
_QUERY_S = 90.0


class ForecastRole:
    """Once an hour, when all of it is recorded: what is to be expected, and what was not.

    Of several analyzers whoever begins last does the round: to begin fences the others,
    whose rows are the same.
    """

    def __init__(self, settings: Settings, health: Reporter) -> None:
        name = f"forecast-{settings.instance}"
        self._health = health
        self._ended = asyncio.Event()
        self._settle = timedelta(seconds=settings.forecast_settle_s)
        self._done_to: datetime | None = None
        self._not_before: datetime | None = None
        self._is_waiting = False
        self._failed = 0
        self._store = Store(
            settings.clickhouse_url, name="tocsin-forecast", timeout_s=_QUERY_S, connections=2
        )
        self._progress = RecordedProgress(
            GroupProgress(settings.kafka_url, name, settings.recorder_group, (COMPLETED.name, FINDINGS.name))
        )
        self._rounds = Rounds(
            settings.forecast_group,
            self._store,
            StoredHistory(self._store, settings.forecast_tenants, settings.forecast_models),
            BusStateLog(settings.kafka_url, settings.forecast_group),
            utc_now,
            monotonic_s,
            settings.forecast_time_zone,
            settings.forecast_round_s,
        )

    async def start(self) -> None:
        """Nothing: Kafka and the store are waited for with each round."""
        self._not_before = utc_now() + self._settle

    async def run(self) -> None:
        """Does what is due until told to stop."""
        working = asyncio.create_task(self._work_from_time_to_time())
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({working, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, ended):
                task.cancel()
            await asyncio.gather(ended, return_exceptions=True)
            with contextlib.suppress(asyncio.CancelledError):
                await working

    async def drain(self) -> None:
        """Leaves a round that is under way: it is done again, and nothing twice."""
        self._ended.set()

    async def close(self) -> None:
        """Lets go of everything."""
        await self._rounds.close()
        await self._progress.close()
        await self._store.close()

    def asyncapi(self) -> Document | None:
        """Nothing: it consumes no events."""
        return None

    async def _work_from_time_to_time(self) -> None:
        while True:
            pause_s = await self._work()
            await asyncio.sleep(pause_s)

    async def _work(self) -> float:
        """Does what is due; how long to rest then (s)."""
        try:
            await self._do_what_is_due()
        except (BusUnavailableError, StoreUnavailableError, StoreRejectedError) as error:
            self._health.report("rounds", ok=False, detail=str(error))
            if not self._is_waiting:
                log.warning("round_waits", error=str(error))
            self._is_waiting = True
            self._failed += 1
            return _PAUSES.after(self._failed)
        self._health.report("rounds", ok=True)
        self._is_waiting = False
        return _EVERY_S

    async def _do_what_is_due(self) -> None:
        now = utc_now()
        due = (now - self._settle).replace(minute=0, second=0, microsecond=0)
        if self._done_to is not None:
            metrics.FORECAST_BEHIND_SECONDS.set((now - self._done_to).total_seconds())
        if (self._not_before and now < self._not_before) or (self._done_to and self._done_to >= due):
            return
        watermark = await self._progress.watermark(now)
        if watermark is None or watermark < due:  # what is not recorded yet would look like silence
            return
        await self._progress.close()
        await self._rounds.do(due)
        self._done_to, self._failed = due, 0
