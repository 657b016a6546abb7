"""How the platform is used: read from rollups, equal to the sums over requests.

Counts, tokens and dollars are exact, and so is the number of users; percentiles are
merged from t-digests.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.common.clock import Clock
from services.common.store import Store
from services.console.domain.dollars import dollars_text
from services.console.read_models.usage.query import UsageQuery
from services.console.read_models.usage.sql import (
    Statement,
    hours_statement,
    models_statement,
    users_statement,
)

Row = Mapping[str, Any]
_NOTHING = dict.fromkeys(("n", "failed", "blocked", "prompt", "completion", "usd", "ms"), 0)


@dataclass(frozen=True)
class Usage:
    """Reads usage."""

    store: Store
    clock: Clock

    async def read(self, query: UsageQuery) -> dict[str, Any]:
        """The body of the API.

        Raises:
            StoreUnavailableError: not now.
        """
        statements = (models_statement, users_statement, hours_statement)
        models, users, hours = await asyncio.gather(*(self._ask(one, query) for one in statements))
        (total,) = [row for row in models if row["is_total"]] or [_NOTHING]
        return {
            "since": query.since.astimezone(UTC).isoformat(),
            "until": query.until.astimezone(UTC).isoformat(),
            "time_zone": query.zone.key,
            "general_metrics": _figures(total)
            | _percentiles(total)
            | {"unique_users": int(users[0]["users"]) if users else 0},
            "by_model": [
                {"model": str(row["model"])} | _figures(row) | _percentiles(row)
                for row in models
                if not row["is_total"]
            ],
            "by_user": [{"user": str(row["user"])} | _figures(row) for row in users],
            "by_hour": [{"hour": _hour(row, query).isoformat()} | _figures(row) for row in hours],
            "by_weekday_hour": _by_weekday_hour(hours, query),
        }

    async def _ask(self, make: Callable[[UsageQuery, datetime], Statement], query: UsageQuery) -> list[Row]:
        return list(await self.store.query(*make(query, self.clock())))


def _figures(row: Row) -> dict[str, Any]:
    """Times in seconds, rates from 0 to 1, dollars as a decimal number in text."""
    requests, failed = int(row["n"]), int(row["failed"])
    return {
        "total_requests": requests,
        "failed_requests": failed,
        "blocked_requests": int(row["blocked"]),
        "error_rate": failed / requests if requests else None,
        "avg_latency": row["ms"] / requests / 1000 if requests else None,
        "prompt_tokens": int(row["prompt"]),
        "completion_tokens": int(row["completion"]),
        "total_tokens": int(row["prompt"]) + int(row["completion"]),
        "total_cost_usd": dollars_text(Decimal(row["usd"])),
    }


def _percentiles(row: Row) -> dict[str, float | None]:
    """Of the latency, in seconds."""
    found = row["percentiles"] if row["n"] else (None, None, None)
    return {
        name: None if value is None else float(value) / 1000
        for name, value in zip(("p50", "p95", "p99"), found, strict=True)
    }


def _hour(row: Row, query: UsageQuery) -> datetime:
    return datetime.fromtimestamp(int(row["hour"]), query.zone)


def _by_weekday_hour(rows: Iterable[Row], query: UsageQuery) -> list[dict[str, int]]:
    """Requests of each hour of the week, Monday being 1; those without any are left out."""
    found: dict[tuple[int, int], int] = {}
    for row in rows:
        hour = _hour(row, query)
        place = (hour.isoweekday(), hour.hour)
        found[place] = found.get(place, 0) + int(row["n"])
    return [
        {"weekday": weekday, "hour": hour, "total_requests": requests}
        for (weekday, hour), requests in sorted(found.items())
    ]
