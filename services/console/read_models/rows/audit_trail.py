"""Who did what: the audit's entries, the newest first."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.common.store import Store
from services.console.domain.cursors import cursor_after, read_cursor

_FILTERS = ("tenant", "action", "object_kind", "object_id", "actor_id")
_COLUMNS = (
    *("entry_id", "occurred_at", "tenant", "actor_kind", "actor_id", "address", "action", "outcome"),
    *("object_kind", "object_id", "reason", "request_id", "before", "after"),
)


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """Which entries: `only` by the values of columns, from `since` up to but without
    `until`; `cursor` goes on after a page.
    """

    only: Mapping[str, str]
    since: datetime | None = None
    until: datetime | None = None
    cursor: str = ""
    limit: int = 50


@dataclass(frozen=True)
class AuditTrail:
    """Reads audit entries."""

    store: Store

    async def read(self, query: AuditQuery) -> dict[str, Any]:
        """A page, and the cursor of the next; None after the last.

        Raises:
            InvalidCursorError: the cursor is none.
            StoreUnavailableError: not now.
        """
        sql, parameters = query_of(query)
        rows = await self.store.query(sql, parameters)
        shown = rows[: query.limit]
        last = shown[-1] if len(rows) > len(shown) else None
        return {
            "data": [_entry(row) for row in shown],
            "next_cursor": last and cursor_after(last["occurred_at"], last["entry_id"]),
        }


def query_of(query: AuditQuery) -> tuple[str, dict[str, Any]]:
    """The statement and its parameters.

    Raises:
        InvalidCursorError: the cursor is none.
    """
    where, parameters = ["1"], dict[str, Any]()
    for name in _FILTERS:
        if name in query.only:
            where.append(f"{name} = {{{name}:String}}")
            parameters[name] = query.only[name]
    for name, sign, moment in (("since", ">=", query.since), ("until", "<", query.until)):
        if moment is not None:
            where.append(f"occurred_at {sign} {{{name}:DateTime64(3, 'UTC')}}")
            parameters[name] = moment.astimezone(UTC)
    if query.cursor:
        parameters["after_ms"], parameters["after_id"] = read_cursor(query.cursor)
        where.append(
            "(toUnixTimestamp64Milli(occurred_at), entry_id) < ({after_ms:Int64}, {after_id:String})"
        )
    sql = (
        f"SELECT {', '.join(_COLUMNS)} FROM audit_log FINAL WHERE {' AND '.join(where)} "  # noqa: S608  names of ours
        f"ORDER BY occurred_at DESC, entry_id DESC LIMIT {query.limit + 1}"
    )
    return sql, parameters


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    entry = {name: row[name] for name in _COLUMNS}
    for name in ("before", "after"):
        entry[name] = json.loads(row[name]) if row[name].startswith("{") else None
    return entry | {"occurred_at": row["occurred_at"].isoformat()}
