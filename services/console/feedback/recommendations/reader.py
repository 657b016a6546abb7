"""What is recommended, as the store has it, with its evidence and its effect."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.common.clock import Clock
from services.common.statistics.daily import (
    EFFECT_STATISTIC,
    MOST_WEEKS_BEFORE,
    Effect,
    effect_of,
)
from services.common.store import Store
from services.common.store.saved_queries import SavedQuery, saved_queries

FILTERS = ("tenant", "state", "family", "severity", "rule")
COLUMNS = (
    *("fingerprint", "tenant", "rule", "family", "severity", "state", "score", "title", "why", "actions"),
    *("subject", "figure", "unit", "harm", "target", "gain", "gain_low", "gain_high", "confidence"),
    *("statistic", "query", "days", "as_of", "facts", "raised_at", "told_at", "reopened", "reopened_because"),
    *("decision", "decided_at", "decided_by", "decision_reason", "decided_harm", "decided_severity"),
)
OPEN = "open"
_EVIDENCE = "recommendations/"
_MOST_ROWS = 1000
_DAY = timedelta(days=1)
_LIMITS = "SETTINGS max_execution_time = 30, max_memory_usage = 268435456"


@dataclass(frozen=True, slots=True)
class RecommendationQuery:
    """Which: `only` by the values of columns, the state `open` being new and accepted;
    `limit` of them behind the first `offset`.
    """

    only: Mapping[str, str] = field(default_factory=dict)
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True)
class Recommendations:
    """The read model."""

    store: Store
    clock: Clock
    queries: Mapping[str, SavedQuery] = field(default_factory=saved_queries)

    async def page(self, query: RecommendationQuery) -> dict[str, Any]:
        """A page, the most pressing first, and where the next begins; None after the last.

        Raises:
            StoreUnavailableError: not now.
        """
        where, parameters = ["1"], dict(query.only)
        for name in query.only:
            if name == "state" and query.only[name] == OPEN:
                where.append("state IN ('new', 'accepted')")
            else:
                where.append(f"{name} = {{{name}:String}}")
        rows = await self.store.query(
            f"SELECT {', '.join(COLUMNS)} FROM v_recommendations WHERE {' AND '.join(where)} "  # noqa: S608  names of ours
            f"ORDER BY score DESC, fingerprint LIMIT {query.limit + 1} OFFSET {query.offset} {_LIMITS}",
            parameters,
        )
        shown = rows[: query.limit]
        more = query.offset + query.limit if len(rows) > len(shown) else None
        return {"data": [plain(row) for row in shown], "next_offset": more}

    async def one(self, tenant: str, fingerprint: str) -> dict[str, Any] | None:
        """The recommendation, of a tenant where it is named; None where there is none.

        Raises:
            StoreUnavailableError: not now.
        """
        where = "fingerprint = {fingerprint:String}" + (" AND tenant = {tenant:String}" if tenant else "")
        rows = await self.store.query(
            f"SELECT {', '.join(COLUMNS)} FROM v_recommendations WHERE {where} LIMIT 1 {_LIMITS}",  # noqa: S608  names of ours
            {"fingerprint": fingerprint} | ({"tenant": tenant} if tenant else {}),
        )
        return rows[0] if rows else None

    async def whole(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """A recommendation with what was decided, the rows of its evidence, the command
        that asks for them, and what came of it since it was accepted.

        Raises:
            StoreUnavailableError: not now.
        """
        history = await self.store.query(
            "SELECT changed_at, change, changed_by_kind, changed_by, reason, severity, harm "  # noqa: S608  names of ours
            "FROM recommendation_changes WHERE fingerprint = {fingerprint:String} AND tenant = "
            "{tenant:String} "
            f"AND change != 'renewed' ORDER BY changed_at DESC, offset DESC LIMIT 100 {_LIMITS}",
            {"fingerprint": found["fingerprint"], "tenant": found["tenant"]},
        )
        begin = found["as_of"] - _DAY * int(found["days"])
        rows = await self._evidence(found, begin, found["as_of"])
        return {
            **plain(found),
            "evidence": {
                "query": found["query"],
                "command": _command(found, begin),
                "rows": [plain(row) for row in rows],
            },
            "effect": await self._effect(found),
            "history": [plain(row) for row in history],
        }

    async def _effect(self, found: Mapping[str, Any]) -> dict[str, Any] | None:
        """None where it was never accepted or done, or its harm is counted as it stands.
        The day of the decision itself is neither before nor after.
        """
        if found["decision"] not in ("accepted", "done") or found["statistic"] == "counted":
            return None
        day = found["decided_at"].astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        today = self.clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        before = await self._daily(found, day - 7 * _DAY * MOST_WEEKS_BEFORE, day)
        after = await self._daily(found, day + _DAY, today) if today > day + _DAY else []
        effect = effect_of(before, after)
        if not isinstance(effect, Effect):
            return {"verdict": "not known yet", "needed": effect.needed}
        return {
            "verdict": effect.verdict,
            "figure": found["figure"],
            "before": effect.before,
            "after": effect.after,
            "change": effect.change,
            "low": effect.low,
            "high": effect.high,
            "weeks_before": effect.weeks_before,
            "weeks_after": effect.weeks_after,
            "statistic": f"{EFFECT_STATISTIC}, 90%",
        }

    async def _daily(self, found: Mapping[str, Any], begin: datetime, end: datetime) -> list[float | None]:
        """The harm of each day; not known where the evidence has no row, which may be for
        want of data.
        """
        rows = await self._evidence(found, begin, end)
        days = rows[0].get("daily", []) if rows else []
        return [None if one is None else float(one) for one in days]

    async def _evidence(
        self, found: Mapping[str, Any], begin: datetime, end: datetime
    ) -> Sequence[Mapping[str, Any]]:
        """The rows of its subject; none where there is no such query any more."""
        saved = self.queries.get(str(found["query"]))
        if saved is None or not str(found["query"]).startswith(_EVIDENCE):
            return []
        values = {"from": begin, "to": end, "tenant": str(found["tenant"]), "limit": _MOST_ROWS}
        rows = await self.store.query(saved.limited, values)
        subject = dict(found["subject"])
        return [row for row in rows if all(str(row[name] or "") == value for name, value in subject.items())]


def _command(found: Mapping[str, Any], begin: datetime) -> str:
    """What anybody runs who may ask the store: as the tenant's own where it is one's."""
    tenant = f" --param tenant={found['tenant']}" if found["tenant"] else ""
    span = f"--param from={begin:%Y-%m-%d} --param to={found['as_of']:%Y-%m-%d}"
    return f"tocsin query {found['query']} {span}{tenant} --param limit={_MOST_ROWS}"


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for JSON."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
