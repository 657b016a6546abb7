"""The recorder's loop: find out where to begin, poll, fill buffers, and have the writer
write a block a partition when a batch is due.

Correctness lies in `resume.py` and in the blocks' tokens: nothing here needs to be told
that somebody died.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from services.analyzer.recorder.interfaces import Events, Tables
from services.analyzer.recorder.partition_buffer import PartitionBuffer
from services.analyzer.recorder.resume import NOTHING, resume
from services.analyzer.recorder.rows import Recording
from services.analyzer.recorder.writer import PendingBlock, Writer
from services.common.bus.coordinates import CommittedOffset, Record, TopicPartition, partition_of
from services.common.bus.dead_letters.dead_letter import TooManyInvalidError
from services.common.errors import ConfigError
from services.common.process.health import Reporter
from services.common.retry import DependencyRetry

log = structlog.get_logger(__name__)

_REVOKE_WAIT_S = 5.0
_MIN_ROOM = 100


@dataclass(frozen=True, slots=True)
class Batching:
    """A batch is due at `rows` records, at `size_bytes` of payload, or `linger_s` after
    its first record.
    """

    rows: int = 5000
    size_bytes: int = 16 * 1024 * 1024
    linger_s: float = 0.5


@dataclass
class Recorder:
    """Records topics into tables; `recordings` says which topic goes where."""

    events: Events
    tables: Tables
    writer: Writer
    dependency_retry: DependencyRetry
    recordings: Mapping[str, Recording[Any]]
    health: Reporter
    batching: Batching = Batching()
    monotonic_s: Callable[[], float] = time.monotonic
    _buffers: dict[TopicPartition, PartitionBuffer] = field(default_factory=dict, init=False)
    _new: set[TopicPartition] = field(default_factory=set, init=False)
    _assignments: int = field(default=0, init=False)
    _batch_since: float | None = field(default=None, init=False)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _stopping: bool = field(default=False, init=False)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def start(self) -> None:
        """Joins the group.

        Raises:
            BusUnavailableError: no broker.
        """
        await self.events.start(list(self.recordings), self._on_assigned, self._on_revoked)
        self.health.report("consumer", ok=True)

    async def run(self) -> None:
        """Records until told to stop, then records what it holds and returns.

        Raises:
            TooManyInvalidError: most events cannot be recorded; they are still in the
                log.
            ConfigError: the log is not the one that the store was filled from.
        """
        try:
            while not self._stopping:
                await self._settle()
                self._buffer_records(await self.events.poll(self._poll_s(), self._room()))
                if self._due():
                    await self._write()
            await self._write()
        except (TooManyInvalidError, ConfigError) as error:
            self.health.report("consumer", ok=False, detail=str(error))
            raise
        finally:
            self._stopped.set()

    async def drain(self) -> None:
        """Records what was taken, and takes no more."""
        self._stopping = True
        await self._stopped.wait()

    async def _on_assigned(self, places: set[TopicPartition]) -> None:
        """Only notes them: no heartbeat is sent while this runs, and the store may be
        away.
        """
        self._assignments += 1
        self._new |= places

    async def _on_revoked(self, places: set[TopicPartition]) -> None:
        """Forgets them, and lets the write under way end or give up, so that nothing of
        this generation is committed in the next.
        """
        for place in places:
            self._buffers.pop(place, None)
            self._new.discard(place)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REVOKE_WAIT_S), self._writing:
                if places:
                    log.info("partitions_given_back", count=len(places))

    async def _settle(self) -> None:
        """Finds out where to begin in newly assigned partitions, and goes there.

        What was found out under an earlier assignment counts no more.
        """
        if not self._new:
            return
        places, assignments = frozenset(self._new), self._assignments

        async def look() -> None:
            stored: dict[TopicPartition, int] = {}
            for table in {
                recording.table.name: recording.table for recording in self.recordings.values()
            }.values():
                stored |= await self.tables.highest_offsets(table)
            committed, ends = await self.events.committed(places), await self.events.ends(places)
            settled = places & self._new if assignments == self._assignments else frozenset()
            for place in settled:
                self._begin(place, stored.get(place, NOTHING), committed.get(place), ends[place])
            if settled:
                log.info("partitions_taken", count=len(settled))

        await self.dependency_retry.until_done(look, lambda: bool(places & self._new))

    def _begin(self, place: TopicPartition, stored: int, committed: CommittedOffset | None, end: int) -> None:
        start = resume(stored, committed)
        if start.offset > end:
            raise ConfigError(
                f"{place.topic}[{place.partition}] ends at offset {end}, but the store has it up to "
                f"{stored}: the topic was created anew, or this is another"
                " Kafka. Give Tocsin the Kafka that belongs to this store, or a database of its own "
                "(TOCSIN_CLICKHOUSE_URL)"
            )
        if self.events.seek(place, start.offset):
            self._buffers[place] = PartitionBuffer.at(
                place, self.recordings[place.topic], start, self.batching.rows
            )
            log.debug(
                "partition_taken",
                topic=place.topic,
                partition=place.partition,
                offset=start.offset,
                replay_through=start.replay_through,
            )
        self._new.discard(place)

    def _buffer_records(self, records: Sequence[Record]) -> None:
        """Puts records on their partitions' buffers.

        Those of a partition without one are read again once it is settled.
        """
        for record in records:
            buffer = self._buffers.get(partition_of(record))
            if buffer is not None:
                buffer.add(record)
        if self._batch_since is None and any(buffer.records for buffer in self._buffers.values()):
            self._batch_since = self.monotonic_s()

    async def _write(self) -> None:
        """Writes what is on the buffers, but for blocks to be replayed that are not
        complete yet.
        """
        self._batch_since = None
        while pending := self._pending_blocks():
            async with self._writing:
                await self.writer.write(pending)

    def _pending_blocks(self) -> list[PendingBlock]:
        return [
            PendingBlock(buffer, block, partial(self._has, place, buffer))
            for place, buffer in list(self._buffers.items())
            if (block := buffer.next_block()) is not None
        ]

    def _has(self, place: TopicPartition, buffer: PartitionBuffer) -> bool:
        """Whether a partition is still this process's, under the same assignment."""
        return self._buffers.get(place) is buffer

    def _due(self) -> bool:
        buffers = self._buffers.values()
        return self._batch_since is not None and (
            self.monotonic_s() - self._batch_since >= self.batching.linger_s
            or sum(len(one.records) for one in buffers) >= self.batching.rows
            or sum(one.size_bytes for one in buffers) >= self.batching.size_bytes
        )

    def _poll_s(self) -> float:
        """Until the batch is due; never so long that a request to stop or a new
        partition would wait.
        """
        if self._batch_since is None:
            return self.batching.linger_s
        return max(0.0, self.batching.linger_s - (self.monotonic_s() - self._batch_since))

    def _room(self) -> int:
        """A block to be replayed may be longer than today's batches, so there is always
        some.
        """
        return max(_MIN_ROOM, self.batching.rows - sum(len(one.records) for one in self._buffers.values()))
