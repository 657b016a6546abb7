"""From blocks to rows: set aside what is invalid, commit the intent, insert, commit
that it is done. Every step may be repeated.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from services.analyzer.recorder.interfaces import DeadLetterSink, Events, Tables
from services.analyzer.recorder.partition_buffer import Block, PartitionBuffer
from services.common.bus.coordinates import CommittedOffset, TopicPartition
from services.common.bus.dead_letters.dead_letter import Failure, InvalidShare
from services.common.errors import StoreRejectedError, StoreUnavailableError
from services.common.process import metrics
from services.common.retry import DependencyRetry

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class PendingBlock:
    """A block on its way.

    `is_ours` turns False when its partition is taken away: nothing more is done with it
    then.
    """

    buffer: PartitionBuffer
    block: Block
    is_ours: Callable[[], bool]
    inserted: bool = False
    refusal: StoreRejectedError | None = None

    @property
    def must_shrink(self) -> bool:
        """The store refused it, and one of several records is to blame."""
        return self.refusal is not None and self.block.records > 1


@dataclass
class Writer:
    """Writes blocks of several partitions at once.

    `final` topics hold dead letters: what is invalid there is logged and counted, and
    stays in its topic.
    """

    events: Events
    tables: Tables
    aside: DeadLetterSink
    dependency_retry: DependencyRetry
    invalid: InvalidShare
    refused: InvalidShare
    final: frozenset[str] = frozenset()

    async def write(self, pending: Sequence[PendingBlock]) -> None:
        """Gives every block its effect, waiting for whatever is away.

        Blocks of partitions that are lost meanwhile are dropped: their new owner does
        them.

        Raises:
            TooManyInvalidError: most events are invalid; none of this batch's was set
                aside.
        """
        await self._set_aside(self._judge(pending))
        await self._commit(pending, lambda load: load.block.intent if load.block.rows else None)
        await self._insert(pending)
        await self._set_aside(self._judge_refused(pending))
        await self._commit(pending, lambda load: None if load.must_shrink else load.block.done)
        for load in _ours(pending):
            if load.must_shrink:
                load.buffer.halve(load.block)
            else:
                load.buffer.recorded(load.block)

    def _judge(self, pending: Sequence[PendingBlock]) -> list[tuple[PendingBlock, Failure]]:
        """What must be set aside before the insert.

        A replayed block's owner did it before.
        """
        failures: list[tuple[PendingBlock, Failure]] = []
        for load in pending:
            bad = {record.offset: error for record, error in load.block.invalid}
            for record in load.buffer.records[: load.block.records]:
                self.invalid.observe(valid=record.offset not in bad)
            if not load.block.replayed:
                failures += [(load, Failure(record, error)) for record, error in load.block.invalid]
        return failures

    def _judge_refused(self, pending: Sequence[PendingBlock]) -> list[tuple[PendingBlock, Failure]]:
        """What must be set aside after it: single records that the store refused."""
        failures: list[tuple[PendingBlock, Failure]] = []
        for load in _ours(pending):
            if load.refusal is None:
                for _ in load.block.rows:
                    self.refused.observe(valid=True)
            elif not load.must_shrink:
                self.refused.observe(valid=False)
                failures.append((load, Failure(load.buffer.records[0], load.refusal)))
                load.block = load.block.without_rows()
        return failures

    async def _set_aside(self, failures: Sequence[tuple[PendingBlock, Failure]]) -> None:
        letters = [(load, one) for load, one in failures if load.block.place.topic not in self.final]
        for load, one in failures:
            metrics.RECORDER_INVALID.labels(load.block.place.topic).inc()
            if load.block.place.topic in self.final:
                log.error(
                    "dead_letter_unreadable",
                    topic=load.block.place.topic,
                    partition=load.block.place.partition,
                    offset=one.record.offset,
                    error=str(one.error),
                )
        if letters:
            await self.dependency_retry.until_done(
                lambda: self.aside.set_aside([one for load, one in letters if load.is_ours()]),
                lambda: any(load.is_ours() for load, _ in letters),
            )

    async def _commit(
        self, pending: Sequence[PendingBlock], position: Callable[[PendingBlock], CommittedOffset | None]
    ) -> None:
        def positions() -> dict[TopicPartition, CommittedOffset]:
            return {
                load.block.place: found for load in _ours(pending) if (found := position(load)) is not None
            }

        await self.dependency_retry.until_done(
            lambda: self.events.commit(positions()), lambda: bool(positions())
        )

    async def _insert(self, pending: Sequence[PendingBlock]) -> None:
        def still_ours() -> list[PendingBlock]:
            return [load for load in _ours(pending) if load.block.rows and not load.inserted]

        async def attempt() -> None:
            failures: list[StoreUnavailableError] = []
            async with asyncio.TaskGroup() as group:
                for load in still_ours():
                    group.create_task(self._insert_one(load, failures))
            if failures:
                raise failures[0]

        await self.dependency_retry.until_done(attempt, lambda: bool(still_ours()))

    async def _insert_one(self, load: PendingBlock, failures: list[StoreUnavailableError]) -> None:
        block, table = load.block, load.buffer.recording.table
        try:
            with metrics.RECORDER_INSERT_SECONDS.labels(table.name).time():
                await self.tables.insert(table, block.rows, token=block.token)
        except StoreUnavailableError as error:
            failures.append(error)
            return
        except StoreRejectedError as error:
            log.warning(
                "block_refused",
                topic=block.place.topic,
                partition=block.place.partition,
                first=block.first,
                through=block.through,
                error=str(error),
            )
            load.refusal = error
        else:
            metrics.RECORDER_ROWS.labels(table.name).inc(len(block.rows))
        load.inserted = True


def _ours(pending: Sequence[PendingBlock]) -> list[PendingBlock]:
    return [load for load in pending if load.is_ours()]
