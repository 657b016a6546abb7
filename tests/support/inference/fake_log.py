"""A dispatcher's connections over a log in memory: no broker, nothing to wait for."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka.structs import RecordMetadata

from services.common.bus import GroupConsumer, Outgoing, Producer, Record, Start, Tail, TopicPartition
from services.inference.dispatcher.bus_adapter import BusAdapter
from services.inference.dispatcher.connections import Connections


@dataclass
class FakeLog:
    """Records by topic; a topic begins at its offset in `begins`."""

    records: dict[str, list[Record]] = field(default_factory=dict)
    begins: dict[str, int] = field(default_factory=dict)

    def end(self, topic: str) -> int:
        """The offset that its next record will have."""
        return max([self.begins.get(topic, 0), *(one.offset + 1 for one in self.records.get(topic, []))])


@dataclass
class FakeTail(Tail):
    """Follows one topic of a log; a position that the log no longer holds is moved to
    its beginning, as Kafka does.
    """

    log: FakeLog = field(default_factory=FakeLog)
    at: int = 0

    async def start(
        self, partitions: Sequence[int] | None = None, start: Start | Mapping[int, int] = Start.END
    ) -> None:
        self.at = start[0] if isinstance(start, Mapping) and start else 0

    async def poll(self, timeout_s: float = 1.0, max_records: int | None = None) -> list[Record]:
        self.at = max(self.at, self.log.begins.get(self.topic, 0))
        found = [one for one in self.log.records.get(self.topic, []) if one.offset >= self.at][:max_records]
        self.at = found[-1].offset + 1 if found else self.at
        return found

    def seek(self, topic: str, partition: int, offset: int) -> None:
        self.at = offset

    async def read_to_end(
        self, ends: Mapping[int, int] | None = None, *, stall_s: float = 1.0, poll_s: float = 1.0
    ) -> AsyncIterator[list[Record]]:
        if records := await self.poll():
            yield records

    async def end_offsets(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        return {0: self.log.end(topic)}

    async def beginning_offsets(self, topic: str, partitions: Sequence[int]) -> dict[int, int]:
        return {0: self.log.begins.get(topic, 0)}

    async def offsets_at(self, topic: str, partitions: Sequence[int], time_ms: int) -> dict[int, int]:
        return {0: self.log.begins.get(topic, 0)}


@dataclass
class FakeProducer(Producer):
    """Keeps what is sent."""

    sent: list[Outgoing] = field(default_factory=list)

    async def send_soon(self, record: Outgoing) -> "asyncio.Future[RecordMetadata]":
        self.sent.append(record)
        done: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        return done


def connections_of(log: FakeLog, place: TopicPartition) -> Connections:
    """The connections of a leadership of model `m` over this log."""
    out = FakeProducer(url="", name="out")
    connections = Connections.of(
        "", "d", model="m", lanes=GroupConsumer(url="", name="lanes"), out=out, places=(place,)
    )
    connections.status = FakeTail(url="", name="status", topic=connections.status.topic, log=log)
    connections.commands = FakeTail(url="", name="commands", topic=connections.commands.topic, log=log)
    connections.queries = FakeTail(url="", name="queries", log=log)
    connections.deferred = {place: FakeTail(url="", name="deferred", topic=place.topic, log=log)}
    return connections


def adapter_of(connections: Connections) -> BusAdapter:
    """The bus adapter of model `m`."""
    return BusAdapter(connections, "m", {}, 1, 4)
