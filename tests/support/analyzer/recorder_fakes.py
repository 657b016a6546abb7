"""A log and a store in memory that fail where a test says: what the recorder's rules
are proven on.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from aiokafka import ConsumerRecord

from schemas.envelope import Envelope
from services.analyzer.recorder.rows import Row
from services.analyzer.recorder.tables.inference_completed import INFERENCE_COMPLETED
from services.common.bus import Record
from services.common.bus.consumers.consumer import Assigned
from services.common.bus.coordinates import CommittedOffset, TopicPartition
from services.common.bus.dead_letters.dead_letter import Failure
from services.common.errors import StoreRejectedError, StoreUnavailableError
from services.common.store import Table
from tests.support.analyzer.recording import EPOCH, TOPIC, Unreadable, completed

PLACE = TopicPartition(TOPIC, 0)


class KilledError(BaseException):
    """The recorder was killed here."""


class EndOfLogError(Exception):
    """There is nothing more to read: the recorder has dealt with everything."""


def record(number: int, offset: int, *, valid: bool = True, place: TopicPartition = PLACE) -> Record:
    """Event `number` as it lies in the log at `offset`."""
    value = (completed(number) if valid else Unreadable()).encode()
    envelope = Envelope.create(
        type_=f"tocsin.{TOPIC}", source="test", occurred_at=EPOCH, subject="s", tenant="t", sequence=number
    )
    return ConsumerRecord(
        place.topic,
        place.partition,
        offset,
        0,
        0,
        b"key",
        value,
        None,
        3,
        len(value),
        tuple(envelope.to_headers()),
    )


@dataclass
class FakeLog:
    """A partition and what its group has committed."""

    records: list[Record]
    committed: dict[TopicPartition, CommittedOffset] = field(default_factory=dict)


@dataclass
class FakeEvents:
    """One member's view of the log.

    It may be killed before or after any of its commits.
    """

    log: FakeLog
    kill_at: set[str] = field(default_factory=set)
    position: int = 0
    commits: int = 0
    rests: int = 0
    poll_size: int = 10

    async def start(self, topics: Sequence[str], on_assigned: Assigned, on_revoked: Assigned) -> None:
        """Gives it the partition at once."""
        del topics, on_revoked
        await on_assigned({PLACE})

    async def poll(self, timeout_s: float, max_records: int) -> list[Record]:
        """The next records.

        Raises:
            EndOfLogError: there are none.
        """
        del timeout_s
        found = [one for one in self.log.records if one.offset >= self.position][
            : min(max_records, self.poll_size)
        ]
        if not found:
            raise EndOfLogError
        self.position = found[-1].offset + 1
        return found

    async def rest(self, timeout_s: float) -> None:
        """Counts the times that it waited."""
        del timeout_s
        self.rests += 1

    def seek(self, place: TopicPartition, offset: int) -> bool:
        """Goes there."""
        del place
        self.position = offset
        return True

    async def commit(self, positions: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Commits, unless it is killed before; or dies after."""
        self.commits += 1
        if f"before commit {self.commits}" in self.kill_at:
            raise KilledError
        self.log.committed |= positions
        if f"after commit {self.commits}" in self.kill_at:
            raise KilledError

    async def committed(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, CommittedOffset]:
        """What was committed."""
        return {place: self.log.committed[place] for place in places if place in self.log.committed}

    async def ends(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Where the partition ends."""
        return dict.fromkeys(places, self.log.records[-1].offset + 1 if self.log.records else 0)

    async def close(self) -> None:
        """Nothing to let go of."""


class Fault(Enum):
    """What may become of an insert."""

    NONE = "it works"
    AWAY = "the store does not answer, and nothing is in"
    LOST_ANSWER = "everything is in, and the answer is lost"
    TABLE_ONLY = "killed when the table had it and the rollup had not"
    ROLLUP_ONLY = "killed when the rollup had it and the table had not"
    KILLED_BEFORE = "killed before anything was in"
    KILLED_AFTER = "killed when everything was in"
    LATE = "killed; the store does the insert after the next owner has asked where to begin"


@dataclass
class FakeTables:
    """A table with a rollup, each of which knows the tokens that it has seen."""

    faults: list[Fault] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    rollup: Counter[str] = field(default_factory=Counter)
    refuses: set[str] = field(default_factory=set)
    inserts: int = 0
    _table_tokens: set[str] = field(default_factory=set)
    _rollup_tokens: set[str] = field(default_factory=set)
    _late: list[tuple[str, list[Row]]] = field(default_factory=list)

    async def insert(self, table: Table, rows: Sequence[Row], *, token: str) -> None:
        """Inserts once a token, with the next fault.

        Raises:
            StoreUnavailableError: the next fault says so.
            StoreRejectedError: a row's request_id is one that the store refuses.
            KilledError: the next fault kills the recorder.
        """
        del table
        self.inserts += 1
        if any(request_id(row) in self.refuses for row in rows):
            raise StoreRejectedError("a value does not fit")
        fault = self.faults.pop(0) if self.faults else Fault.NONE
        if fault in (Fault.NONE, Fault.LOST_ANSWER, Fault.TABLE_ONLY, Fault.KILLED_AFTER):
            self._into_table(token, rows)
        if fault in (Fault.NONE, Fault.LOST_ANSWER, Fault.ROLLUP_ONLY, Fault.KILLED_AFTER):
            self._into_rollup(token, rows)
        if fault is Fault.LATE:
            self._late.append((token, list(rows)))
        if fault in (Fault.AWAY, Fault.LOST_ANSWER):
            raise StoreUnavailableError("no answer")
        if fault is not Fault.NONE:
            raise KilledError

    async def highest_offsets(self, table: Table) -> dict[TopicPartition, int]:
        """Where to begin; what is late arrives right after."""
        del table
        offset, partition, topic = (
            list(INFERENCE_COMPLETED.table.columns).index(name) for name in ("offset", "partition", "topic")
        )
        found: dict[TopicPartition, int] = {}
        for row in self.rows:
            place = TopicPartition(row[topic], row[partition])
            found[place] = max(found.get(place, -1), row[offset])
        late, self._late = self._late, []
        for token, rows in late:
            self._into_table(token, rows)
            self._into_rollup(token, rows)
        return found

    def _into_table(self, token: str, rows: Sequence[Row]) -> None:
        if token not in self._table_tokens:
            self._table_tokens.add(token)
            self.rows += rows

    def _into_rollup(self, token: str, rows: Sequence[Row]) -> None:
        if token not in self._rollup_tokens:
            self._rollup_tokens.add(token)
            self.rollup.update(request_id(row) for row in rows)


@dataclass
class FakeDeadLetters:
    """Remembers what was set aside."""

    failures: list[Failure] = field(default_factory=list)

    async def set_aside(self, failures: Sequence[Failure]) -> None:
        """Keeps them."""
        self.failures += failures

    @property
    def offsets(self) -> set[int]:
        """Whose."""
        return {one.record.offset for one in self.failures}


def request_id(row: Row) -> str:
    """A row's request_id."""
    return str(row[list(INFERENCE_COMPLETED.table.columns).index("request_id")])
