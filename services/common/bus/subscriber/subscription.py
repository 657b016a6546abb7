"""One topic for one group: what FastStream reads is given its effect, then committed."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from aiokafka import ConsumerRebalanceListener
from aiokafka import TopicPartition as DriverPartition
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from schemas.topics import Topic
from services.common.bus.consumers.consumer import driver_offsets
from services.common.bus.coordinates import CommittedOffset, Record, TopicPartition, partition_of
from services.common.bus.dead_letters.dead_letter import InvalidShare
from services.common.bus.subscriber.delivery import Attempts, Delivery, Handler
from services.common.clock import Clock
from services.common.errors import TocsinError
from services.common.process import metrics

log = structlog.get_logger(__name__)

_REVOKE_WAIT_S = 5.0
_COMMIT_TIMEOUT_S = 4.0
_POSITION_TIMEOUT_S = 1.0


class Driver(Protocol):
    """What is asked of aiokafka's consumer."""

    async def commit(self, offsets: dict[DriverPartition, OffsetAndMetadata]) -> None:
        """Commits positions with their notes."""

    def seek(self, partition: DriverPartition, offset: int) -> None:
        """Reads on from `offset`."""

    async def position(self, partition: DriverPartition) -> int:
        """The next offset to be read."""

    def highwater(self, partition: DriverPartition) -> int | None:
        """Where the log ends, as of the last fetch."""


@dataclass(frozen=True)
class Subscription:
    """A topic, the group that shares it, and who handles its events.

    At most `batch` events are given at once. `remembered`: see `Delivery`. `begin` says
    of a new partition the offset after the last one whose effect is there, where the
    effect itself knows: if the group committed more than that (the store was restored
    from a backup, say), reading goes back. What had no effect (dead letters) was dealt
    with all the same: each commit notes how far the effect was then.
    """

    topic: Topic
    handler: Handler
    group: str
    batch: int = 500
    share: InvalidShare = field(default_factory=InvalidShare)
    attempts: Attempts = field(default_factory=Attempts)
    remembered: int = 10_000
    begin: Callable[[TopicPartition], Awaitable[int]] | None = None


async def _nothing_committed(_place: TopicPartition) -> CommittedOffset | None:
    return None


@dataclass
class Consumption(ConsumerRebalanceListener):  # type: ignore[misc]
    """A subscription at work.

    A partition's token changes with every assignment: what was read under an earlier
    one is not given any more, since its owner of now reads it again.
    """

    subscription: Subscription
    delivery: Delivery
    clock: Clock
    on_failure: Callable[[Exception], None]
    driver: Callable[[], Driver | None] = field(default=lambda: None)
    committed: Callable[[TopicPartition], Awaitable[CommittedOffset | None]] = _nothing_committed
    stopping: bool = False
    failed: bool = False
    _tokens: dict[TopicPartition, object] = field(default_factory=dict, init=False)
    _begun: set[object] = field(default_factory=set, init=False)
    _positions: dict[TopicPartition, int] = field(default_factory=dict, init=False)
    _uncommitted: dict[TopicPartition, CommittedOffset] = field(default_factory=dict, init=False)
    _revoking: bool = field(default=False, init=False)
    _oldest_ms: int | None = field(default=None, init=False)
    _working: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    @property
    def holds_any(self) -> bool:
        """Whether partitions are ours now."""
        return bool(self._tokens)

    async def on_partitions_assigned(self, assigned: set[DriverPartition]) -> None:
        """These are ours from now on."""
        for one in assigned:
            self._tokens[TopicPartition(one.topic, one.partition)] = object()
        log.info("partitions_taken", group=self.subscription.group, count=len(assigned))

    async def on_partitions_revoked(self, revoked: set[DriverPartition]) -> None:
        """These are another's soon: the batch under way may end first, for a while."""
        self._revoking = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REVOKE_WAIT_S), self._working:
                if revoked:
                    log.info("partitions_given_back", group=self.subscription.group, count=len(revoked))
        self._revoking = False
        for one in revoked:
            place = TopicPartition(one.topic, one.partition)
            self._begun.discard(self._tokens.pop(place, None))
            self._positions.pop(place, None)
            self._uncommitted.pop(place, None)

    async def consume(self, records: Sequence[Record], handler: Handler) -> None:
        """Gives a batch its effect and commits it. Nothing is raised: FastStream would
        swallow it and read on; a failure is told to `on_failure`, and nothing more is
        read or committed.
        """
        tokens = {place: self._tokens.get(place) for place in map(partition_of, records)}

        def wanted(record: Record) -> bool:
            token = tokens[partition_of(record)]
            return not self.failed and token is not None and self._tokens.get(partition_of(record)) is token

        async with self._working:
            self._oldest_ms = min((one.timestamp for one in records), default=None)
            try:
                await self._go_back(records)
                done = await self.delivery.give(records, handler, wanted=wanted, hurried=self._hurried)
                await self._note([one for one in done if wanted(one)])
                await self.commit()
            except TocsinError as error:
                self._fail(error)
            except Exception as error:
                log.exception("consumer_failed", group=self.subscription.group)
                self._fail(error)
            finally:
                self._oldest_ms = None

    async def commit(self) -> None:
        """Commits what was dealt with; what the broker does not take is tried again with
        the next batch, or by `observe`.
        """
        driver, offsets = self.driver(), dict(self._uncommitted)
        if driver is None or not offsets:
            return
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT_S):
                await driver.commit(driver_offsets(offsets))
        except (KafkaError, IllegalStateError, TimeoutError) as error:
            metrics.CONSUMER_COMMIT_FAILURES.labels(self.subscription.group, self._topic).inc()
            log.warning("commit_failed", group=self.subscription.group, topic=self._topic, error=repr(error))
            return
        for place, offset in offsets.items():
            if self._uncommitted.get(place) == offset:
                del self._uncommitted[place]

    async def observe(self) -> None:
        """Tells lag and age, and commits what could not be committed before."""
        if not self._working.locked():
            async with self._working:
                await self.commit()
        lag = sum([await self._lag(place) for place in list(self._tokens)])
        age_s = 0.0 if self._oldest_ms is None else self.clock().timestamp() - self._oldest_ms / 1000
        metrics.CONSUMER_LAG.labels(self.subscription.group, self._topic).set(lag)
        metrics.CONSUMER_AGE_SECONDS.labels(self.subscription.group, self._topic).set(max(0.0, age_s))

    @property
    def _topic(self) -> str:
        return self.subscription.topic.name

    async def _go_back(self, records: Sequence[Record]) -> None:
        """Where the effect is behind the group, reads again from there: these records
        then belong to no present token.
        """
        begin, driver = self.subscription.begin, self.driver()
        if begin is None or driver is None:
            return
        for place in {partition_of(one): None for one in records}:
            token = self._tokens.get(place)
            if token is None or token in self._begun:
                continue
            missing = functools.partial(self._missing_from, begin, place)
            start = await self.delivery.when_there(missing, self._hurried)
            if start is None or self._tokens.get(place) is not token:
                continue
            if start >= 0:
                log.warning("consumer_goes_back", topic=self._topic, partition=place.partition, offset=start)
                driver.seek(DriverPartition(*place), start)
                token = self._tokens[place] = object()
            self._begun.add(token)

    async def _missing_from(
        self, begin: Callable[[TopicPartition], Awaitable[int]], place: TopicPartition
    ) -> int:
        """The first offset whose effect the group noted and which is not there; -1 where
        all is.

        Offsets without a record (transactions' markers) and records without an effect
        (dead letters) lie between what is there and what was committed, and are none.
        """
        start, committed = await begin(place), await self.committed(place)
        if committed is None or start >= committed.offset:
            return -1
        return -1 if committed.note.isdecimal() and start >= int(committed.note) else start

    def _hurried(self) -> bool:
        return self.stopping or self._revoking

    async def _lag(self, place: TopicPartition) -> int:
        driver, partition = self.driver(), DriverPartition(*place)
        if driver is None or (end := driver.highwater(partition)) is None:
            return 0
        if place not in self._positions and not self._working.locked():
            with contextlib.suppress(TimeoutError, KafkaError, IllegalStateError):
                async with asyncio.timeout(_POSITION_TIMEOUT_S):
                    self._positions[place] = await driver.position(partition)
        return max(0, end - self._positions.get(place, end))

    async def _note(self, done: Sequence[Record]) -> None:
        """Notes what is to be committed, and how far the effect is."""
        begin = self.subscription.begin
        for place, offset in {partition_of(one): one.offset + 1 for one in done}.items():
            effect: int | None = None
            if begin is not None:
                effect = await self.delivery.when_there(functools.partial(begin, place), self._hurried)
            self._positions[place] = offset
            self._uncommitted[place] = CommittedOffset(offset, "" if effect is None else str(effect))

    def _fail(self, error: Exception) -> None:
        self.failed = True
        self.on_failure(error)
