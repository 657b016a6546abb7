"""A batch of records on its way to its effect: read, given, given again, set aside.

Knows neither FastStream nor commits: who calls `give` commits what it returned for.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from schemas.envelope import Envelope, EnvelopeError
from schemas.topics import Topic
from services.common.bus.consumers.parsing import Unknown, Unreadable, parse_known
from services.common.bus.coordinates import Record, TopicPartition, partition_of
from services.common.bus.dead_letters.dead_letter import (
    DeadLetterSink,
    Failure,
    InvalidShare,
    TooManyInvalidError,
)
from services.common.errors import (
    ConfigError,
    HaltError,
    PermanentError,
)
from services.common.process import metrics
from services.common.process.health import Reporter
from services.common.retry import DependencyRetry, Pauses, WaitAbandonedError

log = structlog.get_logger(__name__)

AnyMessage = TypeVar("AnyMessage")
Answer = TypeVar("Answer")
_HALT = (TooManyInvalidError, ConfigError, HaltError)


@dataclass(frozen=True, slots=True)
class Event(Generic[AnyMessage]):
    """A message with its envelope and the record that it came in."""

    message: AnyMessage
    envelope: Envelope
    record: Record

    @property
    def partition(self) -> TopicPartition:
        """The partition that it lies in."""
        return partition_of(self.record)

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from every other event: CloudEvents' source and id."""
        return self.envelope.source, self.envelope.event_id


Handler = Callable[[Sequence[Event[Any]]], Awaitable[None]]


class UnreadableEventError(PermanentError):
    """A record is not what its topic carries."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often an event that fails is tried, with pauses in between. The pauses also
    count for what is away, without end.
    """

    count: int = 5
    pauses: Pauses = field(default_factory=Pauses)


@dataclass
class Delivery:
    """Gives the records of one topic to its handler.

    `remembered` is how many events' ids are kept, so that one that comes again is not
    given again; 0 for a handler that must see each record.
    """

    topic: Topic
    group: str
    dead_letters: DeadLetterSink
    health: Reporter
    share: InvalidShare = field(default_factory=InvalidShare)
    attempts: Attempts = field(default_factory=Attempts)
    remembered: int = 10_000
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _done: "OrderedDict[tuple[str, str], None]" = field(default_factory=OrderedDict, init=False)
    _retry: DependencyRetry = field(init=False)

    def __post_init__(self) -> None:
        self._retry = DependencyRetry(self.group, self.health, self.sleep, self.attempts.pauses)

    async def give(
        self,
        records: Sequence[Record],
        handler: Handler,
        *,
        wanted: Callable[[Record], bool],
        hurried: Callable[[], bool],
    ) -> list[Record]:
        """Returns the records that may be committed: each had its effect or was set
        aside, and so had all before it in its partition.

        A record that is not `wanted` any more (its partition is another's) is left out.
        Once `hurried`, nothing that is away is waited for: what is left is left.

        Raises:
            TooManyInvalidError: most events are set aside; the one that was too much
                was not.
            ConfigError: the handler cannot work as it is set up.
            HaltError: the handler must not go on.
        """
        batch = _Batch(handler, wanted, hurried)
        with contextlib.suppress(WaitAbandonedError):
            events: list[Event[Any]] = []
            for record in records:
                found = self._read(record)
                if isinstance(found, UnreadableEventError):
                    await self._give(events, batch)
                    await self._set_aside(record, found, 1, batch)
                    events = []
                elif found is None or self._is_repeat(found, events):
                    self._count("skipped" if found is None else "repeated")
                    batch.done.add(_spot(record))
                else:
                    events.append(found)
            await self._give(events, batch)
        return _unbroken(records, batch.done)

    async def when_there(
        self, ask: Callable[[], Awaitable[Answer]], hurried: Callable[[], bool]
    ) -> Answer | None:
        """What `ask` answers, once what it needs is there; None if there is no time to
        wait for it.
        """
        with contextlib.suppress(WaitAbandonedError):
            return await self._retry.until_done(ask, hurried=hurried)
        return None

    def _read(self, record: Record) -> Event[Any] | UnreadableEventError | None:
        """The event; None where it is of a kind that this version does not know, or only
        removes a key from a compacted topic.
        """
        if record.value is None and self.topic.retention is None:
            metrics.BUS_SKIPPED.labels(self.topic.name, "removed").inc()
            return None
        try:
            envelope = Envelope.from_headers((name, value or b"") for name, value in record.headers)
        except EnvelopeError as error:
            return UnreadableEventError(str(error))
        message = parse_known(self.topic.model, record.value)
        if isinstance(message, Unknown):
            metrics.BUS_SKIPPED.labels(self.topic.name, "unknown_kind").inc()
            return None
        if isinstance(message, Unreadable):
            return UnreadableEventError(f"{message.problems} fields are not what {self.topic.name} carries")
        return Event(message, envelope, record)

    def _is_repeat(self, event: Event[Any], batch: Sequence[Event[Any]]) -> bool:
        return bool(self.remembered) and (
            event.key in self._done or any(event.key == other.key for other in batch)
        )

    async def _give(self, events: Sequence[Event[Any]], batch: "_Batch") -> None:
        """The whole batch once; where that fails, its halves, down to the event that is
        to blame: its neighbours proceed.
        """
        single = len(events) == 1
        error, made = await self._try(events, batch, self.attempts.count if single else 1)
        if error is None:
            for event in events:
                if batch.wanted(event.record):
                    self._remember(event)
                    self._count("handled")
                    self.share.observe(valid=True)
                    batch.done.add(_spot(event.record))
        elif single:
            await self._set_aside(events[0].record, error, made, batch)
        else:
            middle = len(events) // 2
            await self._give(events[:middle], batch)
            await self._give(events[middle:], batch)

    async def _try(
        self, events: Sequence[Event[Any]], batch: "_Batch", count: int
    ) -> tuple[Exception | None, int]:
        """What went wrong in the end, None where nothing did, and how often it was tried."""

        def left() -> list[Event[Any]]:
            return [event for event in events if batch.wanted(event.record)]

        async def attempt() -> None:
            with metrics.CONSUMER_SECONDS.labels(self.group, self.topic.name).time():
                await batch.handler(left())

        failed = 0
        while True:
            try:
                await self._retry.until_done(attempt, lambda: bool(left()), batch.hurried)
            except (*_HALT, WaitAbandonedError):
                raise
            except Exception as error:  # noqa: BLE001  whatever a handler raises must not stop its neighbours
                failed += 1
                if failed >= count or isinstance(error, PermanentError):
                    return error, failed
                await self.sleep(self.attempts.pauses.after(failed))
            else:
                return None, failed

    async def _set_aside(self, record: Record, error: Exception, made: int, batch: "_Batch") -> None:
        async def attempt() -> bool:
            await self.dead_letters.set_aside([Failure(record, error, made)])
            return True

        self.share.observe(valid=False)
        if await self._retry.until_done(attempt, lambda: batch.wanted(record), batch.hurried):
            self._count("set_aside")
            batch.done.add(_spot(record))

    def _remember(self, event: Event[Any]) -> None:
        if self.remembered:
            self._done[event.key] = None
            if len(self._done) > self.remembered:
                self._done.popitem(last=False)

    def _count(self, outcome: str) -> None:
        metrics.CONSUMER_EVENTS.labels(self.group, self.topic.name, outcome).inc()


@dataclass
class _Batch:
    handler: Handler
    wanted: Callable[[Record], bool]
    hurried: Callable[[], bool]
    done: set[tuple[TopicPartition, int]] = field(default_factory=set)


def _spot(record: Record) -> tuple[TopicPartition, int]:
    return partition_of(record), record.offset


def _unbroken(records: Sequence[Record], done: set[tuple[TopicPartition, int]]) -> list[Record]:
    """Of each partition the records before the first that is not done."""
    broken: set[TopicPartition] = set()
    kept = []
    for record in records:
        if _spot(record) not in done:
            broken.add(partition_of(record))
        elif partition_of(record) not in broken:
            kept.append(record)
    return kept
