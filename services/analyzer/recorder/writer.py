"""From blocks to rows: set aside what is invalid, commit the intent, insert, commit
that it is done. Every step may be repeated.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from services.analyzer.recorder.interfaces import Events, Tables
from services.analyzer.recorder.partition_buffer import Block, PartitionBuffer
from services.common.bus.coordinates import CommittedOffset, TopicPartition
from services.common.bus.dead_letters.dead_letter import DeadLetterSink, Failure, InvalidShare
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
    dead_letters: DeadLetterSink
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
        await self._commit(
            pending, lambda pending_block: pending_block.block.intent if pending_block.block.rows else None
        )
        await self._insert(pending)
        await self._set_aside(self._judge_refused(pending))
        await self._commit(
            pending, lambda pending_block: None if pending_block.must_shrink else pending_block.block.done
        )
        for pending_block in _ours(pending):
            if pending_block.must_shrink:
                pending_block.buffer.halve(pending_block.block)
            else:
                pending_block.buffer.recorded(pending_block.block)

    def _judge(self, pending: Sequence[PendingBlock]) -> list[tuple[PendingBlock, Failure]]:
        """What must be set aside before the insert.

        A replayed block's owner did it before.
        """
        failures: list[tuple[PendingBlock, Failure]] = []
        for pending_block in pending:
            bad = {record.offset: error for record, error in pending_block.block.invalid}
            for record in pending_block.buffer.records[: pending_block.block.records]:
                self.invalid.observe(valid=record.offset not in bad)
            if not pending_block.block.replayed:
                failures += [
                    (pending_block, Failure(record, error)) for record, error in pending_block.block.invalid
                ]
        return failures

    def _judge_refused(self, pending: Sequence[PendingBlock]) -> list[tuple[PendingBlock, Failure]]:
        """What must be set aside after it: single records that the store refused."""
        failures: list[tuple[PendingBlock, Failure]] = []
        for pending_block in _ours(pending):
            if pending_block.refusal is None:
                for _ in pending_block.block.rows:
                    self.refused.observe(valid=True)
            elif not pending_block.must_shrink:
                self.refused.observe(valid=False)
                failures.append(
                    (pending_block, Failure(pending_block.buffer.records[0], pending_block.refusal))
                )
                pending_block.block = pending_block.block.without_rows()
        return failures

    async def _set_aside(self, failures: Sequence[tuple[PendingBlock, Failure]]) -> None:
        letters = [
            (pending_block, one)
            for pending_block, one in failures
            if pending_block.block.place.topic not in self.final
        ]
        for pending_block, one in failures:
            metrics.RECORDER_INVALID.labels(pending_block.block.place.topic).inc()
            if pending_block.block.place.topic in self.final:
                log.error(
                    "dead_letter_unreadable",
                    topic=pending_block.block.place.topic,
                    partition=pending_block.block.place.partition,
                    offset=one.record.offset,
                    error=str(one.error),
                )
        if letters:
            await self.dependency_retry.until_done(
                lambda: self.dead_letters.set_aside(
                    [one for pending_block, one in letters if pending_block.is_ours()]
                ),
                lambda: any(pending_block.is_ours() for pending_block, _ in letters),
            )

    async def _commit(
        self, pending: Sequence[PendingBlock], position: Callable[[PendingBlock], CommittedOffset | None]
    ) -> None:
        def positions() -> dict[TopicPartition, CommittedOffset]:
            return {
                pending_block.block.place: found
                for pending_block in _ours(pending)
                if (found := position(pending_block)) is not None
            }

        await self.dependency_retry.until_done(
            lambda: self.events.commit(positions()), lambda: bool(positions())
        )

    async def _insert(self, pending: Sequence[PendingBlock]) -> None:
        def still_ours() -> list[PendingBlock]:
            return [
                pending_block
                for pending_block in _ours(pending)
                if pending_block.block.rows and not pending_block.inserted
            ]

        async def attempt() -> None:
            failures: list[StoreUnavailableError] = []
            async with asyncio.TaskGroup() as group:
                for pending_block in still_ours():
                    group.create_task(self._insert_one(pending_block, failures))
            if failures:
                raise failures[0]

        await self.dependency_retry.until_done(attempt, lambda: bool(still_ours()))

    async def _insert_one(self, pending_block: PendingBlock, failures: list[StoreUnavailableError]) -> None:
        block, table = pending_block.block, pending_block.buffer.recording.table
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
            pending_block.refusal = error
        else:
            metrics.RECORDER_ROWS.labels(table.name).inc(len(block.rows))
        pending_block.inserted = True


def _ours(pending: Sequence[PendingBlock]) -> list[PendingBlock]:
    return [pending_block for pending_block in pending if pending_block.is_ours()]
