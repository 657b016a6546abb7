"""audit_log as its writer knows it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from services.analyzer.audit.domain.anchoring import ChainState
from services.analyzer.audit.domain.chain import AuditRow, Head, chain_name
from services.analyzer.recorder.rows import TIME, WORD, Column, Rows
from services.common.bus.coordinates import TopicPartition
from services.common.errors import HaltError
from services.common.store import Store

AUDIT_ROWS: Rows[AuditRow] = Rows(
    "audit_log",
    (
        Column("chain", WORD, lambda row: row.chain),
        Column("position", "UInt64", lambda row: row.position),
        Column("previous_hash", "String", lambda row: row.previous_hash),
        Column("hash", "String", lambda row: row.hash),
        Column("occurred_at", TIME, lambda row: row.occurred_at),
        Column("tenant", WORD, lambda row: row.tenant),
        Column("action", WORD, lambda row: row.action),
        Column("outcome", WORD, lambda row: row.outcome),
        Column("object_kind", WORD, lambda row: row.object_kind),
        Column("entry_id", "String", lambda row: row.entry_id),
        Column("request_id", "String", lambda row: row.request_id),
        Column("actor_kind", WORD, lambda row: row.actor_kind),
        Column("actor_id", "String", lambda row: row.actor_id),
        Column("address", "String", lambda row: row.address),
        Column("actor_salt", "String", lambda row: row.actor_salt),
        Column("actor_digest", "String", lambda row: row.actor_digest),
        Column("object_id", "String", lambda row: row.object_id),
        Column("reason", "String", lambda row: row.reason),
        Column("before", "String", lambda row: row.before),
        Column("after", "String", lambda row: row.after),
        Column("content_salt", "String", lambda row: row.content_salt),
        Column("content_digest", "String", lambda row: row.content_digest),
        Column("event_id", "String", lambda row: row.event_id),
        Column("source", WORD, lambda row: row.source),
        Column("sequence", "Int64", lambda row: row.sequence),
        Column("topic", WORD, lambda row: row.topic),
        Column("partition", "UInt32", lambda row: row.partition),
        Column("offset", "UInt64", lambda row: row.offset),
    ),
)
_WINDOW = 1000
"""How many of the newest places are looked at before each block. A process that was
overtaken can write late what it had read at once: 500 entries at most."""


class ForkedChainError(HaltError):
    """A chain has two rows at one place: going on would choose between them."""


class AuditTable(Protocol):
    """What the role asks of the store: `StoredAuditTable`, or a fake."""

    async def head(self, place: TopicPartition, *, whole: bool = False) -> Head:
        """The newest row of a partition's chain, which has no fork."""

    async def insert(self, rows: Sequence[AuditRow], *, token: str) -> None:
        """Inserts rows as one block, once a token."""


class StoredAuditTable:
    """`AuditTable` over ClickHouse."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def head(self, place: TopicPartition, *, whole: bool = False) -> Head:
        """The newest row of a partition's chain, which has no fork among its newest
        rows, or anywhere where the `whole` shall be looked at.

        Raises:
            StoreUnavailableError: not now.
            ForkedChainError: there are two rows at one place.
        """
        chain = {"chain": chain_name(*place)}
        rows = await self._store.query(
            "SELECT position, hash, offset FROM audit_log WHERE chain = {chain:String} "
            "ORDER BY position DESC LIMIT 1",
            chain,
        )
        if not rows:
            return Head()
        head = Head(rows[0]["position"], rows[0]["hash"], rows[0]["offset"])
        since = 0 if whole else max(0, head.position - _WINDOW)
        forks = await self._store.query(
            "SELECT position FROM audit_log WHERE chain = {chain:String} AND position >= {since:UInt64} "
            "GROUP BY position HAVING uniqExact(hash) > 1 ORDER BY position LIMIT 1",
            chain | {"since": since},
        )
        if forks:
            raise forked(chain["chain"], forks[0]["position"])
        return head

    async def insert(self, rows: Sequence[AuditRow], *, token: str) -> None:
        """Inserts rows as one block, once a token.

        Raises:
            StoreUnavailableError: not now; whether they are in is unknown.
            StoreRejectedError: a value does not fit its column.
        """
        await self._store.insert(AUDIT_ROWS.table, [AUDIT_ROWS.row(row) for row in rows], token=token)

    async def states(self, anchored: Mapping[str, int]) -> Mapping[str, ChainState]:
        """Every chain that has rows or is in `anchored`, which gives the position whose
        hashes are wanted.

        Raises:
            StoreUnavailableError: not now.
        """
        rows = await self._store.query(
            "SELECT chain, max(position) AS newest, argMax(hash, position) AS head, "
            "argMax(offset, position) AS log_offset, uniqExact(position, hash) AS rows FROM audit_log "
            "GROUP BY chain"
        )
        heads = {
            one["chain"]: (Head(one["newest"], one["head"], one["log_offset"]), one["rows"]) for one in rows
        }
        return {
            chain: ChainState(*heads.get(chain, (Head(), 0)), await self._hashes(chain, anchored.get(chain)))
            for chain in heads.keys() | anchored.keys()
        }

    async def chains(self) -> list[str]:
        """Their names, in order."""
        return [
            one["chain"]
            for one in await self._store.query("SELECT DISTINCT chain FROM audit_log ORDER BY chain")
        ]

    async def rows(self, chain: str, *, page: int = 5000) -> AsyncIterator[list[AuditRow]]:
        """A chain's rows in the order of (position, hash), page by page.

        Raises:
            StoreUnavailableError: not now.
        """
        after: dict[str, Any] = {"position": 0, "hash": ""}
        columns = ", ".join(AUDIT_ROWS.table.columns)
        while True:
            found = await self._store.query(
                f"SELECT {columns} FROM audit_log FINAL WHERE chain = {{chain:String}} AND "  # noqa: S608  names of ours
                "(position, hash) > ({position:UInt64}, {hash:String}) ORDER BY position, hash "
                f"LIMIT {page}",
                {"chain": chain} | after,
            )
            if found:
                yield [AuditRow(**one) for one in found]
            if len(found) < page:
                return
            after = {"position": found[-1]["position"], "hash": found[-1]["hash"]}

    async def rows_between(self, chain: str, first: int, last: int) -> list[AuditRow]:
        """A chain's rows of these offsets in the log, both included.

        Raises:
            StoreUnavailableError: not now.
        """
        columns = ", ".join(AUDIT_ROWS.table.columns)
        found = await self._store.query(
            f"SELECT {columns} FROM audit_log FINAL WHERE chain = {{chain:String}} AND "  # noqa: S608  names of ours
            "offset BETWEEN {first:UInt64} AND {last:UInt64} ORDER BY position, hash",
            {"chain": chain, "first": first, "last": last},
        )
        return [AuditRow(**one) for one in found]

    async def place_of(self, chain: str, digest: str) -> int | None:
        """Where the row with this hash stands; None where there is none."""
        found = await self._store.query(
            "SELECT position FROM audit_log FINAL WHERE chain = {chain:String} AND hash = {hash:String} "
            "ORDER BY position LIMIT 1",
            {"chain": chain, "hash": digest},
        )
        return int(found[0]["position"]) if found else None

    async def _hashes(self, chain: str, position: int | None) -> frozenset[str]:
        if position is None:
            return frozenset()
        rows = await self._store.query(
            "SELECT DISTINCT hash FROM audit_log WHERE chain = {chain:String} AND "
            "position = {position:UInt64}",
            {"chain": chain, "position": position},
        )
        return frozenset(one["hash"] for one in rows)


def forked(chain: str, position: int) -> ForkedChainError:
    """What is said of a fork."""
    return ForkedChainError(
        f"audit_log has two rows at position {position} of the chain {chain}, so nothing more is chained; "
        "docs/concepts/exactness.md says how to mend it"
    )
