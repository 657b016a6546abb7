"""Is a chain whole? Rows in, the first break out. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.analyzer.audit.domain.chain import DELETED, GENESIS, AuditRow, digest, row_hash


class Fault(StrEnum):
    """What is wrong with a chain."""

    MISSING = "missing"
    FORKED = "forked"
    UNLINKED = "unlinked"
    ALTERED = "altered"
    NOT_ANCHORED = "not_anchored"


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain first breaks.

    missing: there is no row at this place. forked: there is another row in this place.
    unlinked: it does not follow the row before it, which was replaced or moved. altered:
    it does not say what its hash or a digest covers. not_anchored: it is not the row
    whose hash was published.
    """

    position: int
    fault: Fault
    explanation: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far a chain was read, and its first break, if any.

    `head` is the hash of the last whole row; `erased` counts rows of which personal
    values were erased, which is no break.
    """

    rows: int
    head: str
    erased: int
    first_break: Break | None = None


def verify(rows: Iterable[AuditRow], anchors: Mapping[int, str] | None = None) -> Verdict:
    """Reads one chain's rows in the order of (position, hash).

    `anchors` are hashes that were published elsewhere, by position: only they show that
    the end of a chain is missing, or that it was written anew as a whole.
    """
    expected, previous, erased = 0, GENESIS, 0
    wanted = dict(anchors or {})
    for row in rows:
        if found := next(_faults(row, expected, previous, wanted), None):
            return Verdict(expected, previous, erased, found)
        erased += not (row.actor_salt and row.content_salt)
        wanted.pop(row.position, None)
        expected, previous = expected + 1, row.hash
    if wanted:
        place = min(wanted)
        reason = f"the chain ends before position {place}, whose hash was published"
        return Verdict(expected, previous, erased, Break(expected, Fault.MISSING, reason))
    return Verdict(expected, previous, erased)


def _faults(row: AuditRow, expected: int, previous: str, anchors: Mapping[int, str]) -> Iterator[Break]:
    if row.position > expected:
        yield Break(expected, Fault.MISSING, f"the next row is at position {row.position}")
    if row.position < expected:
        yield Break(row.position, Fault.FORKED, "there is more than one row at this position")
    if row.previous_hash != previous:
        yield Break(expected, Fault.UNLINKED, "its previous_hash is not the hash of the row before it")
    if row.hash != row_hash(row):
        yield Break(expected, Fault.ALTERED, "its hash is not that of what it says")
    if not _holds(row.actor_salt, (row.actor_id, row.address), row.actor_digest, (DELETED, "")):
        yield Break(expected, Fault.ALTERED, "its actor is not the one that was recorded")
    content = (row.object_id, row.reason, row.before, row.after)
    if not _holds(row.content_salt, content, row.content_digest, (DELETED, "", "", "")):
        yield Break(expected, Fault.ALTERED, "its content is not what was recorded")
    if anchors.get(row.position, row.hash) != row.hash:
        yield Break(expected, Fault.NOT_ANCHORED, "its hash is not the one that was published")


def _holds(salt: str, values: tuple[str, ...], recorded: str, erased: tuple[str, ...]) -> bool:
    return digest(salt, values) == recorded if salt else values == erased
