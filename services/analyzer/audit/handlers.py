"""audit.entries into audit_log."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.events.audit import AuditEntry
from services.analyzer.audit.domain.chain import AuditRow, Head, link
from services.analyzer.audit.table import AuditTable, values
from services.common.bus.coordinates import TopicPartition
from services.common.bus.subscriber import Event
from services.common.errors import PermanentError
from services.common.process import metrics


class InvalidEntryError(PermanentError):
    """An entry cannot be chained; the message says why."""


@dataclass(frozen=True)
class AuditChainer:
    """Chains entries behind what the store has of their partition.

    The store is asked each time, so nothing that is remembered can be wrong: a
    partition may have been another's meanwhile. Whoever else still writes the same
    entries writes the same rows, which fall together.
    """

    table: AuditTable

    async def on_audit_entries(self, events: Sequence[Event[AuditEntry]]) -> None:
        """Chains them, one row a record; those that are in the chain already are passed over.

        Raises:
            StoreUnavailableError: not now.
            InvalidEntryError: a value does not fit its column, or cannot be hashed.
        """
        by_partition: dict[TopicPartition, list[Event[AuditEntry]]] = defaultdict(list)
        for event in events:
            by_partition[event.partition].append(event)
        for place, some in by_partition.items():
            await self._chain(place, some)

    async def first_unchained(self, place: TopicPartition) -> int:
        """The offset after the chain's newest row.

        Raises:
            StoreUnavailableError: not now.
        """
        return (await self.table.head(place)).offset + 1

    async def _chain(self, place: TopicPartition, events: Sequence[Event[AuditEntry]]) -> None:
        head = await self.table.head(place)
        rows: list[AuditRow] = []
        for event in events:
            if event.record.offset <= head.offset:
                continue
            row = _linked(head, event)
            rows.append(row)
            head = row.head
        if rows:
            await self.table.insert(rows, token=f"{rows[0].chain}:{rows[0].offset}-{rows[-1].offset}")
            metrics.AUDIT_ROWS.inc(len(rows))


def _linked(head: Head, event: Event[AuditEntry]) -> AuditRow:
    try:
        row = link(head, event.message, event.envelope, event.record)
        values(row)
    except ValueError as error:
        raise InvalidEntryError(str(error)) from error
    return row
