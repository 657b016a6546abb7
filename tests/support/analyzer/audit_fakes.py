"""Audit entries, a chain of them, and a table in memory that fails where told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from schemas.envelope import Envelope
from schemas.events.audit import Actor, AuditEntry
from schemas.inference import LogPosition
from schemas.topics import AUDIT
from services.analyzer.audit.domain.chain import AuditRow, Head, chain_name, link
from services.analyzer.audit.table import forked
from services.common.bus.coordinates import TopicPartition
from services.common.errors import StoreUnavailableError
from tests.support.analyzer.recording import EPOCH


def entry(number: int, **changes: object) -> AuditEntry:
    """Entry `number`; the same each time."""
    values: dict[str, object] = {
        "entry_id": f"entry-{number}",
        "salt": f"{number:032x}",
        "occurred_at": EPOCH + timedelta(milliseconds=number, microseconds=789),
        "tenant": f"tenant-{number % 2}",
        "actor": Actor(kind="key", id=f"key-{number % 3}", address="203.0.113.0/24"),
        "action": "key.changed",
        "object_kind": "key",
        "object_id": f"object-{number}",
        "reason": 'é\n\u2028 "quoted"',
        "before": {"limit": None, "b": [1, 2.5], "a": "x"} if number % 2 else None,
        "after": {"limit": number},
    }
    return AuditEntry(**(values | changes))  # type: ignore[arg-type]


def envelope(number: int) -> Envelope:
    """Its envelope."""
    return Envelope(f"event-{number}", f"tocsin.{AUDIT.name}", "test/1", EPOCH, "s", "acme", number)


def chain(count: int, *, holes: int = 1) -> list[AuditRow]:
    """A whole chain; offsets leave holes as transactions do."""
    rows: list[AuditRow] = []
    for number in range(count):
        head = rows[-1].head if rows else Head()
        place = LogPosition(topic=AUDIT.name, partition=0, offset=number * holes)
        rows.append(link(head, entry(number), envelope(number), place))
    return rows


class KilledError(BaseException):
    """The process was killed here."""


class Fault(Enum):
    """What may become of an insert."""

    NONE = "it works"
    AWAY = "nothing is in, and nothing answers"
    LOST_ANSWER = "everything is in, and the answer is lost"
    KILLED_BEFORE = "killed before anything was in"
    KILLED_AFTER = "killed when everything was in"
    LATE = "killed; the store does it after the next owner has asked where to begin"


@dataclass
class FakeAuditTable:
    """A table that knows its tokens, and in which equal keys fall together as in a
    ReplacingMergeTree.
    """

    faults: list[Fault] = field(default_factory=list)
    stored: dict[tuple[str, int, str], AuditRow] = field(default_factory=dict)
    _tokens: set[str] = field(default_factory=set)
    _late: list[tuple[str, list[AuditRow]]] = field(default_factory=list)

    async def head(self, place: TopicPartition, *, whole: bool = False) -> Head:
        """The newest row; what is late arrives right after.

        Raises:
            ForkedChainError: there are two rows at one place.
        """
        del whole
        places = [position for _, position, _ in self.stored]
        if doubled := [one for one in places if places.count(one) > 1]:
            raise forked(chain_name(*place), doubled[0])
        newest = max(self.stored.values(), key=lambda row: row.position, default=None)
        late, self._late = self._late, []
        for token, rows in late:
            self._take(token, rows)
        return newest.head if newest else Head()

    async def insert(self, rows: Sequence[AuditRow], *, token: str) -> None:
        """Inserts once a token, with the next fault.

        Raises:
            StoreUnavailableError: the next fault says so.
            KilledError: the next fault kills the process.
        """
        fault = self.faults.pop(0) if self.faults else Fault.NONE
        if fault in (Fault.NONE, Fault.LOST_ANSWER, Fault.KILLED_AFTER):
            self._take(token, rows)
        if fault is Fault.LATE:
            self._late.append((token, list(rows)))
        if fault in (Fault.AWAY, Fault.LOST_ANSWER):
            raise StoreUnavailableError("no answer")
        if fault is not Fault.NONE:
            raise KilledError

    @property
    def rows(self) -> list[AuditRow]:
        """As a verifier reads them."""
        return [self.stored[key] for key in sorted(self.stored)]

    def _take(self, token: str, rows: Sequence[AuditRow]) -> None:
        if token not in self._tokens:
            self._tokens.add(token)
            self.stored |= {(row.chain, row.position, row.hash): row for row in rows}
