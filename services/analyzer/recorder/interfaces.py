"""What the recorder asks of the world, and how it waits for a part of it that is away."""

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from services.analyzer.recorder.rows import Row
from services.common.bus import Record
from services.common.bus.consumers.consumer import Assigned
from services.common.bus.coordinates import CommittedOffset, TopicPartition
from services.common.bus.dead_letters.dead_letter import Failure
from services.common.errors import StoreUnavailableError, TransientError
from services.common.process import metrics
from services.common.process.health import HealthState
from services.common.store import Store, Table

log = structlog.get_logger(__name__)

_REST_FIRST_S = 0.1
_REST_MAX_S = 2.0


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


class DeadLetterSink(Protocol):
    """Where it sets records aside: `DeadLetters`
    (services/common/bus/dead_letters/dead_letter.py), or a fake.
    """

    async def set_aside(self, failures: Sequence[Failure]) -> None:
        """Sends records to their dead-letter topics."""


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


@dataclass
class DependencyRetry:
    """Does what must be done, as often as it takes; meanwhile the consumer rests in its
    group, and /ready says what is missing.
    """

    events: Events
    health: HealthState
    jitter: Callable[[], float] = field(default=lambda: random.uniform(0.5, 1.0))  # noqa: S311  not a secret

    async def until_done(self, attempt: Callable[[], Awaitable[None]], wanted: Callable[[], bool]) -> None:
        """Calls `attempt` until it succeeds or is no longer `wanted`.

        Failures that are not transient are raised.
        """
        rest_s, missing = _REST_FIRST_S, ""
        while wanted():
            try:
                await attempt()
            except TransientError as error:
                name = "store" if isinstance(error, StoreUnavailableError) else "kafka"
                if name != missing:
                    log.warning("recorder_waits", dependency=name, error=str(error))
                    missing = name
                    metrics.RECORDER_WAITING.labels(name).set(1)
                self.health.report(name, ok=False, detail=str(error))
                await self.events.rest(rest_s * self.jitter())
                rest_s = min(_REST_MAX_S, rest_s * 2)
            else:
                break
        if missing:
            log.info("recorder_goes_on", dependency=missing)
        for name in ("store", "kafka"):
            self.health.report(name, ok=True)
            metrics.RECORDER_WAITING.labels(name).set(0)
