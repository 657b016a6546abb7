"""What requests cost, read from the requests themselves: equal to any other sum over
them, to the last digit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from typing import Any

from services.common.store import Store
from services.console.domain.cost_query import CostQuery, Dimension
from services.console.domain.dollars import dollars_text

_FILTERS: Mapping[str, str] = {"tenant": "tenant", "user": "user", "model": "model", "key": "key_id"}
"""Each filter with its column."""

_EXPRESSIONS: Mapping[Dimension, str] = {
    "tenant": "tenant",
    "user": "user",
    "model": "model",
    "key": "key_id",
    "day": "toString(toDate(completed_at, {zone:String}))",
}
_FIGURES = """
    count() AS requests,
    countIf(cost_usd IS NULL) AS unpriced_requests,
    sum(toUInt64(prompt_tokens)) AS sum_prompt,
    sum(toUInt64(cached_tokens)) AS sum_cached,
    sum(toUInt64(completion_tokens)) AS sum_completion,
    sumIf(toUInt64(prompt_tokens) + completion_tokens, cost_usd IS NOT NULL) AS priced_tokens,
    sum(ifNull(cost_usd, toDecimal64(0, 12))) AS sum_cost
"""
_OF_KEYS = "has({keys:Array(String)}, key_id)"
_OF_USER = " OR (key_id = '' AND user = {keyless_user:String})"


@dataclass(frozen=True)
class Costs:
    """Reads costs."""

    store: Store

    async def read(self, query: CostQuery) -> dict[str, Any]:
        """The figures in all and by group, from one look at the store.

        Raises:
            StoreUnavailableError: not now.
        """
        rows = await self.store.query(_sql(query), _parameters(query))
        return describe(query, rows)


def describe(query: CostQuery, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The body of the API. Of the rows one is the total: the one of level 1; where there
    are no groups, the only one.
    """
    listed = list(rows)
    totals = [row for row in listed if row["level"]]
    groups = [row for row in listed if not row["level"]]
    named = [
        {name: str(row[f"by_{name}"]) for name in query.group_by} | _figures(row)
        for row in groups[: query.limit]
    ]
    return {
        "since": query.since.astimezone(UTC).isoformat(),
        "until": query.until.astimezone(UTC).isoformat(),
        "time_zone": query.zone.key,
        "group_by": list(query.group_by),
        "total": _figures(totals[0] if totals else _NOTHING),
        "groups": named,
        "has_more_groups": len(groups) > query.limit,
    }


_NOTHING = dict.fromkeys(
    (
        "requests",
        "unpriced_requests",
        "sum_prompt",
        "sum_cached",
        "sum_completion",
        "priced_tokens",
        "sum_cost",
    ),
    0,
)


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    cost = Decimal(row["sum_cost"])
    priced = int(row["requests"]) - int(row["unpriced_requests"])
    tokens = int(row["priced_tokens"])
    return {
        "requests": int(row["requests"]),
        "unpriced_requests": int(row["unpriced_requests"]),
        "prompt_tokens": int(row["sum_prompt"]),
        "cached_tokens": int(row["sum_cached"]),
        "completion_tokens": int(row["sum_completion"]),
        "cost_usd": dollars_text(cost),
        "cost_per_request_usd": dollars_text(cost / priced) if priced else None,
        "cost_per_token_usd": dollars_text(cost / tokens) if tokens else None,
    }


def _sql(query: CostQuery) -> str:
    """The total is of the same scan as the groups, so that it is their sum."""
    names = [f"by_{name}" for name in query.group_by]
    columns = "".join(f"{_EXPRESSIONS[name]} AS by_{name}, " for name in query.group_by)
    where = "".join(f" AND {_FILTERS[name]} = {{only_{name}:String}}" for name in query.only)
    if query.keys is not None:
        where += f" AND ({_OF_KEYS}{_OF_USER if query.keyless_user else ''})"
    level = f"grouping({names[0]})" if names else "1"
    grouping = f"GROUP BY GROUPING SETS (({', '.join(names)}), ()) " if names else ""
    order = ", ".join(["level DESC", "sum_cost DESC", *names])
    return (
        f"SELECT {columns}{level} AS level, {_FIGURES} FROM inference_events "  # noqa: S608  names of ours
        "WHERE completed_at >= {since:DateTime64(3, 'UTC')} AND completed_at < {until:DateTime64(3, 'UTC')}"
        f"{where} {grouping}ORDER BY {order} LIMIT {query.limit + 2}"
    )


def _parameters(query: CostQuery) -> dict[str, Any]:
    return {
        "since": query.since.astimezone(UTC),
        "until": query.until.astimezone(UTC),
        "zone": query.zone.key,
        "keys": list(query.keys or ()),
        "keyless_user": query.keyless_user,
    } | {f"only_{name}": value for name, value in query.only.items()}
