"""A producer that numbers its events for the ledger, without transactions.

The ledger (`v_ledger`) calls a number missing if a higher one of the same source has
arrived. So no number may become durable before the one below it. Kafka promises that
within a partition to an idempotent producer, and nowhere else: therefore each partition
has a source of its own, which counts from 0. Whatever dies when, what the log holds of a
source is 0 to n without a gap.

A producer that fails for good is replaced: its sources end where they are, new ones
begin at 0, and what the broker has *refused* is sent again by the new one. What is only
not acknowledged is not sent again: it may be in the log.
"""

import asyncio
import dataclasses
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, OutOfOrderSequenceNumber, UnknownProducerId
from aiokafka.partitioner import DefaultPartitioner

from schemas.envelope import Headers
from services.common.bus.coordinates import Acknowledged, LogPosition, position_of
from services.common.bus.producers.producer import Outgoing, Producer, too_large
from services.common.clock import Clock, utc_now
from services.common.errors import BusUnavailableError

log = structlog.get_logger(__name__)

_INCARNATIONS = 3
_RETIRE_TIMEOUT_S = 30.0
_NOT_WRITTEN = (OutOfOrderSequenceNumber, UnknownProducerId)
"""Refusals after which the broker certainly does not have the record."""

_partition_of = DefaultPartitioner()


@dataclass
class _Lane:
    """What one incarnation sends to one partition. The lock keeps numbers in the order
    in which the driver takes the records.
    """

    next: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class _SpentError(BusUnavailableError):
    """An incarnation whose driver has failed takes nothing more."""


@dataclass
class _Incarnation(Producer):
    """One driver's life: a new driver's records would go on counting where the failed
    one left a number unwritten.
    """

    failed: bool = False
    _lanes: dict[tuple[str, int], _Lane] = field(default_factory=dict)

    async def send_soon(self, record: Outgoing) -> "asyncio.Future[Acknowledged]":
        """Takes a record under its partition's next number; a record that is not taken
        uses none.
        """
        partition = record.partition
        if partition is None:
            count = await self.partitions(record.topic)
            partition = _partition_of((record.key or record.subject).encode(), list(range(count)), [])
        lane = self._lanes.setdefault((record.topic, partition), _Lane())
        async with lane.lock:
            future = await super().send_soon(dataclasses.replace(record, partition=partition))
            lane.next += 1
        future.add_done_callback(self._note)
        return future

    def _headers(self, record: Outgoing) -> Headers:
        assert record.partition is not None  # noqa: S101  chosen above
        number = self._lanes[record.topic, record.partition].next
        envelope = self._envelope(record, number)
        return dataclasses.replace(envelope, source=f"{self.source}/{record.partition}").to_headers()

    async def _usable(self) -> AIOKafkaProducer:
        """The driver as it is, while it is good."""
        if self.failed or self._has_failed():
            self.failed = True
            raise _SpentError(f"the producer {self.source} has failed and is replaced")
        return self._running()

    def _note(self, sent: "asyncio.Future[Acknowledged]") -> None:
        if not sent.cancelled() and sent.exception() is not None:
            self.failed = True


@dataclass
class CountingProducer:
    """Sends events one at a time or many at once; each call ends when all replicas have
    its event.
    """

    url: str = field(repr=False)
    name: str
    clock: Clock = utc_now
    timeout_s: float = 10.0
    _current: _Incarnation | None = field(default=None, init=False)
    _connecting: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _retiring: "set[asyncio.Task[None]]" = field(default_factory=set, init=False)

    async def start(self, timeout_s: float = 60.0) -> None:
        """Connects.

        Raises:
            BusUnavailableError: no broker within `timeout_s`.
        """
        await self._incarnation(timeout_s)

    async def send(self, record: Outgoing) -> LogPosition:
        """Sends an event and waits until all replicas have it.

        Raises:
            BusUnavailableError: not within `timeout_s`. It may still arrive later, once,
                unless this process dies first.
            RecordTooLargeError: it will never fit.
        """
        try:
            async with asyncio.timeout(self.timeout_s):
                for _ in range(_INCARNATIONS):
                    incarnation = await self._incarnation(self.timeout_s)
                    try:
                        sent = await incarnation.send_soon(record)
                    except _SpentError:
                        continue
                    try:
                        done = await asyncio.shield(sent)
                    except _NOT_WRITTEN as error:
                        log.warning("event_sent_again", topic=record.topic, error=repr(error))
                        continue
                    return position_of(done)
        except MessageSizeTooLargeError as error:
            raise too_large(record) from error
        except (TimeoutError, KafkaError) as error:
            raise BusUnavailableError(
                f"Kafka did not acknowledge an event for {record.topic} within {self.timeout_s} s: {error!r}"
            ) from error
        raise BusUnavailableError(f"Kafka refused an event for {record.topic} {_INCARNATIONS} times")

    async def close(self) -> None:
        """Sends what is buffered, bounded, and disconnects."""
        current, self._current = self._current, None
        if current is not None:
            await current.close()
        if self._retiring:
            await asyncio.wait(self._retiring, timeout=_RETIRE_TIMEOUT_S)

    async def _incarnation(self, timeout_s: float) -> _Incarnation:
        """The producer to use: another where the last one failed."""
        async with self._connecting:
            if self._current is not None and self._current.failed:
                self._retire(self._current)
                self._current = None
            if self._current is None:
                fresh = _Incarnation(self.url, self.name, self.clock, self.timeout_s)
                await fresh.start(timeout_s)
                self._current = fresh
            return self._current

    def _retire(self, incarnation: _Incarnation) -> None:
        """Lets what is under way on other partitions end, and disconnects."""
        log.warning("producer_replaced", source=incarnation.source)
        task = asyncio.create_task(incarnation.close(_RETIRE_TIMEOUT_S))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
