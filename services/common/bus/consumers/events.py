"""Reading events for keeps: a group consumer whose commits carry a note, so that
the next owner of a partition knows what was under way.

A commit is accepted from a member of the group's present generation only. So the newest
note of a partition is the last thing that its former owner began.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence

from aiokafka.errors import IllegalStateError, KafkaError, MessageSizeTooLargeError

from services.common.bus.administration.admin import committed_offsets
from services.common.bus.consumers.consumer import Assigned, GroupConsumer
from services.common.bus.coordinates import CommittedOffset, Record, TopicPartition
from services.common.bus.producers.producer import Outgoing, Producer
from services.common.errors import BusUnavailableError, RecordTooLargeError

_ENDS_TIMEOUT_S = 10.0


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

    async def start(self, topics: Sequence[str], on_assigned: Assigned, on_revoked: Assigned) -> None:
        """Joins the group.

        Raises:
            BusUnavailableError: no broker.
        """
        await self._consumer.start(topics, on_assigned, on_revoked)

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

    def seek(self, place: TopicPartition, offset: int) -> bool:
        """The next `poll` reads this partition from `offset`.

        False if the partition is no longer ours.
        """
        try:
            self._consumer.seek(place.topic, place.partition, offset)
        except IllegalStateError:
            return False
        return True

    async def commit(
        self, positions: Mapping[TopicPartition, CommittedOffset], timeout_s: float = 4.0
    ) -> None:
        """Commits positions with their notes.

        It ends, one way or the other, before `on_revoked` need stop waiting for it.

        Raises:
            BusUnavailableError: the broker did not take them, or the partitions are
                another member's by now.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._consumer.commit(positions)
        except TimeoutError as error:
            raise BusUnavailableError(f"no commit within {timeout_s} s") from error

    async def committed(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
        """What the group has committed of these partitions; those without a commit are
        left out.

        Raises:
            BusUnavailableError: no broker, or it did not answer.
        """
        found = await committed_offsets(self._url, self._group)
        return {place: found[place] for place in places if place in found}

    async def ends(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """For each partition the offset that its next record will have, as far as
        transactions have ended.

        Raises:
            BusUnavailableError: no broker, or it did not answer.
        """
        wanted = tuple(places)
        try:
            async with asyncio.timeout(_ENDS_TIMEOUT_S):
                return await self._consumer.ends_of(wanted)
        except TimeoutError as error:
            topics = sorted({one.topic for one in wanted})
            raise BusUnavailableError(
                f"the ends of {topics} could not be read within {_ENDS_TIMEOUT_S:g} s"
            ) from error

    async def close(self) -> None:
        """Leaves the group and disconnects."""
        with contextlib.suppress(BusUnavailableError):
            await self._consumer.close()


async def send_all(producer: Producer, records: Sequence[Outgoing], timeout_s: float) -> None:
    """Sends records and returns when all replicas have all of them.

    Raises:
        BusUnavailableError: not within `timeout_s`; some may have arrived.
        RecordTooLargeError: one will never fit; others may have arrived.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*[await producer.send_soon(one) for one in records])
    except MessageSizeTooLargeError as error:
        raise RecordTooLargeError(f"one of {len(records)} records is larger than Kafka takes") from error
    except (TimeoutError, KafkaError) as error:
        raise BusUnavailableError(
            f"{len(records)} records were not acknowledged within {timeout_s} s"
        ) from error
