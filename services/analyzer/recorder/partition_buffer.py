"""What the recorder holds of one partition between the log and the store.

Pure: records in, blocks out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from services.analyzer.recorder.resume import NOTHING, Plan, Resume
from services.analyzer.recorder.rows import InvalidEventError, Recording, Row, process_message
from services.common.bus.coordinates import CommittedOffset, Record, TopicPartition


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive records of a partition, from the committed `first` offset `through`
    the last: rows for the store, and those that cannot become rows.

    `stored_after` is the highest offset that the store will have. `replayed`: an
    earlier owner had already begun it.
    """

    place: TopicPartition
    first: int
    through: int
    records: int
    rows: Sequence[Row]
    invalid: Sequence[tuple[Record, InvalidEventError]]
    stored_before: int
    stored_after: int
    replayed: bool

    @property
    def token(self) -> str:
        """The deduplication token: the same for the same block, from every process."""
        return f"{self.place.topic}:{self.place.partition}:{self.first}-{self.through}"

    def without_rows(self) -> "Block":
        """The same records, all of them set aside."""
        return replace(self, rows=(), stored_after=self.stored_before)

    @property
    def intent(self) -> CommittedOffset:
        """What to commit before the insert."""
        return CommittedOffset(self.first, Plan(self.stored_before, self.through, self.stored_after).note())

    @property
    def done(self) -> CommittedOffset:
        """What to commit after it."""
        return CommittedOffset(self.through + 1, Plan(self.stored_after).note())


@dataclass
class PartitionBuffer:
    """A partition's records on their way.

    `limit` bounds a block: it shrinks to single records around one that the store
    refuses, and grows back.
    """

    place: TopicPartition
    recording: Recording[Any]
    position: int
    stored: int
    replay_through: int
    limit: int
    largest: int
    records: list[Record] = field(default_factory=list)
    size_bytes: int = 0

    @classmethod
    def at(
        cls, place: TopicPartition, recording: Recording[Any], start: Resume, largest: int
    ) -> "PartitionBuffer":
        """An empty buffer that begins where `start` says."""
        return cls(place, recording, start.offset, start.stored, start.replay_through, largest, largest)

    def add(self, record: Record) -> None:
        """Takes the next record.

        One that lies before the position has been dealt with and is passed over.
        """
        if record.offset >= self.position:
            self.records.append(record)
            self.size_bytes += len(record.value or b"")

    def next_block(self) -> Block | None:
        """The next block, or None where there are no records or a block to be replayed
        is not complete yet. The records stay until `recorded`.
        """
        if not self.records:
            return None
        if self.replay_through == NOTHING:
            return self._block(self.records[: self.limit], replayed=False)
        if self.records[-1].offset < self.replay_through:
            return None
        found = list(takewhile(lambda record: record.offset <= self.replay_through, self.records))
        if not found:  # the log no longer has them: retention was faster than the restart
            self.replay_through = NOTHING
            return self.next_block()
        return self._block(found, replayed=True)

    def recorded(self, block: Block) -> None:
        """The block has had its effect."""
        done, self.records = self.records[: block.records], self.records[block.records :]
        self.size_bytes -= sum(len(record.value or b"") for record in done)
        self.position, self.stored, self.replay_through = block.through + 1, block.stored_after, NOTHING
        self.limit = min(self.largest, self.limit * 2)

    def halve(self, block: Block) -> None:
        """The store refused the block: the next one will be half as long, down to the
        single record that it refuses.
        """
        self.limit, self.replay_through = max(1, block.records // 2), NOTHING

    def _block(self, records: Sequence[Record], *, replayed: bool) -> Block:
        rows: list[Row] = []
        invalid: list[tuple[Record, InvalidEventError]] = []
        stored = self.stored
        for record in records:
            try:
                rows.append(process_message(self.recording, record.value, record.headers, record))
                stored = max(stored, record.offset)
            except InvalidEventError as error:
                invalid.append((record, error))
        return Block(
            self.place,
            self.position,
            records[-1].offset,
            len(records),
            rows,
            invalid,
            self.stored,
            stored,
            replayed,
        )
