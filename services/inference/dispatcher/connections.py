"""The connections of one leadership."""

import asyncio
from dataclasses import dataclass

from schemas.topics import COMMANDS, STATUS_TOPIC
from services.common.bus import GroupConsumer, Producer, Tail, TopicPartition, TransactionalProducer


@dataclass
class Connections:
    """What a leadership reads and writes.

    `lanes` and `out` are its member's and outlive it; the others are opened for it.
    """

    lanes: GroupConsumer
    out: Producer
    ends: TransactionalProducer
    status: Tail
    commands: Tail
    queries: Tail
    """Fetches nothing: a query need not wait behind a fetch's long poll."""
    deferred: dict[TopicPartition, Tail]
    """Read the deferred records again."""

    @classmethod
    def of(
        cls,
        url: str,
        name: str,
        *,
        model: str,
        lanes: GroupConsumer,
        out: Producer,
        places: tuple[TopicPartition, ...],
    ) -> "Connections":
        """All connections, none of them open."""
        return cls(
            lanes=lanes,
            out=out,
            ends=TransactionalProducer(url=url, name=f"dispatcher/{model}", transactional_id=lanes.group),
            status=Tail(url=url, name=name, topic=STATUS_TOPIC.name),
            commands=Tail(url=url, name=name, topic=COMMANDS.name),
            queries=Tail(url=url, name=name),
            deferred={place: Tail(url=url, name=f"{name}-deferred", topic=place.topic) for place in places},
        )

    async def open(self) -> None:
        """Connects. Where one fails or this is cancelled, none is left half open.

        Raises:
            ExceptionGroup: of BusUnavailableError: no broker.
        """
        async with asyncio.TaskGroup() as connecting:
            connecting.create_task(self.ends.start())
            connecting.create_task(self.queries.start([], {}))
            connecting.create_task(self.status.start([0], {0: 0}))
            connecting.create_task(self.commands.start([0], {0: 0}))

    async def close(self) -> None:
        """Disconnects what was opened."""
        for tail in (self.status, self.commands, self.queries, *self.deferred.values()):
            await tail.close()
        await self.ends.close()
