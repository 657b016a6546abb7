"""A chain held against the log that it follows from, as far back as the bus keeps it.

Rows behind the newest anchor are proven by nothing else: somebody could have appended
one, or taken the newest away before they were anchored. Which entries have had their row
is what the audit role committed: only those behind that are still to be chained.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.envelope import Envelope, EnvelopeError
from schemas.events.audit import AuditEntry
from schemas.topics import AUDIT
from services.analyzer.audit.domain.chain import AuditRow, Head, chain_name, link
from services.analyzer.audit.domain.verification import Break, Fault
from services.analyzer.audit.table import AUDIT_ROWS
from services.common.bus import Record, Start, Tail, parse_known
from services.common.bus.administration.admin import committed_offsets
from services.common.bus.coordinates import TopicPartition

_AT_ONCE = 2000


class ComparedTable(Protocol):
    """What is asked of the store: `StoredAuditTable`, or a fake."""

    async def rows_between(self, chain: str, first: int, last: int) -> list[AuditRow]:
        """A chain's rows of these offsets, both included."""


@dataclass
class AuditLog:
    """The entries that the bus still has of one partition."""

    url: str = field(repr=False)
    group: str
    partition: int = 0
    connect_timeout_s: float = 60.0

    @property
    def chain(self) -> str:
        """The chain that follows from it."""
        return chain_name(AUDIT.name, self.partition)

    async def chained_to(self) -> int:
        """The offset up to which (exclusive) the audit role has chained entries, or set
        them aside: it commits after the store has the rows.

        Raises:
            BusUnavailableError: no broker.
        """
        committed = await committed_offsets(self.url, self.group)
        place = TopicPartition(AUDIT.name, self.partition)
        return committed[place].offset if place in committed else 0

    async def batches(self) -> AsyncIterator[tuple[list[Record], int]]:
        """The records up to the end as it is now, with the offset up to which each
        batch tells everything; the last one is empty.

        Raises:
            BusUnavailableError: no broker, or no topic.
        """
        tail = Tail(
            self.url,
            "audit-log",
            topic=AUDIT.name,
            committed_only=True,
            connect_timeout_s=self.connect_timeout_s,
        )
        try:
            await tail.start([self.partition], Start.BEGINNING)
            end = (await tail.end_offsets(AUDIT.name, [self.partition]))[self.partition]
            gathered: list[Record] = []
            async for records in tail.read_to_end({self.partition: end}, poll_s=0.05):
                gathered += records
                if len(gathered) >= _AT_ONCE:
                    yield gathered, gathered[-1].offset
                    gathered = []
            if gathered:
                yield gathered, gathered[-1].offset
            yield [], end - 1
        finally:
            await tail.close()


@dataclass
class LogComparison:
    """Goes through the log, batch by batch.

    `chained_to` is the offset up to which (exclusive) entries had their rows before these
    were read. `compared` counts the entries that have their row, `unchained` those behind
    it and the chain's newest row: the audit role is still to chain them.
    """

    chain: str
    head_offset: int
    chained_to: int
    compared: int = field(default=0, init=False)
    unchained: int = field(default=0, init=False)
    first_break: Break | None = field(default=None, init=False)
    _next: int = field(default=0, init=False)

    async def run(
        self, log: Callable[[], AsyncIterator[tuple[list[Record], int]]], table: ComparedTable
    ) -> None:
        """Compares all; stops at the first break."""
        begin: int | None = None
        async for records, last in log():
            first = begin if begin is not None else records[0].offset if records else last + 1
            until = last if records else max(last, self.head_offset)
            rows = await table.rows_between(self.chain, first, until) if until >= first else []
            self.take(records, rows)
            if self.first_break is not None:
                return
            begin = until + 1

    def take(self, records: Sequence[Record], rows: Sequence[AuditRow]) -> None:
        """Compares the records and the rows of the same offsets."""
        by_offset = {row.offset: row for row in rows}
        self._next = max(self._next, min((row.position for row in rows), default=0))
        for record in records:
            row = by_offset.pop(record.offset, None)
            if self.first_break is None:
                self.first_break = self._compare(record, row)
        stray = [row for row in by_offset.values() if row.offset <= self.head_offset]
        if stray and self.first_break is None:
            row = stray[0]
            reason = f"the bus has no entry at its offset {row.offset}"
            self.first_break = Break(row.position, Fault.NOT_IN_LOG, reason)

    def _compare(self, record: Record, row: AuditRow | None) -> Break | None:
        expected = _row_of(record, row)
        if row is None:
            if expected is None:
                return None
            if record.offset > self.head_offset and record.offset >= self.chained_to:
                self.unchained += 1
                return None
            reason = f"the bus's entry at offset {record.offset} has no row"
            if record.offset > self.head_offset:
                reason += ", and had one: the newest rows were taken away"
            return Break(self._next, Fault.MISSING, reason)
        if expected is None:
            reason = f"what the bus has at its offset {row.offset} is no audit entry"
            return Break(row.position, Fault.NOT_IN_LOG, reason)
        self.compared, self._next = self.compared + 1, row.position + 1
        if expected.hash != row.hash:
            reason = f"it is not what the bus has at its offset {row.offset}"
            return Break(row.position, Fault.ALTERED, reason)
        return None


def _row_of(record: Record, row: AuditRow | None) -> AuditRow | None:
    """The row that follows from a record, in the place of the one that there is; None
    where the record is none that is chained.
    """
    entry = parse_known(AUDIT.model, record.value)
    if not isinstance(entry, AuditEntry):
        return None
    head = Head() if row is None else Head(row.position - 1, row.previous_hash)
    try:
        found = link(head, entry, Envelope.from_headers(record.headers), record)
        AUDIT_ROWS.row(found)
    except (EnvelopeError, ValueError):
        return None
    return found
