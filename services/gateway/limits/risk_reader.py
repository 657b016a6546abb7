"""Follows what security analysis says of users: it holds here within a second."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog
from pydantic import TypeAdapter

from schemas.events.security import UserRisk
from schemas.topics import RISK
from services.common.bus import MessageReader, Record, Start, Tail
from services.common.process import metrics
from services.gateway.limits.risk import RiskTable

log = structlog.get_logger(__name__)

_TIMEOUT_S = 30.0


@dataclass
class RiskReader:
    """Fills a table from the compacted topic, from its beginning on."""

    tail: Tail
    table: RiskTable
    _messages: "MessageReader[UserRisk]" = field(
        default_factory=lambda: MessageReader(TypeAdapter(UserRisk), RISK.name), init=False
    )

    async def start(self) -> None:
        """Connects, and reads what there is; what takes too long is read later.

        Raises:
            BusUnavailableError: no broker, or no such topic.
        """
        await self.tail.start([0], Start.BEGINNING)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                async for records in self.tail.read_to_end(poll_s=0.05):
                    self._take(records)
        except TimeoutError:
            log.warning("risks_not_all_read", timeout_s=_TIMEOUT_S, users=len(self.table))

    async def run(self) -> None:
        """Follows changes, until cancelled."""
        while True:
            self._take(await self.tail.poll())

    async def close(self) -> None:
        """Disconnects."""
        await self.tail.close()

    def _take(self, records: Iterable[Record]) -> None:
        """An assessment that cannot be read leaves the former one as it is."""
        for record in records:
            subject = (record.key or b"").decode(errors="replace")
            if record.value is None:
                self.table.take(subject, None)
            elif (risk := self._messages.read(record)) is not None:
                self.table.take(subject, risk)
        if self.table.forgotten:
            metrics.LIMITS_RISKS_FORGOTTEN.inc(self.table.forgotten)
            self.table.forgotten = 0
