"""The console's part in erasures, put together."""

import asyncio
from collections.abc import Awaitable, Callable

from schemas.control import AnyEntry
from schemas.events.audit import Actor
from services.common.bus import LogPosition, Outgoing
from services.common.clock import utc_now
from services.common.control.audit_entries import AuditWriter
from services.common.control.changes import Change
from services.common.control.reader import ControlReader
from services.common.control.writer import ControlWriter
from services.common.process.egress import Egress
from services.common.store import Store
from services.console.privacy.control import ControlErasure
from services.console.privacy.elsewhere.compacted_topics import CompactedTopics
from services.console.privacy.elsewhere.langfuse import Langfuse
from services.console.privacy.elsewhere.security_memory import SecurityMemory
from services.console.privacy.log import ErasureLog
from services.console.privacy.service import ErasureService
from services.console.privacy.settling import Settling
from services.console.privacy.stored.export import SubjectExport
from services.console.privacy.stored.retention import Retention
from services.console.privacy.stored.rows import Rows, Step
from services.console.privacy.subject import Identities
from services.console.privacy.work import ErasureWorker
from services.console.settings import Settings

_ACTOR = Actor(kind="service", id="privacy")


class Privacy:
    """Takes erasures, does them, writes exports, and removes what is too old."""

    def __init__(
        self,
        settings: Settings,
        control: ControlReader,
        send: Callable[[Outgoing], Awaitable[LogPosition]],
        partitions: Callable[[str], Awaitable[int]],
        audit: AuditWriter,
    ) -> None:
        url, name = settings.kafka_url, f"console-{settings.instance}"
        pepper = settings.key_pepper.get_secret_value()
        identities = Identities(pepper, settings.pseudonym_key.get_secret_value())
        # Whole tables are read and written anew here: not within what a page may take.
        self._store = Store(
            settings.clickhouse_url,
            name="tocsin-privacy",
            timeout_s=settings.erasure_store_timeout_s,
            connections=4,
        )
        self.log = ErasureLog(url, name, send)
        self.service = ErasureService(self.log, identities, audit.record, utc_now)
        self.export = SubjectExport(self._store)

        rows, memory = Rows(self._store), SecurityMemory(url, name, send)

        def write(change: Change) -> Awaitable[AnyEntry | None]:
            return ControlWriter(url, _ACTOR, pepper, known=control.known, unnamed=True).apply(change)

        self.worker = ErasureWorker(
            self.log,
            identities,
            ControlErasure(control, write, send, partitions),
            rows,
            utc_now,
            settings.instance,
            Settling(url, settings.erasure_settle_s).wait,
            {"security's memory": Step(memory.count, memory.erase)} | _langfuse(settings),
            settings.erasure_patience_s,
        )
        self.retention = Retention(control, rows, utc_now, settings.retention_every_s)
        self.compacted = CompactedTopics(
            self.log, send, partitions, utc_now, settings.erasure_compact_every_s
        )
        self.service.begun.append(self.worker.begun_here.add)

    async def start(self) -> None:
        """Reads the erasures that there are.

        Raises:
            BusUnavailableError: no broker, or no topic, or it took too long.
        """
        await self.log.start()

    async def run(self) -> None:
        """Follows and does erasures, removes what is too old, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.log.run())
            tasks.create_task(self.worker.run())
            tasks.create_task(self.retention.run())
            tasks.create_task(self.compacted.run())

    async def close(self) -> None:
        """Disconnects."""
        await asyncio.gather(self.log.close(), self._store.close())


def _langfuse(settings: Settings) -> dict[str, Step]:
    """Langfuse's step, where there is one."""
    if not settings.langfuse_url:
        return {}
    langfuse = Langfuse(
        settings.langfuse_url,
        settings.langfuse_public_key,
        settings.langfuse_secret_key.get_secret_value(),
        Egress.of(settings.egress_allowed),
        settings.langfuse_plain_names,
    )
    return {"langfuse": Step(langfuse.count, langfuse.erase)}
