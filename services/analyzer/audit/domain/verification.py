"""Is a chain whole? Rows in, the first break out. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from services.analyzer.audit.domain.chain import DELETED, GENESIS, AuditRow, digest, row_hash


class Fault(StrEnum):
    """What is wrong with a chain."""

    MISSING = "missing"
    FORKED = "forked"
    REORDERED = "reordered"
    UNLINKED = "unlinked"
    ALTERED = "altered"
    NOT_ANCHORED = "not_anchored"
    NOT_IN_LOG = "not_in_log"


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain first breaks.

    missing: there is no row at this place. forked: there is another row in this place.
    unlinked: it does not follow the row before it, which was replaced or moved.
    reordered: it follows a row that stands elsewhere, or its place in the log is not
    behind that of the row before it. altered: it does not say what its hash or a digest
    covers, or not what the log has at its offset. not_anchored: it is not the row whose
    hash was published. not_in_log: the log has no such entry.
    """

    position: int
    fault: Fault
    explanation: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far a chain was read, and its first break, if any.

    `head` is the hash of the last whole row; `erased` counts rows of which personal
    values were erased, which is no break. `anchored` counts the rows up to the newest
    anchor that holds: the rows behind it could have been written anew as a whole.
    """

    rows: int
    head: str
    erased: int
    first_break: Break | None = None
    anchored: int = 0


@dataclass
class Verification:
    """Reads one chain, row by row, in the order of (position, hash).

    `anchors` are positions with the hashes that were published elsewhere: only they
    show that the end of a chain is missing, or that it was written anew as a whole.
    """

    anchors: Iterable[tuple[int, str]] = ()
    first_break: Break | None = field(default=None, init=False)
    _expected: int = field(default=0, init=False)
    _previous: str = field(default=GENESIS, init=False)
    _offset: int = field(default=-1, init=False)
    _erased: int = field(default=0, init=False)
    _anchored: int = field(default=0, init=False)
    _wanted: dict[int, set[str]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for position, published in self.anchors:
            self._wanted.setdefault(position, set()).add(published)

    def take(self, row: AuditRow) -> Break | None:
        """The first break, if there is one up to this row; nothing is read behind it."""
        if self.first_break is None:
            self.first_break = next(self._faults(row), None)
        if self.first_break is not None:
            return self.first_break
        self._erased += not (row.actor_salt and row.content_salt)
        if self._wanted.pop(row.position, None):
            self._anchored = row.position + 1
        self._expected, self._previous, self._offset = self._expected + 1, row.hash, row.offset
        return None

    def end(self) -> Verdict:
        """The verdict, once all rows were taken."""
        if self.first_break is None and self._wanted:
            place = min(self._wanted)
            reason = f"the chain ends before position {place}, whose hash was published"
            self.first_break = Break(self._expected, Fault.MISSING, reason)
        return Verdict(self._expected, self._previous, self._erased, self.first_break, self._anchored)

    def _faults(self, row: AuditRow) -> Iterator[Break]:
        yield from self._misplaced(row)
        if row.hash != row_hash(row):
            yield Break(self._expected, Fault.ALTERED, "its hash is not that of what it says")
        if not _holds(row.actor_salt, (row.actor_id, row.address), row.actor_digest, (DELETED, "")):
            yield Break(self._expected, Fault.ALTERED, "its actor is not the one that was recorded")
        content = (row.object_id, row.reason, row.before, row.after)
        if not _holds(row.content_salt, content, row.content_digest, (DELETED, "", "", "")):
            yield Break(self._expected, Fault.ALTERED, "its content is not what was recorded")
        if self._wanted.get(row.position, {row.hash}) != {row.hash}:
            yield Break(self._expected, Fault.NOT_ANCHORED, "its hash is not the one that was published")

    def _misplaced(self, row: AuditRow) -> Iterator[Break]:
        if row.position > self._expected:
            yield Break(self._expected, Fault.MISSING, f"the next row is at position {row.position}")
        if row.position < self._expected:
            yield Break(row.position, Fault.FORKED, "there is more than one row at this position")
        if row.previous_hash != self._previous:
            reason = "its previous_hash is not the hash of the row before it"
            yield Break(self._expected, Fault.UNLINKED, reason)
        if row.offset <= self._offset:
            reason = f"its offset {row.offset} in the log is not behind that of the row before it"
            yield Break(self._expected, Fault.REORDERED, reason)


def verify(rows: Iterable[AuditRow], anchors: Iterable[tuple[int, str]] = ()) -> Verdict:
    """Reads one chain's rows, as `Verification` does."""
    reading = Verification(anchors)
    for row in rows:
        if reading.take(row):
            break
    return reading.end()


def _holds(salt: str, values: tuple[str, ...], recorded: str, erased: tuple[str, ...]) -> bool:
    return digest(salt, values) == recorded if salt else values == erased
