"""Reading events for keeps: a group consumer whose commits carry a note, so that
whoever takes a partition over knows what was under way.

A commit is accepted from a member of the group's present generation only. So the newest
note of a partition is the last thing that its former owner began.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from services.common.bus.admin import committed_offsets
from services.common.bus.consumer import GroupConsumer, Record
from services.common.bus.producer import Outgoing, Producer
from services.common.errors import BusUnavailableError


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class Committed(NamedTuple):
    """The next offset of a partition, with what its owner noted beside it."""

    offset: int
    note: str = ""


OnPlaces = Callable[[set[Place]], Awaitable[None]]


class EventConsumer:
    """Shares topics with its group, sees committed records only, commits by hand.

    `on_assigned` must be quick: no heartbeat is sent while it runs. `on_revoked` may
    take a few seconds, within the group's rebalance timeout of 10 s.
    """

    def __init__(self, url: str, name: str, group: str, session_timeout_s: float = 3.0) -> None:
        self._url = url
        self._group = group
        self._consumer = GroupConsumer(
            url, name, committed_only=True, group=group, session_timeout_s=session_timeout_s
        )

    async def start(self, topics: Sequence[str], on_assigned: OnPlaces, on_revoked: OnPlaces) -> None:
        """Joins the group.

        Raises:
            BusUnavailableError: no broker.
        """

        async def assigned(places: set[TopicPartition]) -> None:
            await on_assigned(_places(places))

        async def revoked(places: set[TopicPartition]) -> None:
            await on_revoked(_places(places))

        await self._consumer.start(topics, assigned, revoked)

    async def poll(self, timeout_s: float, max_records: int) -> list[Record]:
        """The next records, at least one or none after `timeout_s`; those of a
        partition in its order.
        """
        return await self._consumer.poll(timeout_s, max_records)

    async def rest(self, timeout_s: float) -> None:
        """Waits, staying in the group and taking no records: what a consumer does while
        its effect cannot be had.
        """
        driver = self._consumer._running()  # noqa: SLF001  the same package
        driver.pause(*driver.assignment())
        try:
            await self._consumer.poll(timeout_s)
        finally:
            driver.resume(*driver.paused())

    def seek(self, place: Place, offset: int) -> bool:
        """The next `poll` reads this partition from `offset`.

        False if the partition is no longer ours.
        """
        try:
            self._consumer.seek(place.topic, place.partition, offset)
        except IllegalStateError:
            return False
        return True

    async def commit(self, positions: Mapping[Place, Committed], timeout_s: float = 4.0) -> None:
        """Commits positions with their notes.

        It ends, one way or the other, before `on_revoked` need stop waiting for it.

        Raises:
            BusUnavailableError: the broker did not take them, or the partitions are
                another member's by now.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._consumer.commit(
                    {
                        TopicPartition(*place): OffsetAndMetadata(one.offset, one.note)
                        for place, one in positions.items()
                    }
                )
        except TimeoutError as error:
            raise BusUnavailableError(f"no commit within {timeout_s} s") from error

    async def committed(self, places: Iterable[Place]) -> dict[Place, Committed]:
        """What the group has committed of these partitions; those without a commit are
        left out.

        Raises:
            BusUnavailableError: no broker, or it did not answer.
        """
        found = await committed_offsets(self._url, self._group)
        return {
            place: Committed(one.offset, one.metadata or "")
            for place in places
            if (one := found.get(TopicPartition(*place))) is not None
        }

    async def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """For each partition the offset that its next record will have, as far as
        transactions have ended.

        Raises:
            BusUnavailableError: no broker, or it did not answer.
        """
        found: dict[Place, int] = {}
        by_topic: dict[str, list[int]] = {}
        for place in places:
            by_topic.setdefault(place.topic, []).append(place.partition)
        try:
            async with asyncio.timeout(10):
                for topic, partitions in by_topic.items():
                    found |= {
                        Place(topic, one): end
                        for one, end in (await self._consumer.end_offsets(topic, partitions)).items()
                    }
        except (TimeoutError, KafkaError) as error:
            raise BusUnavailableError(
                f"the ends of {sorted(by_topic)} could not be read: {error!r}"
            ) from error
        return found

    async def close(self) -> None:
        """Leaves the group and disconnects."""
        with contextlib.suppress(BusUnavailableError):
            await self._consumer.close()


async def send_all(producer: Producer, records: Sequence[Outgoing], timeout_s: float) -> None:
    """Sends records and returns when all replicas have all of them.

    Raises:
        BusUnavailableError: not within `timeout_s`; some may have arrived.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*[await producer.send_soon(one) for one in records])
    except (TimeoutError, KafkaError) as error:
        raise BusUnavailableError(
            f"{len(records)} records were not acknowledged within {timeout_s} s"
        ) from error


def _places(partitions: Iterable[TopicPartition]) -> set[Place]:
    return {Place(one.topic, one.partition) for one in partitions}
