"""Weeks of traffic by the hour, with incidents, back-dated into the store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from services.common.store import Store, Table

HOUR = timedelta(hours=1)
_REQUESTS = Table(
    "inference_events",
    {
        **dict.fromkeys(("completed_at", "requested_at"), "DateTime64(3, 'UTC')"),
        **dict.fromkeys(("tenant", "model"), "LowCardinality(String)"),
        **dict.fromkeys(("request_id", "user"), "String"),
        **dict.fromkeys(("outcome", "error_code"), "LowCardinality(String)"),
        **dict.fromkeys(("prompt_tokens", "completion_tokens"), "UInt32"),
        "cost_usd": "Nullable(Decimal(18, 12))",
        **dict.fromkeys(("duration_ms", "queue_ms"), "Float64"),
        "topic": "LowCardinality(String)",
        "partition": "UInt32",
        **dict.fromkeys(("offset", "sequence"), "Int64"),
    },
)
_FINDINGS = Table(
    "security_findings",
    {
        "found_at": "DateTime64(3, 'UTC')",
        **dict.fromkeys(("tenant", "model"), "LowCardinality(String)"),
        **dict.fromkeys(("finding_id", "request_id"), "String"),
        **dict.fromkeys(("category", "level"), "LowCardinality(String)"),
        "sequence": "Int64",
    },
)

Change = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Incident:
    """`hours` from so many `ago` on; `factor` times the requests of `only` (tenant,
    model), each of which `change` may alter. `threats` of all are findings.
    """

    ago: int
    hours: int
    only: Mapping[str, str]
    factor: float = 1.0
    change: Change | None = None
    threats: float = 0.0


@dataclass(frozen=True)
class Weeks:
    """Requests up to `end` (a full hour): three quarters acme's, by two models, in
    working days and hours.
    """

    end: datetime
    days: float = 42
    per_hour: float = 30.0
    incidents: Sequence[Incident] = ()
    seed: int = 1


async def write_weeks(store: Store, weeks: Weeks) -> int:
    """Inserts them once; how many requests they are."""
    chance = np.random.default_rng(weeks.seed)
    requests: list[dict[str, Any]] = []
    findings: list[dict[str, Any]] = []
    for ago in range(round(weeks.days * 24), 0, -1):
        at = weeks.end - ago * HOUR
        for tenant, model, share in (
            ("acme", "small", 0.5), ("acme", "large", 0.25), ("zeta", "small", 0.15), ("zeta", "large", 0.1),
        ):  # fmt: skip
            running = [
                one
                for one in weeks.incidents
                if one.ago - one.hours < ago <= one.ago
                and one.only.items() <= {"tenant": tenant, "model": model}.items()
            ]
            mean = weeks.per_hour * share * _rhythm(at) * float(np.prod([one.factor for one in running]))
            for _ in range(int(chance.poisson(mean))):
                row = _row(chance, len(requests), at, tenant, model)
                requests.append(row)
                for one in running:
                    if one.change is not None:
                        one.change(row)
                    if chance.random() < one.threats:
                        findings.append(_finding(row))
    await _insert(store, _REQUESTS, requests)
    await _insert(store, _FINDINGS, findings)
    return len(requests)


async def _insert(store: Store, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    for begin in range(0, len(rows), 10_000):
        part = [tuple(row[name] for name in table.columns) for row in rows[begin : begin + 10_000]]
        await store.insert(
            table, part, token=f"weeks-{table.name}-{rows[0][next(iter(table.columns))]}-{begin}"
        )


def _rhythm(at: datetime) -> float:
    day = 1 + 0.6 * float(np.sin(2 * np.pi * (at.hour - 8) / 24))
    return day * (0.5 if at.weekday() >= 5 else 1.0)


def _row(chance: np.random.Generator, number: int, at: datetime, tenant: str, model: str) -> dict[str, Any]:
    duration_ms = 800.0 * float(np.exp(0.3 * chance.normal()))
    tokens = int(chance.integers(50, 350))
    ended = at + timedelta(seconds=float(chance.uniform(0, 3599)))
    failed = chance.random() < 0.01
    return {
        "completed_at": ended,
        "requested_at": ended - timedelta(milliseconds=duration_ms),
        "tenant": tenant,
        "model": model,
        "request_id": f"week-{number}",
        "user": f"u_{tenant}_{int(chance.integers(0, 5))}",
        "outcome": "failed" if failed else "completed",
        "error_code": "replica_lost" if failed else "",
        "prompt_tokens": 100,
        "completion_tokens": tokens,
        "cost_usd": Decimal(100 + 3 * tokens) / 1_000_000,
        "duration_ms": duration_ms,
        "queue_ms": 5.0,
        "topic": "inference.completed.v1",
        "partition": 0,
        "offset": number,
        "sequence": -1,
    }


def _finding(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "found_at": row["completed_at"],
        "tenant": row["tenant"],
        "model": row["model"],
        "finding_id": f"finding-{row['request_id']}",
        "request_id": row["request_id"],
        "category": "jailbreak",
        "level": "high",
        "sequence": -1,
    }


def full_hour(now: datetime | None = None) -> datetime:
    """The last full hour."""
    return (now or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0)


def failing(row: dict[str, Any]) -> None:
    """Every other request."""
    if row["offset"] % 2:
        row["outcome"], row["error_code"] = "failed", "replica_lost"


def slow(row: dict[str, Any]) -> None:
    """Four times as long."""
    row["duration_ms"] *= 4


def dear(row: dict[str, Any]) -> None:
    """Three times the price of a token."""
    row["cost_usd"] *= 3
