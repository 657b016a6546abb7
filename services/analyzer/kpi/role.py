"""The KPI role: who judges windows, and when."""

import asyncio
import contextlib

import structlog

from schemas.topics import BUDGETS_WARNED, COMPLETED, FINDINGS
from services.analyzer.advice.advisor import Advisor
from services.analyzer.kpi.evaluator import Evaluator
from services.analyzer.kpi.figures import Figures
from services.analyzer.kpi.progress import RecordedProgress
from services.analyzer.kpi.readings import StoredReadings
from services.analyzer.kpi.rules import rules_of
from services.analyzer.kpi.state_log import BusStateLog
from services.analyzer.settings import Settings
from services.common.bus import Producer
from services.common.bus.administration.group_progress import GroupProgress
from services.common.bus.dead_letters.dead_letter import DeadLetters, TooManyInvalidError
from services.common.bus.producers.counting import CountingProducer
from services.common.bus.subscriber import Subscriber, Subscription
from services.common.bus.subscriber.asyncapi import Document
from services.common.clock import utc_now
from services.common.errors import BusUnavailableError, HaltError, StoreRejectedError, StoreUnavailableError
from services.common.process.health import Reporter
from services.common.store import Store

log = structlog.get_logger(__name__)

_EVERY_S = 0.5
_ADVISE_EVERY_S = 60.0
_QUERY_S = 40.0


class KpiRole:
    """Figures of windows against their thresholds, budgets' warnings, models' scores; and
    once a day recommendations.

    Warnings come in one partition: whoever of several analyzers has it judges windows,
    too, and the others stand by.
    """

    def __init__(self, settings: Settings, health: Reporter) -> None:
        name = f"kpi-{settings.instance}"
        self._health = health
        self._ended = asyncio.Event()
        self._is_waiting = False
        self._producer = Producer(settings.kafka_url, name)
        self._store = Store(
            settings.clickhouse_url, name="tocsin-kpi", timeout_s=settings.store_timeout_s, connections=2
        )
        self._progress = RecordedProgress(
            GroupProgress(settings.kafka_url, name, settings.recorder_group, (COMPLETED.name, FINDINGS.name))
        )
        self._evaluator = Evaluator(
            settings.kpi_group,
            rules_of(settings),
            StoredReadings(self._store),
            BusStateLog(settings.kafka_url, settings.kpi_group),
            self._progress,
            utc_now,
        )
        self._figures = Figures(self._store, utc_now)
        self._events = CountingProducer(settings.kafka_url, f"{name}-advice")
        self._advice_store = Store(
            settings.clickhouse_url, name="tocsin-advice", timeout_s=_QUERY_S, connections=1
        )
        self._advisor = Advisor(self._advice_store, self._events.send, utc_now)
        self._warnings = kpi_subscription(self._evaluator, settings.kpi_group)
        self._subscriber = Subscriber(
            settings.kafka_url,
            name,
            dead_letters=DeadLetters(self._producer, "kpi"),
            health=health,
            session_timeout_s=settings.consumer_session_timeout_s,
        )
        self._subscriber.add(self._warnings)

    async def start(self) -> None:
        """Connects to Kafka and joins the group; the store is waited for later.

        Raises:
            BusUnavailableError: no broker, or a topic is not there.
        """
        await self._producer.start()
        await self._events.start()
        await self._subscriber.start()

    async def run(self) -> None:
        """Judges until told to stop, or until most warnings are unusable: then it halts
        alone, since recording must not depend on it.

        Raises:
            Exception: any other failure.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                judging = tasks.create_task(self._judge_from_time_to_time())
                advising = tasks.create_task(self._advise_from_time_to_time())
                await self._follow_warnings()
                judging.cancel()
                advising.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def drain(self) -> None:
        """Finishes what was begun, and takes no more."""
        self._ended.set()
        await self._subscriber.drain()

    async def close(self) -> None:
        """Lets go of everything."""
        await self._subscriber.close()
        await self._evaluator.close()
        await self._progress.close()
        await self._producer.close()
        await self._events.close()
        await self._advice_store.close()
        await self._store.close()

    def asyncapi(self) -> Document | None:
        """What FastStream says of its consumer."""
        return self._subscriber.asyncapi()

    async def _follow_warnings(self) -> None:
        try:
            await self._subscriber.run()
        except (HaltError, TooManyInvalidError) as error:
            log.critical("kpi_halted", error=str(error))
            self._health.report("warnings", ok=False, detail=str(error))
            await self._subscriber.close()
            await self._ended.wait()

    async def _judge_from_time_to_time(self) -> None:
        while not self._ended.is_set():
            await self._judge()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _EVERY_S)

    async def _judge(self) -> None:
        """Judges what is due, if that is ours to do. What is away is waited for: the next
        time judges what was missed.
        """
        if not self._subscriber.holds_any(self._warnings):
            await self._evaluator.stand_by()
            self._figures.forget()
            return
        try:
            await self._evaluator.judge_what_is_due()
            await self._figures.show_if_due()
        except (BusUnavailableError, StoreUnavailableError, StoreRejectedError) as error:
            self._health.report("windows", ok=False, detail=str(error))
            if not self._is_waiting:
                log.warning("windows_not_judged", error=str(error))
            self._is_waiting = True
        else:
            self._health.report("windows", ok=True)
            self._is_waiting = False

    async def _advise_from_time_to_time(self) -> None:
        """Once a day, if it is ours to do. What is away is waited for."""
        while not self._ended.is_set():
            try:
                if self._subscriber.holds_any(self._warnings):
                    await self._advisor.advise_if_due()
            except (BusUnavailableError, StoreUnavailableError, StoreRejectedError, TimeoutError) as error:
                self._health.report("advice", ok=False, detail=str(error))
                log.warning("not_advised", error=str(error))
            else:
                self._health.report("advice", ok=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _ADVISE_EVERY_S)


def kpi_subscription(evaluator: Evaluator, group: str) -> Subscription:
    """How the role consumes: what it was told before it remembers itself."""
    return Subscription(BUDGETS_WARNED, evaluator.on_budgets_warned, group, remembered=0)
