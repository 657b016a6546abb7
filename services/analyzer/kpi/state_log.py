"""What the KPI role told and remembers, on the bus: breaches and the state that they
lead to are written in one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.events.insight.kpi import KpiBreached, KpiStateRemembered
from schemas.topics import BREACHES, KPI_STATE
from services.common.bus import MessageReader, Outgoing, Start, Tail, TransactionalProducer


@dataclass
class BusStateLog:
    """`StateLog` over Kafka."""

    url: str = field(repr=False)
    group: str
    timeout_s: float = 30.0
    _producer: TransactionalProducer | None = field(default=None, init=False)
    _reader: "MessageReader[KpiStateRemembered]" = field(
        default_factory=lambda: MessageReader(KPI_STATE.model, KPI_STATE.name), init=False
    )

    async def open(self) -> KpiStateRemembered | None:
        """Fences whoever wrote before, which settles what it left pending, and reads
        what is there.

        Raises:
            BusUnavailableError: no broker, or it took too long.
        """
        await self.close()
        producer = TransactionalProducer(
            self.url, self.group, timeout_s=self.timeout_s, transactional_id=self.group
        )
        await producer.start(self.timeout_s)
        self._producer = producer
        return await self.read()

    async def read(self) -> KpiStateRemembered | None:
        """Reads what is there, and fences nobody.

        Raises:
            BusUnavailableError: no broker, or it took too long.
        """
        tail = Tail(self.url, f"{self.group}-state", committed_only=True, topic=KPI_STATE.name)
        newest: KpiStateRemembered | None = None
        try:
            await tail.start([0], Start.BEGINNING)
            async for records in tail.read_to_end(poll_s=0.05):
                for record in records:
                    if (record.key or b"").decode(errors="replace") == self.group and record.value:
                        newest = self._reader.read(record) or newest
        finally:
            await tail.close()
        return newest

    async def write(self, told: Sequence[KpiBreached], state: KpiStateRemembered) -> None:
        """Writes both in one transaction.

        Raises:
            BusUnavailableError: whether it was written is not known.
            FencedError: another has taken over; nothing was written.
        """
        assert self._producer is not None  # noqa: S101  opened before
        async with self._producer.transaction(self.group, {}):
            for one in told:
                await self._producer.send_soon(
                    Outgoing(BREACHES.name, one, subject=one.breach_id, tenant=one.tenant)
                )
            await self._producer.send_soon(
                Outgoing(KPI_STATE.name, state, subject=self.group, tenant="", key=self.group, partition=0)
            )

    async def close(self) -> None:
        """Disconnects."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()
