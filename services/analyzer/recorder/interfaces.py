"""What the recorder asks of the world."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from services.analyzer.recorder.rows import Row
from services.common.bus import Record
from services.common.bus.consumers.consumer import Assigned
from services.common.bus.coordinates import CommittedOffset, TopicPartition
from services.common.store import Store, Table


class Events(Protocol):
    """What the recorder asks of the bus: `EventConsumer`
    (services/common/bus/consumers/events.py), or a fake.
    """

    async def start(self, topics: Sequence[str], on_assigned: Assigned, on_revoked: Assigned) -> None:
        """Joins the group."""

    async def poll(self, timeout_s: float, max_records: int) -> list[Record]:
        """The next records."""

    async def rest(self, timeout_s: float) -> None:
        """Waits in the group without taking records."""

    def seek(self, place: TopicPartition, offset: int) -> bool:
        """Reads on from `offset`; False if the partition is not ours."""

    async def commit(self, positions: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Commits positions with notes."""

    async def committed(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
        """What was committed."""

    async def ends(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the partitions end."""

    async def close(self) -> None:
        """Leaves the group."""


class Tables(Protocol):
    """What it asks of the store: `StoreTables`, or a fake."""

    async def insert(self, table: Table, rows: Sequence[Row], *, token: str) -> None:
        """Inserts a block once per token."""

    async def highest_offsets(self, table: Table) -> dict[TopicPartition, int]:
        """For each partition the highest offset that the table has."""


class StoreTables:
    """`Tables` over ClickHouse."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def insert(self, table: Table, rows: Sequence[Row], *, token: str) -> None:
        """Inserts a block once per token."""
        await self._store.insert(table, rows, token=token)

    async def highest_offsets(self, table: Table) -> dict[TopicPartition, int]:
        """For each partition the highest offset that the table has."""
        rows = await self._store.query(
            f"SELECT topic, partition, max(offset) AS highest FROM {table.name} GROUP BY topic, partition"  # noqa: S608  a constant
        )
        return {TopicPartition(row["topic"], row["partition"]): row["highest"] for row in rows}
