"""Reading from the bus: `Tail` follows named partitions without a group,
`GroupConsumer` shares partitions with its peers and commits by hand.

Both reconnect by themselves: while the broker is away `poll` returns nothing.
"""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ParamSpec, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import TopicPartition as DriverPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from services.common.bus.connecting import start_driver
from services.common.bus.consumers.leader import LeaderAssignor
from services.common.bus.coordinates import CommittedOffset, Record, TopicPartition
from services.common.bus.log_rate_limit import limit_log_rate
from services.common.errors import BusUnavailableError
from services.common.process.kafka_address import connection_options
from services.common.retry import retry

_STALL_S = 60.0


class Start(Enum):
    """Where a tail begins."""

    BEGINNING = "beginning"
    END = "end"


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _bus_errors(
    call: Callable[Parameters, Coroutine[Any, Any, Result]],
) -> Callable[Parameters, Coroutine[Any, Any, Result]]:
    """The driver's errors as ours."""

    @functools.wraps(call)
    async def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return await call(*args, **kwargs)
        except KafkaError as error:
            raise BusUnavailableError(f"Kafka did not answer: {error!r}") from error

    return wrapped


@dataclass
class _Consumer:
    url: str = field(repr=False)
    name: str
    committed_only: bool = False
    connect_timeout_s: float = 60.0
    _driver: AIOKafkaConsumer | None = field(default=None, init=False)

    @_bus_errors
    async def poll(self, timeout_s: float = 1.0, max_records: int | None = None) -> list[Record]:
        """The next records in partition order, at least one or none after `timeout_s`.

        Raises:
            BusUnavailableError: the consumer is not started.
        """
        batches = await self._running().getmany(timeout_ms=int(timeout_s * 1000), max_records=max_records)
        return [record for batch in batches.values() for record in batch]

    async def close(self) -> None:
        """Leaves the group, if any, and disconnects."""
        driver, self._driver = self._driver, None
        if driver is not None:
            await asyncio.sleep(0)  # a task of its that has not begun would raise when it is cancelled
            await driver.stop()

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """The next `poll` reads from `offset`."""
        self._running().seek(DriverPartition(topic, partition), offset)

    @_bus_errors
    async def position(self, topic: str, partition: int) -> int:
        """The offset that the next `poll` begins at."""
        return int(await self._running().position(DriverPartition(topic, partition)))

    async def end_offsets(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """For each partition the offset that its next record will have."""
        ends = await self.ends_of(TopicPartition(topic, one) for one in partitions)
        return {place.partition: offset for place, offset in ends.items()}

    @_bus_errors
    async def ends_of(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """The same for partitions of several topics, in one question: each waits behind
        the long poll of a consumer that fetches.
        """
        ends = await self._running().end_offsets([DriverPartition(*one) for one in places])
        return {TopicPartition(*place): offset for place, offset in ends.items()}

    @_bus_errors
    async def beginning_offsets(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        """For each partition the first offset that the log still holds."""
        starts = await self._running().beginning_offsets([DriverPartition(topic, one) for one in partitions])
        return {place.partition: offset for place, offset in starts.items()}

    @_bus_errors
    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has.

        Raises:
            BusUnavailableError: the topic is not there.
        """
        cluster = await self._running()._client.fetch_all_metadata()  # noqa: SLF001  the driver tells only of topics it already follows
        found = cluster.partitions_for_topic(topic)
        if not found:
            raise BusUnavailableError(f"the topic {topic} is not there; `tocsin topics` creates it")
        return len(found)

    def _running(self) -> AIOKafkaConsumer:
        if self._driver is None:
            raise BusUnavailableError(f"the consumer {self.name} is not started")
        return self._driver

    async def _connect(self, **options: Any) -> None:
        await self.close()
        limit_log_rate()

        async def attempt() -> AIOKafkaConsumer:
            driver = AIOKafkaConsumer(
                **connection_options(self.url),
                client_id=self.name,
                enable_auto_commit=False,
                metadata_max_age_ms=30_000,
                isolation_level="read_committed" if self.committed_only else "read_uncommitted",
                **options,
            )
            await start_driver(self.url, driver.start, driver.stop)
            return driver

        self._driver = await retry(attempt, timeout_s=self.connect_timeout_s)


@dataclass
class Tail(_Consumer):
    """Follows partitions of one topic, every record for every reader; nothing is
    committed.

    One that is started with `start([], {})` follows nothing and is there to be asked: a
    query on a consumer that fetches waits behind its long poll.
    """

    topic: str = ""
    longest_poll_ms: int = 500
    """So long the broker holds a fetch that finds less than `fewest_bytes`, and with it
    what is asked behind it on the same connection.
    """
    fewest_bytes: int = 1
    """More of them make fewer fetches, where records come often and may come late."""

    @_bus_errors
    async def start(
        self, partitions: Sequence[int] | None = None, start: Start | Mapping[int, int] = Start.END
    ) -> None:
        """Begins at the beginning, at the end, or at an offset a partition; one that
        does not begin is disconnected, one that had begun begins anew.

        None means all partitions.

        Raises:
            BusUnavailableError: no broker, or no such topic.
        """
        await self._connect(
            auto_offset_reset="earliest",
            fetch_max_wait_ms=self.longest_poll_ms,
            fetch_min_bytes=self.fewest_bytes,
        )
        try:
            await self._assign(partitions, start)
        except BaseException:
            await self.close()
            raise

    async def _assign(self, partitions: Sequence[int] | None, start: Start | Mapping[int, int]) -> None:
        wanted = (
            range(await retry(lambda: self.partitions(self.topic), timeout_s=30.0))
            if partitions is None
            else partitions
        )
        places = [DriverPartition(self.topic, one) for one in wanted]
        driver = self._running()
        driver.assign(places)
        if isinstance(start, Mapping):
            for place in places:
                driver.seek(place, start[place.partition])
        elif start is Start.BEGINNING:
            await driver.seek_to_beginning(*places)
        else:
            for place, offset in (await driver.end_offsets(places)).items():
                driver.seek(place, offset)

    async def read_to_end(
        self, ends: Mapping[int, int] | None = None, *, stall_s: float = _STALL_S, poll_s: float = 1.0
    ) -> AsyncIterator[list[Record]]:
        """The records from where this tail stands to the end as it is now, batch by
        batch.

        `ends` gives the end a partition where the caller has asked already; a record
        behind it may come with the last batch. Where transactions write, the last
        offset may hold no record: `poll_s` bounds the wait for it.

        Raises:
            BusUnavailableError: for `stall_s` nothing could be read.
        """
        assigned = sorted(place.partition for place in self._running().assignment())
        wanted = await self.end_offsets(self.topic, assigned) if ends is None else ends
        heard_s = time.monotonic()
        while any([await self.position(self.topic, one) < end for one, end in wanted.items()]):
            records = await self.poll(poll_s)
            if records:
                heard_s = time.monotonic()
                yield records
            elif time.monotonic() - heard_s > stall_s:
                raise BusUnavailableError(
                    f"{self.topic} could not be read to its end: nothing came for {stall_s:g} s"
                )

    @_bus_errors
    async def offsets_at(self, topic: str, partitions: Sequence[int], time_ms: int) -> dict[int, int]:
        """For each partition the first offset whose record is of `time_ms` (Unix
        milliseconds) or later; its end where there is none.
        """
        places = [DriverPartition(topic, one) for one in partitions]
        found = await self._running().offsets_for_times(dict.fromkeys(places, time_ms))
        ends = await self._running().end_offsets(places)
        return {place.partition: found[place].offset if found.get(place) else ends[place] for place in places}


async def written_ends(asking: Tail) -> dict[int, int]:
    """Where each partition ends, with what no transaction has ended there yet.

    A tail of committed records that reads to these ends misses nothing that was committed
    before: Kafka ends a transaction in its partitions a moment after it has confirmed the
    commit, and until then the ends for such readers lie before it. It waits for open
    transactions too, at most for their timeout. `asking` is a tail for this alone, of all
    records.

    Raises:
        BusUnavailableError: no broker, or no such topic.
    """
    try:
        await asking.start([], {})
        return await asking.end_offsets(asking.topic, range(await asking.partitions(asking.topic)))
    finally:
        await asking.close()


async def window_since(asking: Tail, partition: int, since_ms: int) -> tuple[int, int]:
    """From which offset on a partition's records are of `since_ms` (Unix milliseconds) or
    later, and where it ends now. `asking` is a tail for this alone: on one that fetches,
    a question waits behind its long poll.

    Raises:
        BusUnavailableError: no broker, or no such topic.
    """
    try:
        await asking.start([], {})
        begin = await asking.offsets_at(asking.topic, [partition], since_ms)
        end = await asking.end_offsets(asking.topic, [partition])
    finally:
        await asking.close()
    return begin[partition], end[partition]


def driver_offsets(
    offsets: Mapping[TopicPartition, CommittedOffset],
) -> dict[DriverPartition, OffsetAndMetadata]:
    """Offsets to be committed, as the driver wants them."""
    return {DriverPartition(*place): OffsetAndMetadata(*one) for place, one in offsets.items()}


Assigned = Callable[[set[TopicPartition]], Awaitable[None]]


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, on_assigned: Assigned, on_revoked: Assigned) -> None:
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked

    async def on_partitions_assigned(self, assigned: set[DriverPartition]) -> None:
        await self._on_assigned({TopicPartition(*one) for one in assigned})

    async def on_partitions_revoked(self, revoked: set[DriverPartition]) -> None:
        await self._on_revoked({TopicPartition(*one) for one in revoked})


@dataclass
class GroupConsumer(_Consumer):
    """Shares topics with its group: partitions are spread over the members, or with
    `one_holds_all` stay with one member while the others stand by.

    `one_holds_all` says whether this member is that one now. `on_assigned` runs before
    the first record of new partitions, and may `seek`; `on_revoked` runs before they go
    to another.
    """

    group: str = ""
    session_timeout_s: float = 3.0
    one_holds_all: Callable[[], bool] | None = None

    async def start(self, topics: Sequence[str], on_assigned: Assigned, on_revoked: Assigned) -> None:
        """Joins the group.

        Raises:
            BusUnavailableError: no broker.
        """
        await self._connect(
            group_id=self.group,
            auto_offset_reset="earliest",
            session_timeout_ms=int(self.session_timeout_s * 1000),
            heartbeat_interval_ms=int(self.session_timeout_s * 1000 / 4),
            rebalance_timeout_ms=10_000,
            max_poll_interval_ms=600_000,
            partition_assignment_strategy=(
                LeaderAssignor(self.one_holds_all) if self.one_holds_all else RangePartitionAssignor,
            ),
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        self._running().subscribe(topics, listener=_Listener(on_assigned, on_revoked))

    def read_only(self, places: Iterable[TopicPartition]) -> None:
        """The next `poll` brings records of these partitions only; the others wait in
        the log, and stay this member's.
        """
        driver = self._running()
        wanted = {DriverPartition(*place) for place in places}
        assigned, paused = driver.assignment(), driver.paused()
        driver.pause(*(assigned - wanted - paused))
        driver.resume(*(wanted & paused))

    async def commit(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Commits positions: everything before them has had its effect.

        Raises:
            BusUnavailableError: the broker did not take the commit, or the partitions
                are another member's by now.
        """
        try:
            await self._running().commit(driver_offsets(offsets))
        except KafkaError as error:
            raise BusUnavailableError(f"the commit of {self.name} failed: {error!r}") from error
