"""What an analyzer can do, each a role that runs alone or beside the others."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from schemas.topics import AUDIT
from services.analyzer.audit.anchors import Anchoring, AnchorLog
from services.analyzer.audit.handlers import AuditChainer
from services.analyzer.audit.table import StoredAuditTable
from services.analyzer.forecast.role import ForecastRole
from services.analyzer.kpi.role import KpiRole
from services.analyzer.recorder.interfaces import StoreTables
from services.analyzer.recorder.recorder import Batching, Recorder
from services.analyzer.recorder.tables import RECORDINGS
from services.analyzer.recorder.tables.dead_letters import DEAD_LETTERED
from services.analyzer.recorder.writer import Writer
from services.analyzer.security.role import SecurityRole
from services.analyzer.settings import Settings
from services.common.bus import Producer
from services.common.bus.consumers.events import EventConsumer
from services.common.bus.dead_letters.dead_letter import DeadLetters, InvalidShare
from services.common.bus.subscriber import Subscriber, Subscription
from services.common.bus.subscriber.asyncapi import Document
from services.common.clock import utc_now
from services.common.errors import HaltError
from services.common.process.health import Reporter
from services.common.retry import DependencyRetry
from services.common.store import Store

log = structlog.get_logger(__name__)


class Role(Protocol):
    """What a role must offer; see `services.common.process.runner.App`."""

    async def start(self) -> None:
        """Connects to what it depends on."""

    async def run(self) -> None:
        """Works until told to stop."""

    async def drain(self) -> None:
        """Finishes what it has begun, and takes no more."""

    async def close(self) -> None:
        """Lets go of everything."""

    def asyncapi(self) -> Document | None:
        """What FastStream says of its consumers; None where it has none."""


class RecorderRole:
    """Every event into its table, each exactly once."""

    def __init__(self, settings: Settings, health: Reporter) -> None:
        self._producer = Producer(settings.kafka_url, f"recorder-{settings.instance}")
        self._events = EventConsumer(
            settings.kafka_url,
            f"recorder-{settings.instance}",
            settings.recorder_group,
            session_timeout_s=settings.recorder_session_timeout_s,
        )
        self._store = Store(
            settings.clickhouse_url, name="tocsin-recorder", timeout_s=settings.store_timeout_s
        )
        tables = StoreTables(self._store)
        dependency_retry = DependencyRetry(settings.recorder_group, health, self._events.rest)
        writer = Writer(
            events=self._events,
            tables=tables,
            dead_letters=DeadLetters(self._producer, "recorder"),
            dependency_retry=dependency_retry,
            invalid=_share(settings),
            refused=_share(settings),
            final=frozenset(name for name, recording in RECORDINGS.items() if recording is DEAD_LETTERED),
        )
        self._recorder = Recorder(
            events=self._events,
            tables=tables,
            writer=writer,
            dependency_retry=dependency_retry,
            recordings=RECORDINGS,
            health=health,
            batching=Batching(
                settings.recorder_batch_rows,
                settings.recorder_batch_bytes,
                settings.recorder_linger_ms / 1000,
            ),
        )

    async def start(self) -> None:
        """Connects to Kafka and joins the group.

        The store is waited for later, with every partition's place kept.
        """
        await self._producer.start()
        await self._recorder.start()

    async def run(self) -> None:
        """Records until told to stop."""
        await self._recorder.run()

    async def drain(self) -> None:
        """Records what was taken, and takes no more."""
        await self._recorder.drain()

    async def close(self) -> None:
        """Lets go of everything."""
        await self._events.close()
        await self._producer.close()
        await self._store.close()

    def asyncapi(self) -> Document | None:
        """Nothing: it reads Kafka itself (ADR 2)."""
        return None


class AuditRole:
    """Audit entries into a chain of hashes, which is anchored.

    Where it must not go on it halts alone: the other roles of the process work on.
    """

    def __init__(self, settings: Settings, health: Reporter) -> None:
        name = f"audit-{settings.instance}"
        self._health = health
        self._draining = asyncio.Event()
        self._producer = Producer(settings.kafka_url, name)
        self._store = Store(settings.clickhouse_url, name="tocsin-audit", timeout_s=settings.store_timeout_s)
        self._subscriber = Subscriber(
            settings.kafka_url,
            name,
            dead_letters=DeadLetters(self._producer, "audit"),
            health=health,
            session_timeout_s=settings.consumer_session_timeout_s,
        )
        table = StoredAuditTable(self._store)
        self._subscriber.add(audit_subscription(AuditChainer(table), settings.audit_group))
        self._anchoring = Anchoring(
            table,
            AnchorLog(settings.kafka_url, self._producer.send, f"{name}-anchors"),
            health,
            utc_now,
            settings.audit_anchor_interval_s,
        )

    async def start(self) -> None:
        """Connects to Kafka and joins the group; the store is waited for later."""
        await self._producer.start()
        await self._subscriber.start()

    async def run(self) -> None:
        """Chains entries until told to stop, or until that would fork the chain; and
        publishes anchors.
        """
        anchoring = asyncio.create_task(self._anchoring.run(self._draining))
        try:
            await self._chain()
        finally:
            anchoring.cancel()
            await asyncio.gather(anchoring, return_exceptions=True)

    async def _chain(self) -> None:
        try:
            await self._subscriber.run()
        except HaltError as error:
            log.critical("audit_halted", error=str(error))
            self._health.report("chain", ok=False, detail=str(error))
            await self._subscriber.close()
            await self._draining.wait()

    async def drain(self) -> None:
        """Chains what was taken, and takes no more."""
        self._draining.set()
        await self._subscriber.drain()

    async def close(self) -> None:
        """Lets go of everything."""
        await self._subscriber.close()
        await self._producer.close()
        await self._store.close()

    def asyncapi(self) -> Document | None:
        """What FastStream says of its consumers."""
        return self._subscriber.asyncapi()


def audit_subscription(chainer: AuditChainer, group: str) -> Subscription:
    """How the audit role consumes: it sees each record, since the ledger counts each."""
    return Subscription(AUDIT, chainer.on_audit_entries, group, remembered=0, begin=chainer.first_unchained)


ROLES: Mapping[str, Callable[[Settings, Reporter], Role]] = {
    "recorder": RecorderRole,
    "audit": AuditRole,
    "security": SecurityRole,
    "kpi": KpiRole,
    "forecast": ForecastRole,
}


def _share(settings: Settings) -> InvalidShare:
    return InvalidShare(
        settings.recorder_invalid_share, settings.recorder_invalid_window, settings.recorder_invalid_minimum
    )
