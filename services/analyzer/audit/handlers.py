"""audit.entries into audit_log."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from schemas.events.audit import AuditEntry
from services.analyzer.audit.domain.chain import AuditRow, Head, chain_name, link
from services.analyzer.audit.table import AUDIT_ROWS, AuditTable
from services.common.bus.coordinates import TopicPartition
from services.common.bus.subscriber import Event
from services.common.errors import (
    HaltError,
    PermanentError,
    StoreRejectedError,
    StoreUnavailableError,
    TocsinError,
)
from services.common.process import metrics

log = structlog.get_logger(__name__)


class InvalidEntryError(PermanentError):
    """An entry cannot be chained; the message says why."""


@dataclass
class AuditChainer:
    """Chains entries behind what the store has of their partition.

    The store is asked each time, so nothing that is remembered can be wrong: a
    partition may have been another's meanwhile. Another process that still writes the
    same entries writes the same rows, which fall together.

    That holds only while all owners leave out the same entries. So an entry is left out
    (set aside) only for what it is, never for what went wrong here: then it is tried
    again without end, and where the store refuses a row, chaining halts. Two versions of
    this code may still disagree, and a table can be written by others: each new owner
    looks for a fork in the whole chain, and before each block among its newest rows.
    """

    table: AuditTable
    _looked_through: set[TopicPartition] = field(default_factory=set, init=False)

    async def on_audit_entries(self, events: Sequence[Event[AuditEntry]]) -> None:
        """Chains them, one row a record; those that are in the chain already are passed over.

        Raises:
            StoreUnavailableError: not now.
            InvalidEntryError: a value does not fit its column, or cannot be hashed.
            HaltError: the chain is forked, or the store does not take its rows.
        """
        by_partition: dict[TopicPartition, list[Event[AuditEntry]]] = defaultdict(list)
        for event in events:
            by_partition[event.partition].append(event)
        for place, some in by_partition.items():
            try:
                await self._chain(place, some)
            except StoreRejectedError as error:
                raise HaltError(
                    f"the store takes no row of audit_log, so nothing more is chained: {error}; does it have "
                    "this release's tables? `tocsin migrate` makes them"
                ) from error
            except TocsinError:
                raise
            except Exception as error:
                log.exception("audit_failed", chain=chain_name(*place))
                raise StoreUnavailableError(f"entries could not be chained: {error!r}") from error

    async def first_unchained(self, place: TopicPartition) -> int:
        """The offset after the chain's newest row.

        Raises:
            StoreUnavailableError: not now.
            ForkedChainError: the chain has two rows at one place.
        """
        head = await self.table.head(place, whole=place not in self._looked_through)
        self._looked_through.add(place)
        return head.offset + 1

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
        AUDIT_ROWS.row(row)
    except ValueError as error:
        raise InvalidEntryError(str(error)) from error
    return row
