"""audit_log as its writer knows it."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Protocol

from services.analyzer.audit.domain.chain import AuditRow, Head, chain_name
from services.analyzer.recorder.rows import TIME, WORD, Row, fit
from services.common.bus.coordinates import TopicPartition
from services.common.store import Store, Table

_TYPES = {
    "position": "UInt64",
    "occurred_at": TIME,
    "sequence": "Int64",
    "partition": "UInt32",
    "offset": "UInt64",
    **dict.fromkeys(
        (
            "chain",
            "tenant",
            "action",
            "outcome",
            "object_kind",
            "actor_kind",
            "source",
            "topic",
        ),
        WORD,
    ),
}
AUDIT_LOG = Table("audit_log", {one.name: _TYPES.get(one.name, "String") for one in fields(AuditRow)})


class AuditTable(Protocol):
    """What the role asks of the store: `StoredAuditTable`, or a fake."""

    async def head(self, place: TopicPartition) -> Head:
        """The newest row of a partition's chain."""

    async def insert(self, rows: Sequence[AuditRow], *, token: str) -> None:
        """Inserts rows as one block, once a token."""


class StoredAuditTable:
    """`AuditTable` over ClickHouse."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def head(self, place: TopicPartition) -> Head:
        """The newest row of a partition's chain.

        Raises:
            StoreUnavailableError: not now.
        """
        rows = await self._store.query(
            "SELECT position, hash, offset FROM audit_log WHERE chain = {chain:String} "
            "ORDER BY position DESC LIMIT 1",
            {"chain": chain_name(*place)},
        )
        return Head(rows[0]["position"], rows[0]["hash"], rows[0]["offset"]) if rows else Head()

    async def insert(self, rows: Sequence[AuditRow], *, token: str) -> None:
        """Inserts rows as one block, once a token.

        Raises:
            StoreUnavailableError: not now; whether they are in is unknown.
            StoreRejectedError: a value does not fit its column.
        """
        await self._store.insert(AUDIT_LOG, [values(row) for row in rows], token=token)


def values(row: AuditRow) -> Row:
    """A row in the order of the table's columns.

    Raises:
        ValueError: a value does not fit its column.
    """
    return tuple([fit(name, type_, getattr(row, name)) for name, type_ in AUDIT_LOG.columns.items()])
