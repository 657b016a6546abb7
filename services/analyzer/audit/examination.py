"""Examining the stored chains: each held against itself, anchors and the log."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from schemas.events.audit import ChainAnchored
from services.analyzer.audit.domain.anchoring import by_position
from services.analyzer.audit.domain.chain import AuditRow
from services.analyzer.audit.domain.verification import Break, Fault, Verdict, Verification
from services.analyzer.audit.log_comparison import AuditLog, ComparedTable, LogComparison


class ExaminedTable(ComparedTable, Protocol):
    """What is asked of the store: `StoredAuditTable`, or a fake."""

    async def chains(self) -> list[str]:
        """Their names."""

    def rows(self, chain: str) -> AsyncIterator[list[AuditRow]]:
        """A chain's rows in the order of (position, hash), page by page."""

    async def place_of(self, chain: str, digest: str) -> int | None:
        """Where the row with this hash stands; None where there is none."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found of a chain. `compared` rows are those that the bus still has the
    entries of, None where it was not asked; `unchained` entries have no row yet.
    """

    chain: str
    rows: int
    head: str
    erased: int
    anchored: int
    compared: int | None
    unchained: int
    first_break: Break | None

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        found = asdict(self) | {"ok": self.first_break is None}
        return found | ({"first_break": asdict(self.first_break)} if self.first_break else {})


async def examine(
    table: ExaminedTable, anchors: Sequence[ChainAnchored], logs: Sequence[AuditLog] = ()
) -> list[Examined]:
    """Every chain that the store or an anchor knows.

    Raises:
        StoreUnavailableError, BusUnavailableError: not now.
    """
    published = by_position(anchors)
    log_of = {log.chain: log for log in logs}
    names = sorted({*await table.chains(), *published, *log_of})
    return [await _examined(table, name, published, log_of.get(name)) for name in names]


async def _examined(
    table: ExaminedTable, chain: str, published: Mapping[str, list[tuple[int, str]]], log: AuditLog | None
) -> Examined:
    chained_to = 0 if log is None else await log.chained_to()  # before the rows, which are then there
    verdict, head_offset = await _read(table, chain, published.get(chain, ()))
    first_break, compared, unchained = verdict.first_break, None, 0
    if log is not None and first_break is None:
        comparison = LogComparison(chain, head_offset, chained_to)
        await comparison.run(log.batches, table)
        first_break, compared, unchained = comparison.first_break, comparison.compared, comparison.unchained
    return Examined(
        chain,
        verdict.rows,
        verdict.head,
        verdict.erased,
        verdict.anchored,
        compared,
        unchained,
        first_break,
    )


async def _read(table: ExaminedTable, chain: str, anchors: Sequence[tuple[int, str]]) -> tuple[Verdict, int]:
    """The verdict, and the offset of the newest row."""
    reading, offset = Verification(anchors), -1
    async for page in table.rows(chain):
        for row in page:
            if found := reading.take(row):
                return await _with_order(table, row, reading.end(), found), offset
            offset = row.offset
    return reading.end(), offset


async def _with_order(table: ExaminedTable, row: AuditRow, verdict: Verdict, found: Break) -> Verdict:
    """The verdict, which says so where a row follows one that stands elsewhere."""
    if found.fault is not Fault.UNLINKED:
        return verdict
    place = await table.place_of(row.chain, row.previous_hash)
    if place is None:
        return verdict
    reason = f"it follows the row at position {place}, and does not stand behind it"
    moved = Break(found.position, Fault.REORDERED, reason)
    return Verdict(verdict.rows, verdict.head, verdict.erased, moved, verdict.anchored)
