"""How far a group has dealt with topics, asked again and again over kept connections."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from services.common.bus.administration.admin import admin
from services.common.bus.consumers.consumer import Tail
from services.common.bus.coordinates import TopicPartition
from services.common.errors import BusUnavailableError

_MOST_LOOKED_AT = 100


class Reached(NamedTuple):
    """Where partitions end, and up to where the group has dealt with them."""

    ends: Mapping[TopicPartition, int]
    positions: Mapping[TopicPartition, int]


@dataclass
class GroupProgress:
    """A group commits the offset after a record, and the log may go on with markers of
    transactions: where a partition stands still just before its end, what lies between
    is looked at, and counts as dealt with where it holds no record.
    """

    url: str = field(repr=False)
    name: str
    group: str
    topics: Sequence[str]
    _connections: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack, init=False)
    _client: AIOKafkaAdminClient | None = field(default=None, init=False)
    _coordinator: int | None = field(default=None, init=False)
    _asking: Tail | None = field(default=None, init=False)
    _places: tuple[TopicPartition, ...] = field(default=(), init=False)
    _before: Reached = field(default=Reached({}, {}), init=False)
    _empty: dict[TopicPartition, tuple[int, int]] = field(default_factory=dict, init=False)
    """Offsets, from and to, between which there is no record."""

    async def read(self) -> Reached:
        """Where it stands now; ends are as of before the positions were asked for.

        Raises:
            BusUnavailableError: no broker, or it did not answer.
        """
        try:
            return await self._read()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnects."""
        self._client = self._asking = self._coordinator = None
        await self._connections.aclose()

    async def _read(self) -> Reached:
        client, asking = await self._connected()
        ends = await asking.ends_of(self._places)
        try:
            if self._coordinator is None:
                self._coordinator = await client.find_coordinator(self.group)
            found = await client.list_consumer_group_offsets(self.group, self._coordinator)
        except KafkaError as error:
            raise BusUnavailableError(f"the offsets of {self.group} could not be read: {error!r}") from error
        committed = {TopicPartition(*place): max(0, one.offset) for place, one in found.items()}
        standing = {place: self._beyond_markers(place, committed.get(place, 0)) for place in self._places}
        await self._look(ends, standing)
        self._before = Reached(
            ends, {place: self._beyond_markers(place, at) for place, at in standing.items()}
        )
        return self._before

    async def _connected(self) -> tuple[AIOKafkaAdminClient, Tail]:
        if self._client is None or self._asking is None:
            self._connections = contextlib.AsyncExitStack()
            asking = Tail(self.url, f"{self.name}-asking", committed_only=True, topic=self.topics[0])
            await asking.start([], {})
            self._connections.push_async_callback(asking.close)
            counts = {topic: await asking.partitions(topic) for topic in self.topics}
            self._places = tuple(
                TopicPartition(topic, one) for topic, count in counts.items() for one in range(count)
            )
            self._client = await self._connections.enter_async_context(admin(self.url))
            self._asking = asking
        return self._client, self._asking

    def _beyond_markers(self, place: TopicPartition, at: int) -> int:
        begin, end = self._empty.get(place, (0, 0))
        return end if begin <= at < end else at

    async def _look(self, ends: Mapping[TopicPartition, int], standing: Mapping[TopicPartition, int]) -> None:
        """Looks for records where nothing moved since the last time."""
        for topic in self.topics:
            still = {
                place.partition: standing[place]
                for place in self._places
                if place.topic == topic
                and 0 < ends[place] - standing[place] <= _MOST_LOOKED_AT
                and (ends[place], standing[place])
                == (self._before.ends.get(place), self._before.positions.get(place))
            }
            if still:
                holding = await self._holding(topic, still, ends)
                for partition in still.keys() - holding:
                    place = TopicPartition(topic, partition)
                    self._empty[place] = (still[partition], ends[place])

    async def _holding(
        self, topic: str, begins: Mapping[int, int], ends: Mapping[TopicPartition, int]
    ) -> set[int]:
        """The partitions that hold a record between the two."""
        until = {partition: ends[TopicPartition(topic, partition)] for partition in begins}
        tail = Tail(self.url, f"{self.name}-look", committed_only=True, topic=topic)
        found: set[int] = set()
        try:
            await tail.start(sorted(begins), begins)
            async for records in tail.read_to_end(until, poll_s=0.05):
                found |= {one.partition for one in records if one.offset < until[one.partition]}
        finally:
            await tail.close()
        return found
