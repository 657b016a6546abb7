"""Writing to the bus: idempotent, acknowledged by all replicas, every record a
CloudEvent.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, MessageSizeTooLargeError, ProducerFenced
from aiokafka.structs import RecordMetadata

from schemas.base import Message
from schemas.envelope import Envelope, Headers
from schemas.limits import MARGIN_BYTES, MAX_RECORD_BYTES
from services.common.bus.connecting import start_driver
from services.common.bus.consumers.consumer import driver_offsets
from services.common.bus.coordinates import CommittedOffset, LogPosition, TopicPartition, position_of
from services.common.bus.log_rate_limit import limit_log_rate
from services.common.clock import Clock, utc_now
from services.common.errors import BusUnavailableError, PermanentError, RecordTooLargeError
from services.common.process import metrics
from services.common.process.kafka_address import connection_options, without_password
from services.common.retry import retry

log = structlog.get_logger(__name__)

_FLUSH_S = 1.0


class FencedError(PermanentError):
    """Another producer with this transactional id has taken over: this one must stop."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be sent.

    `subject` is what it is about; `partition` None leaves the choice to the key's hash.
    `value` None removes the key from a compacted topic.
    """

    topic: str
    value: Message | None
    subject: str
    tenant: str
    key: str | None = None
    partition: int | None = None
    traceparent: str | None = None
    encoded: bytes | None = None
    """The value's JSON, where it is at hand."""

    def payload(self) -> bytes | None:
        """The record's value."""
        if self.encoded is not None or self.value is None:
            return self.encoded
        return self.value.encode()


@dataclass
class Producer:
    """An idempotent producer. `source` names this incarnation in every envelope.

    A record that was taken is retried until the broker has it, across broker restarts;
    `send` waits for that at most `timeout_s`. A record that the broker refuses leaves
    the driver's numbering broken, so that all that follow are refused as well: the next
    record goes out through a new driver.
    """

    url: str = field(repr=False)
    name: str
    clock: Clock = utc_now
    timeout_s: float = 10.0
    _driver: AIOKafkaProducer | None = None
    source: str = field(init=False)
    _broken: AIOKafkaProducer | None = field(default=None, init=False, repr=False)
    _replacing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)
    _closing: "set[asyncio.Task[None]]" = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        self.source = f"{self.name}/{uuid4().hex[:12]}"

    async def start(self, timeout_s: float | None = 60.0) -> None:
        """Connects, waiting for a broker that is not there yet.

        Raises:
            BusUnavailableError: no broker within `timeout_s`.
        """
        limit_log_rate()
        await retry(self._connect, timeout_s=timeout_s)

    async def send_soon(self, record: Outgoing) -> "asyncio.Future[RecordMetadata]":
        """Takes a record and returns at once; the future ends when all replicas have
        it.

        Raises:
            BusUnavailableError: the buffer is full, or the topic is unknown.
            RecordTooLargeError: it will never fit.
        """
        value = record.payload()
        if value is not None and len(value) > MAX_RECORD_BYTES:
            raise too_large(record, len(value))
        try:
            driver = await self._usable()
            future = await driver.send(
                record.topic,
                value,
                key=(record.key or record.subject).encode(),
                partition=record.partition,
                headers=self._headers(record),
            )
        except (ProducerFenced, IllegalOperation) as error:
            # aiokafka raises IllegalOperation on calls after ProducerFenced
            raise FencedError(f"{self.name} was fenced by a newer producer") from error
        except MessageSizeTooLargeError as error:
            raise too_large(record) from error
        except KafkaError as error:
            raise BusUnavailableError(
                f"Kafka at {without_password(self.url)} did not take a record for {record.topic}: {error!r}"
            ) from error
        future.add_done_callback(lambda done: self._note_refusal(driver, done))
        return future  # type: ignore[no-any-return]

    async def send(self, record: Outgoing) -> LogPosition:
        """Sends a record and waits until all replicas have it.

        Raises:
            BusUnavailableError: not within `timeout_s`. The record may still arrive
                later.
            RecordTooLargeError: it will never fit.
        """
        try:
            async with asyncio.timeout(self.timeout_s):
                future = await self.send_soon(record)
                done = await asyncio.shield(future)
        except MessageSizeTooLargeError as error:
            raise too_large(record) from error
        except (TimeoutError, KafkaError) as error:
            raise BusUnavailableError(
                f"Kafka at {without_password(self.url)} did not acknowledge a record for "
                f"{record.topic} within {self.timeout_s} s"
            ) from error
        return position_of(done)

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        return len(await self._running().partitions_for(topic))

    async def close(self, timeout_s: float = 5.0) -> None:
        """Sends what is buffered, within `timeout_s`, and disconnects."""
        driver, self._driver = self._driver, None
        if driver is not None:
            await _stop(driver, timeout_s)
        await asyncio.gather(*self._closing)

    def _options(self) -> dict[str, Any]:
        return {"enable_idempotence": True}

    def _headers(self, record: Outgoing) -> Headers:
        return self._envelope(record).to_headers()

    def _envelope(self, record: Outgoing, sequence: int = -1) -> Envelope:
        return Envelope.create(
            type_=f"tocsin.{record.topic}",
            source=self.source,
            occurred_at=self.clock(),
            subject=record.subject,
            tenant=record.tenant,
            sequence=sequence,
            traceparent=record.traceparent,
        )

    def _note_refusal(self, driver: AIOKafkaProducer, sent: "asyncio.Future[RecordMetadata]") -> None:
        if not sent.cancelled() and sent.exception() is not None:
            self._broken = driver

    async def _usable(self) -> AIOKafkaProducer:
        """The driver, replaced first where it has failed for good."""
        if self._has_failed():
            async with self._replacing:
                if self._has_failed():
                    await self._replace()
        return self._running()

    def _has_failed(self) -> bool:
        driver = self._driver
        return driver is not None and (driver is self._broken or driver._sender.sender_task.done())  # noqa: SLF001  the driver does not say that its sender has ended

    async def _replace(self) -> None:
        """Connects anew.

        What the failed driver still holds for other partitions goes first, if it does
        so within a second.
        """
        failed = self._running()
        log.warning("producer_replaced", producer=self.name)
        metrics.PRODUCERS_REPLACED.inc()
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(failed.flush(), _FLUSH_S)
        try:
            async with asyncio.timeout(self.timeout_s):
                await self._connect()
        except TimeoutError as error:
            raise BusUnavailableError(
                f"no Kafka at {without_password(self.url)} within {self.timeout_s} s"
            ) from error
        closing = asyncio.create_task(_stop(failed, self.timeout_s))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _running(self) -> AIOKafkaProducer:
        if self._driver is None:
            raise BusUnavailableError(f"the producer {self.name} is not started")
        return self._driver

    async def _connect(self) -> None:
        driver = AIOKafkaProducer(
            **connection_options(self.url),
            client_id=self.name,
            acks="all",
            max_batch_size=262_144,
            max_request_size=MAX_RECORD_BYTES + MARGIN_BYTES,
            metadata_max_age_ms=60_000,
            **self._options(),
        )

        async def start() -> None:
            try:
                await driver.start()
            except ProducerFenced as error:
                raise FencedError(f"{self.name} was fenced by a newer producer") from error

        await start_driver(self.url, start, driver.stop)
        self._driver = driver


@dataclass
class TransactionalProducer(Producer):
    """A producer whose records and consumed offsets become visible together or not at
    all.

    Starting it fences every earlier producer of the same `transactional_id` and waits
    for what that one left pending. Records of a topic are counted in their envelopes
    (`sequence`); an aborted transaction's numbers are used again.
    """

    transactional_id: str = ""
    _sequences: dict[str, int] = field(default_factory=dict)

    async def send_soon(self, record: Outgoing) -> "asyncio.Future[RecordMetadata]":
        """Sends a record; what goes wrong is raised by the transaction too, so that nobody
        need wait for the future.
        """
        sent = await super().send_soon(record)
        sent.add_done_callback(_mark_retrieved)
        return sent

    async def _usable(self) -> AIOKafkaProducer:
        """The driver as it is: a failure in a transaction needs a new producer."""
        return self._running()

    @contextlib.asynccontextmanager
    async def transaction(
        self, group: str, offsets: Mapping[TopicPartition, CommittedOffset]
    ) -> AsyncIterator[None]:
        """Commits, together with what is sent inside, `offsets` for the consumer group
        `group`.

        Raises:
            FencedError: a newer producer has taken over; nothing was committed.
            BusUnavailableError: it is not known whether the transaction was committed.
                This producer is of no more use: start another, which settles it, and
                read the committed offsets anew.
        """
        driver, before = self._running(), dict(self._sequences)
        try:
            async with asyncio.timeout(self.timeout_s):
                async with driver.transaction():
                    yield
                    if offsets:
                        await driver.send_offsets_to_transaction(driver_offsets(offsets), group)
        except ProducerFenced as error:
            raise FencedError(f"{self.name} was fenced by a newer producer") from error
        except (
            KafkaError,
            TimeoutError,
            AssertionError,
        ) as error:  # the driver asserts where a commit was cut short
            self._sequences = before
            raise BusUnavailableError(f"a transaction of {self.name} was not confirmed: {error!r}") from error
        except BaseException:
            self._sequences = before
            raise

    @property
    def epoch(self) -> int:
        """A number that grows with every producer of this transactional id: Kafka's
        producer id and epoch.
        """
        manager = self._running()._txn_manager  # noqa: SLF001  the driver keeps it, and shows it nowhere else
        return (int(manager.producer_id) << 16) | int(manager.producer_epoch)

    def _options(self) -> dict[str, Any]:
        return {"transactional_id": self.transactional_id, "transaction_timeout_ms": 10_000}

    def _headers(self, record: Outgoing) -> Headers:
        sequence = self._sequences.get(record.topic, 0)
        self._sequences[record.topic] = sequence + 1
        return self._envelope(record, sequence).to_headers()


def _mark_retrieved(sent: "asyncio.Future[RecordMetadata]") -> None:
    """Retrieves the exception, so that asyncio does not warn."""
    if not sent.cancelled():
        sent.exception()


def too_large(record: Outgoing, size_bytes: int | None = None) -> RecordTooLargeError:
    """The error of a record that is too large; by how much, where that is known."""
    size = f"of {size_bytes} bytes " if size_bytes else ""
    return RecordTooLargeError(
        f"a record {size}for {record.topic} is larger than Kafka takes ({MAX_RECORD_BYTES} bytes by our "
        "limit, or the topic's max.message.bytes); see schemas/limits.py"
    )


async def _stop(driver: AIOKafkaProducer, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(driver.stop(), timeout_s)
