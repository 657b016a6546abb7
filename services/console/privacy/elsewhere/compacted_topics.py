"""Has the broker forget what compacted topics held of erased persons.

Kafka compacts no segment that is still written to, and closes one only when a record
comes after its time: a topic that nobody writes to would keep a name for ever. So an
empty record of a key that nobody has is written into each partition once an hour, until
what erasures removed is surely gone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from schemas.topics import TOPICS
from services.common.bus import Outgoing
from services.common.clock import Clock
from services.common.errors import TocsinError
from services.console.privacy.log import ErasureLog
from services.console.privacy.topics import COMPACTED_WITHIN, HOLDS

log = structlog.get_logger(__name__)

NOBODY = "user:/"
"""A key of every such topic's form that no entry can have; readers pass it over."""
COMPACTED = tuple(topic.name for topic in TOPICS if topic.retention is None and HOLDS[topic.name])
"""The compacted topics that may hold something of persons."""


@dataclass(frozen=True)
class CompactedTopics:
    """Closes their segments every `every_s` seconds, as long as an erasure needs it."""

    log: ErasureLog
    send: Callable[[Outgoing], Awaitable[object]]
    partitions: Callable[[str], Awaitable[int]]
    clock: Clock
    every_s: float = 3600.0

    async def run(self) -> None:
        """Closes segments, until cancelled. What is away is tried again the next time."""
        while True:
            if self.is_needed():
                try:
                    await self.close_segments()
                except TocsinError as error:
                    log.warning("compaction_waits", error=type(error).__name__)
            await asyncio.sleep(self.every_s)

    def is_needed(self) -> bool:
        """Whether an erasure is under way, or was complete so lately that the topics may
        still have something of it.
        """
        since = self.clock() - COMPACTED_WITHIN
        return any(one.completed_at is None or one.completed_at >= since for one in self.log.known.values())

    async def close_segments(self) -> None:
        """Writes an empty record into every partition.

        Raises:
            BusUnavailableError: not now.
        """
        for topic in COMPACTED:
            for partition in range(await self.partitions(topic)):
                await self.send(
                    Outgoing(topic, None, subject=NOBODY, tenant="", key=NOBODY, partition=partition)
                )
